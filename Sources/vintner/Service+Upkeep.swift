import API
import Files
import Foundation
import Glibc
import Jobs
import Logging
import Store

extension Service {
    /// Opens the database; a disk that fails ends the process.
    static func openDatabase(
        _ folder: DataFolder, _ outlet: WebhookOutlet, _ log: Logger
    ) throws -> SQLiteDatabase {
        try SQLiteDatabase(
            path: folder.database, migrations: DataFolder.migrations, outlet: outlet,
            trace: try folder.trace(),
            onFailure: { error in
                // A failed write or sync leaves nothing that could be trusted: the next start checks the
                // file.
                log.critical("the database failed", metadata: ["cause": "\(error.cause ?? "\(error)")"])
                try? Folder.touch(SQLiteDatabase.checkMark(of: folder.database))
                _exit(70)
            })
    }

    /// Looks through a large database beside the first requests; damage ends the process.
    static func startCheck(of database: SQLiteDatabase, _ log: Logger) {
        Thread.detachNewThread {
            let began = ContinuousClock.now
            do {
                try database.checkContent()
                let seconds = (ContinuousClock.now - began) / .seconds(1)
                log.info("the database was looked through", metadata: ["seconds": "\(rounded(seconds))"])
            } catch let error as StoreError {
                guard case .damaged = error else {
                    return log.error("the database could not be checked", metadata: ["cause": "\(error)"])
                }
                log.critical("the database is damaged", metadata: ["cause": "\(error)"])
                _exit(70)
            } catch { log.error("the database could not be checked", metadata: ["cause": "\(error)"]) }
        }
    }

    /// Ends the process where its folder is gone: what it writes from then on nobody would find.
    static func endsWithoutFolder(_ folder: DataFolder, _ log: Logger) -> @Sendable () -> Void {
        {
            log.critical(
                "the data folder was moved or deleted while the server ran",
                metadata: ["path": "\(folder.path)"])
            _exit(70)
        }
    }

    /// Says what becomes of jobs: a line for each attempt that begins or has ended.
    static func tell(of note: WorkerPool.AttemptNote, _ log: Logger) {
        var metadata: Logger.Metadata = [
            "job_id": "\(note.job.id)", "type": "\(note.job.type.rawValue)",
            "attempt": "\(note.job.attempt)",
        ]
        guard let outcome = note.outcome else {
            return log.info("an attempt begins", metadata: metadata)
        }
        metadata["outcome"] = "\(outcome)"
        if let failure = note.failure {
            metadata["code"] = "\(failure.code)"
            metadata["cause"] = "\(failure.message)"
        }
        log.log(
            level: outcome == "failed" ? .warning : .info, "an attempt has ended", metadata: metadata)
    }

    /// Says what a start took back.
    static func tell(of recovered: RecoverySummary, _ log: Logger) {
        guard !recovered.requeued.isEmpty || !recovered.quarantined.isEmpty else { return }
        log.notice(
            "took back jobs of an earlier process",
            metadata: [
                "requeued": "\(recovered.requeued.count)", "quarantined": "\(recovered.quarantined.count)",
            ])
    }

    /// Says what a start deleted, and what it found and left alone.
    static func tell(of cleaning: DataFolder.Cleaning, _ log: Logger) {
        func shown(_ places: [String]) -> Logger.Metadata {
            let some = places.prefix(20).joined(separator: ", ")
            return ["count": "\(places.count)", "places": "\(some)\(places.count > 20 ? ", ..." : "")"]
        }
        if !cleaning.removed.isEmpty {
            log.notice("deleted what no row of the database names", metadata: shown(cleaning.removed))
        }
        if !cleaning.unfamiliar.isEmpty {
            log.warning("left alone what this program did not make", metadata: shown(cleaning.unfamiliar))
        }
    }

    /// What takes models from clients.
    static func imports(
        _ configuration: ServiceConfiguration, _ database: SQLiteDatabase, _ models: any ModelRepository,
        _ log: Logger
    ) -> ModelImporter {
        ModelImporter(
            folder: configuration.folder, limits: configuration.uploads, models: models,
            identifiers: database.identifiers, time: SystemTime(),
            report: { log.error("\($0)", metadata: ["cause": "\($1)"]) })
    }

    /// What tells others of jobs.
    static func webhooks(
        _ sender: HTTPWebhookSender?, _ database: SQLiteDatabase, _ outlet: WebhookOutlet, _ hub: ChangeHub,
        _ log: Logger
    ) -> WebhookService {
        WebhookService(
            repository: SQLiteWebhookRepository(database), sender: sender, identifiers: database.identifiers,
            bell: outlet.bell, hub: hub, log: { log.warning("\($0)", metadata: ["cause": "\($1)"]) })
    }

    /// What clears old jobs away.
    static func retention(
        _ configuration: ServiceConfiguration, _ database: SQLiteDatabase, _ hub: ChangeHub, _ log: Logger
    ) -> JobRetention {
        let (jobs, folder) = (SQLiteJobRepository(database), configuration.folder)
        return JobRetention(
            configuration.retention, retention: jobs, jobs: jobs, metrics: SQLiteMetricRepository(database),
            hub: hub, removeFiles: { remove($0, from: folder, log) },
            log: { message, detail, isFault in
                let metadata: Logger.Metadata = [isFault ? "cause" : "count": "\(detail)"]
                log.log(level: isFault ? .error : .notice, "\(message)", metadata: metadata)
            })
    }

    /// What clears away the rows of what was deleted.
    static func janitor(_ database: SQLiteDatabase, _ log: Logger) -> Janitor {
        Janitor(SQLiteClearing(database)) { cause in
            log.error("what was deleted could not be cleared away", metadata: ["cause": "\(cause)"])
        }
    }

    /// Deletes files that no record names any more.
    static func remove(_ paths: [String], from folder: DataFolder, _ log: Logger) {
        for path in paths {
            // A model's folder is its own: the description beside the weights goes with them.
            let isModel = path.hasPrefix("models/") && path.hasSuffix("/model.safetensors")
            let target = isModel ? String(path.dropLast("/model.safetensors".count)) : path
            do { try Folder.removeTree(folder.absolute(target)) } catch {
                log.warning("a file could not be deleted", metadata: ["cause": "\(error)"])
            }
        }
    }
}
