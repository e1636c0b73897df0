import Data
import Files
import Jobs
import Store

/// Mends what an examination found; the caller holds the lock on the folder.
struct Treatment {
    private let folder: DataFolder
    private let database: SQLiteDatabase
    private let time: any TimeSource

    /// Opens the database for writing, which brings its schema up to date.
    init(_ folder: DataFolder, time: any TimeSource) throws(StoreError) {
        (self.folder, self.time) = (folder, time)
        database = try SQLiteDatabase(path: folder.database, migrations: DataFolder.migrations)
    }

    /// Mends what can be mended, and says of each what was done.
    func apply(to findings: inout [Finding]) throws(JobError) {
        for index in findings.indices {
            guard let repair = findings[index].repair else { continue }
            do {
                findings[index].outcome = .mended(try perform(repair, at: findings[index].place))
            } catch {
                let cause = (error as? JobError)?.cause ?? "\(error)"
                findings[index].outcome = .failed(cause)
            }
        }
        try database.close()
    }

    private func perform(_ repair: Finding.Repair, at place: String) throws -> String {
        let jobs = SQLiteJobRepository(database)
        let now = time.now()
        switch repair {
        case .setPermissions(let mode):
            let names = place == DataFolder.databaseName ? DataFolder.databaseFiles : [place]
            for path in names.map(folder.absolute) where Folder.status(of: path) != nil {
                try Folder.setPermissions(of: path, to: mode)
            }
            return "its mode is \(String(mode, radix: 8)) now."
        case .remove:
            try Folder.removeTree(folder.absolute(place))
            return "deleted."
        case .takeBack(let id):
            // The first takes back all.
            let boot = SHA256.Digest.hex(try secureRandomBytes(16))
            _ = try jobs.recover(bootID: boot, crashLimit: Service.crashLimit, at: now)
            return "it is \(try jobs.job(id).state.rawValue) now."
        case .settleDependencies:
            try jobs.settleDependencies(at: now)
            return "what waits for others was counted anew."
        case .forgetCheckpoint(let id, let kind, let step):
            try jobs.forgetCheckpoint(of: id, kind: kind, step: step, at: now)
            try Folder.removeFile(folder.absolute(place))
            return "the checkpoint is forgotten."
        case .forgetModel(let id): return try forget(id, jobs, now)
        case .forgetDataset(let id):
            _ = try SQLiteDatasetRepository(database).deleteDataset(id)
            return "the dataset is forgotten; it is known again once its files are back."
        case .finishDeletion(let id):
            let catalogue = DatasetCatalogue(folder: folder.datasets)
            let burial = DatasetBurial(catalogue, SQLiteDatasetRepository(database))
            let isGone = try burial.end(id.rawValue)
            return isGone ? "the dataset is deleted." : "a job needs the dataset; it is back."
        }
    }

    /// First the files, then the row: where only the first happened, the next run finds the model missing.
    private func forget(_ id: ModelID, _ jobs: SQLiteJobRepository, _ now: Timestamp) throws -> String {
        let source = folder.absolute(DataFolder.folder(of: id))
        var rest = "nothing was left of it."
        if Folder.status(of: source) != nil {
            try Folder.make(folder.absolute(DataFolder.damagedName))
            try Folder.move(source, to: folder.absolute(DataFolder.damaged(id)))
            rest = "what was left of it is in \(DataFolder.damaged(id))."
        }
        try jobs.forgetModel(id, at: now)
        return "the model is forgotten; \(rest)"
    }
}
