import API
import ArgumentParser
import Files
import Foundation
import HTTP
import JSON
import Jobs
import Kernels
import Logging
import TLS

/// `vintner serve`.
struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Serve the API and the dashboard, and run the jobs.")

    /// Who calls where nobody is asked for a token.
    static let anonymous = "anonymous"

    @Option(help: "The folder that holds everything; made when it is missing.")
    var data = FolderOption.standard
    @OptionGroup var listening: ListenOptions
    @Option(help: "Jobs that may run at once, or auto: one for each core.")
    var workers = ServiceConfiguration.Amount.automatic
    @Option(help: "Cores that all jobs share, or auto: those this process may use.")
    var threads = ServiceConfiguration.Amount.automatic
    @Option(
        help:
            "Bytes to use, an eighth for predictions (K, M and G are understood); auto: 80 % of the memory."
    )
    var memory = ServiceConfiguration.Amount.automatic
    @Option(help: "The largest file that may be uploaded (K, M, G and T are understood).")
    var maxUpload = ServiceConfiguration.Amount.value(UploadLimits().fileByteCountMax)
    @Option(help: "What all datasets and uploads may take, or auto: until four fifths of the disk are full.")
    var maxDatasetsBytes = ServiceConfiguration.Amount.automatic
    @Option(help: "What all models may take for another to be imported, or auto: as for datasets.")
    var maxModelsBytes = ServiceConfiguration.Amount.automatic
    @Option(
        help: "Bytes of the disk below which no work begins, or auto: 2 GiB, on small disks a twentieth.")
    var minFree = ServiceConfiguration.Amount.automatic
    @Option(help: "Seconds that a job may stand still, without computing, before the process ends for it.")
    var hangSeconds = 60
    @Flag(help: "Ask nobody for a token; on loopback addresses only.")
    var noAuth = false
    @OptionGroup var telling: WebhookOptions
    @OptionGroup var keeping: RetentionOptions
    @Option(help: "The least that is logged: debug (with every request), info, notice, warning or error.")
    var logLevel = "info"

    func validate() throws {
        guard listening.isLoopback || listening.isWithoutTCP || !noAuth else {
            throw ValidationError("--no-auth is for loopback addresses only; \(listening.host) is none.")
        }
        guard hangSeconds > 0 else {
            throw ValidationError("--hang-seconds is a positive number, not \(hangSeconds).")
        }
        guard LogLevel(rawValue: logLevel) != nil else {
            throw ValidationError("--log-level is one of debug, info, notice, warning and error.")
        }
        try memory.requireMemory()
    }

    func run() throws {
        Signals.block()
        Self.setLimits()
        umask(0o077)
        let level = LogSwitch(LogLevel(rawValue: logLevel) ?? .info)
        let log = JSONLog.logger(level)
        let manager = ServiceManager()
        let configuration: ServerConfiguration
        do { configuration = try serverConfiguration(log, level) } catch {
            Terminal.complain("vintner: \(error)")
            throw Ending.failed.error
        }
        let service: Service
        do {
            var settings = serviceConfiguration
            settings.webhooks = try telling.sender()
            settings.retention = keeping.policy
            service = try Service(settings, log: log)
        } catch {
            Terminal.complain("vintner: \(error)")
            throw Ending.failed.error
        }
        let folder = service.configuration.folder
        let token: (token: String, isNew: Bool)
        do { token = try folder.readOrMakeToken() } catch {
            service.close()
            Terminal.complain("vintner: \(error)")
            throw Ending.failed.error
        }
        let named = TokenFile(
            folder, complain: { log.error("\($0)") }, tell: { Self.audit.info("\($0)") })
        Self.warn(of: folder, named, log)
        let authenticator = TokenAuthenticator(
            tokens: [(token.token, Principal(name: NamedToken.owner))], named: { named.valid },
            anonymous: noAuth ? Principal(name: Self.anonymous) : nil)
        let server = Server(
            configuration, router: router(service, authenticator, configuration, log, level),
            authenticator: authenticator)
        do { try server.start() } catch {
            service.close()
            Terminal.complain("vintner: \(error)")
            throw Ending.failed.error
        }
        announce(server.addresses, token, authenticator)
        Heap.settle()
        // Beside the first requests: reading a system dataset through takes half a second.
        Thread.detachNewThread { Self.registerDatasets(service, log) }
        manager?.ready()
        manager?.watch { server.isTended && service.answers }
        waitForTheEnd(log, level, showing: configuration.identity)
        manager?.stopping()
        stop(server, service, log)
    }

    /// Says at once what is wrong with who may call, and who may read that.
    private static func warn(of folder: DataFolder, _ named: TokenFile, _ log: Logger) {
        for (place, mode) in folder.exposures {
            log.warning(
                "other users may read or write what they should not",
                metadata: [
                    "path": "\(place == "." ? folder.path : folder.absolute(place))",
                    "remedy": "chmod \(String(mode, radix: 8))",
                ])
        }
        // Read for the first time, it complains where it is damaged.
        _ = named.tokens
    }

    /// The line that scripts wait for, then what people need.
    private func announce(
        _ addresses: [String], _ token: (token: String, isNew: Bool), _ authenticator: TokenAuthenticator
    ) {
        for address in addresses { Terminal.say("vintner: listening on \(address)") }
        guard !noAuth, let first = addresses.first else { return }
        let path = first.hasPrefix("unix:") ? first.dropFirst("unix:".count) : nil
        if token.isNew {
            let target = path.map { "--unix-socket \($0) http://localhost" } ?? first
            Terminal.say(
                "vintner: a token was made in \(data)/token; try: curl -H \"Authorization: Bearer "
                    + "$(cat '\(data)/token')\" \(target)/v1/system")
        }
        guard path == nil else { return }
        let address = first
        let login = try? authenticator.makeLogin(for: Principal(name: NamedToken.owner), seconds: 900)
        if let login {
            Terminal.say("vintner: dashboard: \(address)/#t=\(login) (once, within 15 minutes)")
        }
    }

    private var serviceConfiguration: ServiceConfiguration {
        var configuration = ServiceConfiguration(
            data: data, workers: workers, threads: threads, memory: memory, minFree: minFree)
        configuration.hangSeconds = hangSeconds
        let usual = configuration.uploads.fileByteCountMax
        configuration.uploads.fileByteCountMax = maxUpload.resolved(usual)
        if case .value(let most) = maxDatasetsBytes { configuration.uploads.totalByteCountMax = most }
        if case .value(let most) = maxModelsBytes { configuration.uploads.modelsByteCountMax = most }
        configuration.queueLimits = listening.queueLimits
        return configuration
    }

    /// A signal that asks the process to end; SIGHUP does where there is no certificate to read again.
    private func waitForTheEnd(_ log: Logger, _ level: LogSwitch, showing identity: TLSIdentity?) {
        var shown = identity
        if let shown, let note = shown.note { log.warning("the certificate \(note)") }
        let toggle = {
            level.toggle()
            Self.audit.notice("the level of the log was changed", metadata: ["to": "\(level.level.rawValue)"])
        }
        while Signals.wait(toggle) == SIGHUP, listening.tlsCert != nil {
            do {
                guard let identity = try listening.identity() else { continue }
                if identity.hasEnded, shown?.hasEnded == false {
                    throw ListenOptions.IdentityError(text: "the new certificate \(identity.note ?? "")")
                }
                identity.show()
                shown = identity
                log.log(
                    level: identity.note == nil ? .notice : .warning,
                    "read the certificate again\(identity.note.map { "; it \($0)" } ?? "")",
                    metadata: ["expires_at": "\(identity.expiresAt)"])
            } catch {
                log.error("the old certificate stays", metadata: ["cause": "\(error)"])
            }
        }
    }

    private func serverConfiguration(_ log: Logger, _ level: LogSwitch) throws -> ServerConfiguration {
        var configuration = try listening.configuration()
        if noAuth { configuration.mayBeExposed = false }
        configuration.auditsReads = { level.level == .debug }
        configuration.audit = { entry in
            let (log, level) = entry.method.isSafe ? (log, Logger.Level.debug) : (Self.audit, .info)
            log.log(
                level: level, "request",
                metadata: [
                    "method": "\(entry.method.rawValue)", "path": "\(entry.path)",
                    "status": "\(entry.status)",
                    "principal": "\(entry.principal ?? "")", "peer": "\(entry.peer)",
                    "request_id": "\(entry.requestID)",
                ].merging(entry.location.map { ["location": "\($0)"] } ?? [:]) { $1 })
        }
        configuration.log = { level, message, requestID in
            log.log(
                level: Logger.Level(rawValue: level.rawValue) ?? .notice, "\(message)",
                metadata: requestID.map { ["request_id": "\($0)"] })
        }
        return configuration
    }

    private func router(
        _ service: Service, _ authenticator: TokenAuthenticator, _ configuration: ServerConfiguration,
        _ log: Logger, _ level: LogSwitch
    ) -> Router {
        let folder = service.configuration.folder
        let wholes = WholeModels()
        let environment = APIEnvironment(
            system: { SystemFacts.members(of: service, configuration) },
            metrics: { ServiceMetrics.all(of: service, configuration.meter) },
            unreadiness: {
                if service.pool.isDraining { return "draining" }
                if service.jobs.isFull { return "queue_full: no more jobs may wait" }
                return service.configuration.room.shortage.map { "disk_full: \($0)" }
            },
            modelFile: { folder.absolute($0.path) },
            wholeModel: { try wholes.source(of: $0.sha256, at: folder.absolute($0.path), isSent: $1) },
            adapterFile: { folder.absolute(DataFolder.adapters(of: $0.id)) },
            checkpointFile: { folder.absolute($0.path) }, predictor: service.predictions,
            intake: service.uploads, imports: service.imports,
            webhooks: service.webhooks, logging: level,
            refreshDatasets: { Self.registerDatasets(service, log) },
            datasetPreview: { service.preview(of: $0) }, removeFiles: { service.remove($0) })
        return API(jobs: service.jobs, environment: environment, authenticator: authenticator).router
    }

    private static func registerDatasets(_ service: Service, _ log: Logger) {
        do { try service.registerDatasets() } catch {
            log.error("datasets could not be registered", metadata: ["cause": "\(error)"])
        }
    }

    /// A second signal ends the process at once.
    private func stop(_ server: Server, _ service: Service, _ log: Logger) {
        log.notice("draining")
        Thread.detachNewThread { [listening] in
            while Signals.wait() == SIGHUP, listening.tlsCert != nil {}
            _exit(1)
        }
        server.startDraining()
        service.predictions.stop(seconds: 2)
        service.pool.drain(milliseconds: 20_000)
        server.drain(seconds: 5)
        service.close()
        log.notice("stopped")
    }

    /// What was to change something, and who may: written whatever the level of the log.
    private static let audit = JSONLog.logger(LogSwitch(.info))

    /// Many files; no core dumps, which would have the tokens in them.
    private static func setLimits() {
        var core = rlimit()
        if unsafe getrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &core) == 0 {
            core.rlim_cur = 0
            unsafe _ = setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &core)
        }
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = min(limit.rlim_max, 8192)
        unsafe _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
