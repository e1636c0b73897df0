import Assets
import Files
import Jobs
import Store

/// Where everything lies below the data folder.
struct DataFolder: Sendable {
    let path: String

    var database: String { "\(path)/\(Self.databaseName)" }
    static let databaseName = "vintner.sqlite"
    /// The database, its log and the log's index, relative.
    static let databaseFiles = ["", "-wal", "-shm"].map { databaseName + $0 }
    var token: String { "\(path)/token" }
    var tokens: String { "\(path)/tokens.json" }
    /// The files that say who may call, relative.
    static let secrets = ["token", "tokens.json"]
    var jobs: String { "\(path)/jobs" }
    var models: String { "\(path)/models" }
    var datasets: String { "\(path)/datasets" }
    var uploads: String { "\(path)/\(Self.uploadsName)" }
    static let uploadsName = "uploads"

    /// What brings a database from any schema to the newest.
    static var migrations: [Migration] { Assets.migrations.map { Migration(name: $0.name, sql: $0.sql) } }

    /// The models that are stored here, also while a server has the database open.
    var storedModels: any ModelSource { SQLiteModelReader(path: database) }

    /// A stored path, which is relative, made absolute.
    func absolute(_ relative: String) -> String { "\(path)/\(relative)" }

    /// A job's folder, relative.
    static func folder(of job: JobID) -> String { job.folder }

    /// Where a job keeps what its teachers say, relative.
    static func teacherCache(of job: JobID) -> String { "\(folder(of: job))/\(teacherCacheName)" }

    private static let teacherCacheName = "teacher.cache"

    /// Where a job writes down how its trainings ended, relative.
    static func ledger(of job: JobID) -> String { "\(folder(of: job))/\(ledgerName)" }

    private static let ledgerName = "trainings.json"

    /// Where a job keeps the model as it was before it was pruned, relative.
    static func dense(of job: JobID) -> String { "\(folder(of: job))/\(denseName)" }

    private static let denseName = "dense.safetensors"

    /// What a job keeps for itself until it has succeeded or is deleted, relative.
    static func notes(of job: JobID) -> [String] {
        [teacherCache(of: job), ledger(of: job), dense(of: job)]
    }

    /// What a job goes on with after the server has been started again; teachers are asked again.
    private static let keptNames: Set<String> = [ledgerName, denseName]

    /// Whether a file in a job's folder is one that it keeps for itself.
    static func isNote(_ name: String) -> Bool { [teacherCacheName, ledgerName, denseName].contains(name) }

    /// Where the files of an open upload lie, relative.
    static func uploads(of dataset: DatasetID) -> String { "\(uploadsName)/\(dataset)" }

    /// A model's folder, relative.
    static func folder(of model: ModelID) -> String { "models/\(model)" }

    /// Where what is left of damaged models is set aside.
    static let damagedName = "damaged"

    /// Where what is left of a damaged model is set aside, relative.
    static func damaged(_ model: ModelID) -> String { "\(damagedName)/\(model)" }

    /// Whether a stored path is one that leads to a file of a job or a model.
    static func isOwn(_ path: String) -> Bool {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 3, parts[2] != "..", parts[2] != ".", !parts[2].isEmpty else { return false }
        return parts[0] == "jobs"
            ? JobID(parts[1]) != nil
            : parts[0] == "models" && ModelID(parts[1]) != nil
    }

    /// Where the adapters lie that were merged into a model, relative.
    static func adapters(of model: ModelID) -> String { "\(folder(of: model))/adapters.safetensors" }

    /// Makes the folders that are missing; `path` may be a link, as systemd's `DynamicUser` makes it.
    func make() throws(FileError) {
        try Folder.make(path, followingLinks: true)
        for folder in [jobs, models, datasets, uploads] { try Folder.make(folder) }
    }

    /// Reads the token, or makes one on the first start (256 random bits, mode 0600).
    ///
    /// - Returns: The token, and whether it is new.
    /// - Throws: `FileError`; also when the file has no token, since an empty one would let anybody in.
    func readOrMakeToken() throws(FileError) -> (token: String, isNew: Bool) {
        do throws(FileError) {
            let bytes = try readFile(token, limit: 4096)
            let text = String(decoding: bytes, as: UTF8.self)
            let known = String(text.prefix { !$0.isWhitespace })
            guard !known.isEmpty else {
                throw .corrupt(
                    path: token,
                    reason: "it should start with the token and starts with "
                        + (text.isEmpty ? "nothing" : "a blank")
                        + "; delete it, and the next start makes a new one")
            }
            return (known, false)
        } catch {
            guard error.isMissing else { throw error }
        }
        let made = SHA256.Digest.hex(try secureRandomBytes(32))
        try AtomicFile.write(Array((made + "\n").utf8), to: token)
        return (made, true)
    }

    /// Deletes what no record names: temporary files, checkpoints and models of interrupted runs.
    ///
    /// `named` are the relative paths that records name, `jobs` those that may go on from a checkpoint: what
    /// they keep for themselves stays with it.
    func clean(keeping named: Set<String>, notesOf jobs: Set<JobID>) throws(FileError) {
        try AtomicFile.removeLeftovers(in: path)
        // A path of a dataset is its folder.
        let folders = Set(named.map { $0.split(separator: "/").prefix(2).joined(separator: "/") })
        for parent in ["jobs", "models"] where Folder.status(of: absolute(parent)) != nil {
            for name in try Folder.names(in: absolute(parent)) {
                let folder = "\(parent)/\(name)"
                try AtomicFile.removeLeftovers(in: absolute(folder))
                guard folders.contains(folder) else {
                    try Folder.removeTree(absolute(folder))
                    continue
                }
                let keepsNotes = JobID(name).map(jobs.contains) ?? false
                if parent == "jobs" { try cleanJob(folder, keeping: named, keepsNotes) }
            }
        }
    }

    private func cleanJob(
        _ folder: String, keeping named: Set<String>, _ keepsNotes: Bool
    ) throws(FileError) {
        for file in try Folder.names(in: absolute(folder)) where !named.contains("\(folder)/\(file)") {
            if keepsNotes, Self.keptNames.contains(file) { continue }
            try Folder.removeFile(absolute("\(folder)/\(file)"))
        }
    }
}
