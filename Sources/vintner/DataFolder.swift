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
    /// That a check of the database began, relative.
    static let checkMark = SQLiteDatabase.checkMark(of: databaseName)
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
    static let keptNames: Set<String> = [ledgerName, denseName]

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

    /// Reads the token.
    ///
    /// - Throws: `FileError`; also when the file has none, or one that could be guessed.
    func readToken() throws(FileError) -> String {
        let text = String(decoding: try readFile(token, limit: 4096), as: UTF8.self)
        let known = String(text.prefix { !$0.isWhitespace })
        guard known.utf8.count >= Self.tokenByteCountMin else {
            throw .corrupt(
                path: token,
                reason: "it should start with the token, at least \(Self.tokenByteCountMin) characters, and "
                    + "starts with \(known.isEmpty ? "none" : "\(known.utf8.count)"); delete it, and the "
                    + "next start makes a new one")
        }
        return known
    }

    /// Half of what is made here.
    private static let tokenByteCountMin = 32

    /// What other users may do that they should not: places, relative, with the modes that take it away.
    var exposures: [(place: String, mode: UInt32)] {
        let folders: [(String, UInt32)] = [".", "jobs", "models", "datasets", Self.uploadsName]
            .map { ($0, 0o022) }
        let files: [(String, UInt32)] = Self.secrets.map { ($0, 0o077) }
        let found: [(String, UInt32)] = (folders + files).compactMap { place, excess in
            guard let status = Folder.status(of: absolute(place), followingLinks: true),
                status.permissions & excess != 0
            else { return nil }
            return (place, status.permissions & ~excess)
        }
        // SQLite gives its other files the mode of the first.
        let isOpen = Self.databaseFiles.contains { name in
            Folder.status(of: absolute(name)).map { $0.permissions & 0o077 != 0 } ?? false
        }
        return isOpen ? found + [(Self.databaseName, UInt32(0o600))] : found
    }

    /// Reads the token, or makes one on the first start (256 random bits, mode 0600).
    ///
    /// - Returns: The token, and whether it is new.
    /// - Throws: `FileError`; also when the file has no token, since an empty one would let anybody in.
    func readOrMakeToken() throws(FileError) -> (token: String, isNew: Bool) {
        do throws(FileError) {
            return (try readToken(), false)
        } catch {
            guard error.isMissing else { throw error }
        }
        let made = SHA256.Digest.hex(try secureRandomBytes(32))
        try AtomicFile.write(Array((made + "\n").utf8), to: token)
        return (made, true)
    }

}
