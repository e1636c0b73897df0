import API
import Files
import Glibc
import Jobs
import Logging
import Store

extension Service {
    /// Opens the database; a disk that fails ends the process.
    static func openDatabase(
        _ folder: DataFolder, _ outlet: WebhookOutlet, _ log: Logger
    ) throws(StoreError) -> SQLiteDatabase {
        try SQLiteDatabase(
            path: folder.database, migrations: DataFolder.migrations, outlet: outlet,
            onFailure: { error in
                // A failed write or sync leaves nothing that could be trusted: the next start checks the
                // file.
                log.critical("the database failed", metadata: ["cause": "\(error.cause ?? "\(error)")"])
                _exit(70)
            })
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
