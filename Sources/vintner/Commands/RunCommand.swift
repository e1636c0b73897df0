import API
import ArgumentParser
import Files
import Foundation
import HTTP
import JSON
import Jobs
import Logging
import Threads

/// `vintner run`.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run one job to its end, without a server.")

    @Argument(help: "The job as JSON; - reads standard input.")
    var file: String
    @Option(help: "The data folder to keep the job in; a temporary one by default.")
    var data: String?
    @Option(help: "Where to write the model (safetensors).")
    var output: String?
    @Option(help: "Threads to use, or auto: all.")
    var threads = ServiceConfiguration.Amount.automatic
    @Option(help: "Bytes to use (K, M and G are understood), or auto: 80 % of the memory.")
    var memory = ServiceConfiguration.Amount.automatic
    @Flag(help: "Print the finished job as JSON.")
    var json = false

    func validate() throws { try memory.requireMemory() }

    func run() throws {
        Signals.block()
        umask(0o077)
        let folder = data ?? "\(NSTemporaryDirectory())/vintner-\(ProcessInfo.processInfo.processIdentifier)"
        defer { if data == nil { _ = try? Folder.removeTree(folder) } }
        let body = try readJSON(file)
        let service: Service
        let job: Job
        do {
            service = try Service(
                ServiceConfiguration(
                    data: folder, workers: .value(1), threads: threads, memory: memory,
                    answersPredictions: false),
                log: JSONLog.logger(LogSwitch(.warning)))
            job = try submit(body, to: service)
        } catch let code as ExitCode {
            throw code
        } catch {
            Terminal.complain("vintner: \(error)")
            throw Ending.failed.error
        }
        cancelOnSignal(service, job.id)
        let done = try follow(job.id, service)
        defer { service.close() }
        if let output { try copyModel(of: done, service, to: output) }
        let verdict = Verdict(done)
        json ? Terminal.say(done.document.encoded(pretty: true)) : Epilogue.say(done.document)
        let ending = Epilogue.ending(done.state.rawValue, verdict: verdict.code)
        if ending == .gateFailed { Terminal.complain("vintner: \(verdict.sentence)") }
        guard ending == .ok else { throw ending.error }
    }

    private func submit(_ body: JSONValue, to service: Service) throws -> Job {
        do { return try service.jobs.submit(body).job } catch {
            guard case .invalid(let violations) = error else { throw error }
            Terminal.complain("vintner: \(InvalidInput(violations).description)")
            throw Ending.usage.error
        }
    }

    private func cancelOnSignal(_ service: Service, _ id: JobID) {
        Thread.detachNewThread {
            _ = Signals.wait()
            do { _ = try service.jobs.cancel(id) } catch { Terminal.complain("vintner: \(error)") }
        }
    }

    private func follow(_ id: JobID, _ service: Service) throws -> Job {
        let bell = Bell()
        var line = ProgressLine()
        defer { line.close() }
        while true {
            let ring = bell.ring
            // One wake-up a subscription; taken before the look, so that no change is missed.
            let subscription = service.hub.subscribe(to: .job(id)) { bell.strike() }
            let job = try service.jobs.job(id)
            if !json { line.show(job.document) }
            if job.state.isTerminal { return job }
            bell.wait(after: ring, nanoseconds: 1_000_000_000)
            subscription.cancel()
        }
    }

    private func copyModel(of job: Job, _ service: Service, to path: String) throws {
        guard let id = job.result?.modelID else { return }
        let record = try service.jobs.repositories.models.model(id)
        do {
            _ = try AtomicFile.copy(service.configuration.folder.absolute(record.path), to: path)
        } catch {
            Terminal.complain("vintner: the model could not be written: \(error)")
            throw Ending.failed.error
        }
    }
}

/// A file's JSON, or that of the standard input for `-`.
func readJSON(_ file: String) throws -> JSONValue {
    try asking { () throws -> JSONValue in
        let bytes = try readInput(file)
        do { return try JSONValue(parsing: bytes) } catch {
            throw ClientError.unreadable(path: file, reason: "\(error)")
        }
    }
}
