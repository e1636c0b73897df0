import GRDB
import JSON
public import Jobs

/// A file that a row names, with what the row says of it.
public struct NamedFile: Sendable, Equatable {
    /// What the file is.
    public enum Role: Sendable, Equatable {
        /// A checkpoint of a job, `last` or `best`.
        case checkpoint(JobID, kind: CheckpointRecord.Kind, step: Int)
        /// A model's weights.
        case model(ModelID)
        /// The adapters that were merged into a model.
        case adapters(ModelID)
    }

    /// What the file is.
    public let role: Role
    /// Where it lies, relative to the data folder.
    public let path: String
    /// Its size.
    public let byteCount: Int64
    /// Its hash, in hex.
    public let sha256: String
}

/// A database looked at from outside, also while a server has it open; changes nothing.
///
/// Read-only, so that it never checkpoints beside the writer.
public final class SQLiteInspection: Sendable {
    /// The file.
    public let path: String
    /// How many steps of the schema it has taken.
    public let schema: Int
    private let queue: DatabaseQueue

    /// Opens the file at `path`.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - newestSchema: The newest schema that the caller understands.
    /// - Throws: `StoreError`, also for a newer schema.
    public init(path: String, newestSchema: Int) throws(StoreError) {
        guard FileStatus.exists(path) else {
            throw .cannotOpen(path: path, cause: "there is no such file")
        }
        var configuration = Configuration()
        configuration.readonly = true
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { try Pragmas.prepare($0) }
        self.path = path
        do {
            queue = try DatabaseQueue(path: path, configuration: configuration)
            schema = try queue.read { try Int.fetchOne($0, sql: "PRAGMA user_version") ?? 0 }
        } catch { throw Self.translate(error, path) }
        guard schema <= newestSchema else {
            throw .newerSchema(path: path, found: schema, newest: newestSchema)
        }
    }

    /// Copies the database, as it is at one moment, into a new file that belongs to the caller.
    ///
    /// The writer goes on meanwhile; the log grows by what it writes.
    public func copy(to target: String) throws(StoreError) {
        do {
            let copy = try DatabaseQueue(path: target)
            try queue.backup(to: copy)
            try copy.close()
        } catch { throw Self.translate(error, path) }
    }

    /// Ends a look that is under way, on another thread, by an error.
    func interrupt() { queue.interrupt() }

    /// Refuses a damaged file as a start does.
    ///
    /// - Throws: `StoreError.damaged`, `cannotOpen`.
    public func check() throws(StoreError) {
        do { try queue.read { try Pragmas.check($0, path) } } catch { throw Self.translate(error, path) }
    }

    /// What SQLite finds wrong with the file, at most twenty lines; none where it is whole.
    ///
    /// A thorough check compares each index with its table, too.
    public func damage(isThorough: Bool) throws(StoreError) -> [String] {
        try read { db in
            let check = isThorough ? "integrity_check" : "quick_check"
            var lines = try String.fetchAll(db, sql: "PRAGMA \(check)(20)").filter { $0 != "ok" }
            for row in try Row.fetchAll(db, sql: "PRAGMA foreign_key_check").prefix(20) {
                lines.append("a row of \(row[0] as String) refers to nothing")
            }
            return lines
        }
    }

    /// The places where an invariant does not hold, at most `limit` of each.
    public func violations(limit: Int = 100) throws(StoreError) -> [Invariant.Violation] {
        try read { db in
            try Invariant.all.filter { $0.schema <= schema }.flatMap { try $0.violations(db, limit: limit) }
        }
    }

    /// Each job's state.
    public func states() throws(StoreError) -> [JobID: JobState] {
        try read { db in
            var states: [JobID: JobState] = [:]
            for row in try Row.fetchAll(db, sql: "SELECT id, state FROM job") {
                states[try JobRows.id(row["id"])] = try JobRows.state(row["state"])
            }
            return states
        }
    }

    /// The models that have a row.
    public func models() throws(StoreError) -> Set<ModelID> {
        try read { db in
            Set(try String.fetchAll(db, sql: "SELECT id FROM model").map { try JobRows.id($0) })
        }
    }

    /// The files of each open upload.
    public func uploads() throws(StoreError) -> [DatasetID: [DatasetFile]] {
        try read { db in
            var uploads: [DatasetID: [DatasetFile]] = [:]
            for id in try String.fetchAll(db, sql: "SELECT id FROM dataset WHERE is_ready = 0") {
                uploads[try JobRows.id(id)] = []
            }
            guard !uploads.isEmpty, try db.tableExists("dataset_file") else { return uploads }
            for row in try Row.fetchAll(db, sql: "SELECT * FROM dataset_file ORDER BY dataset_id, name") {
                uploads[try JobRows.id(row["dataset_id"]), default: []].append(DatasetFile(row))
            }
            return uploads
        }
    }

    /// The datasets that are ready, with their names.
    public func datasets() throws(StoreError) -> [DatasetID: String] {
        try read { db in
            var names: [DatasetID: String] = [:]
            for row in try Row.fetchAll(db, sql: "SELECT id, name FROM dataset WHERE is_ready") {
                names[try JobRows.id(row["id"])] = row["name"]
            }
            return names
        }
    }

    /// The files whose sizes and hashes the database knows, by path.
    public func namedFiles() throws(StoreError) -> [NamedFile] {
        try read { db in
            let checkpoints = try Row.fetchAll(db, sql: "SELECT * FROM checkpoint").map { row in
                let kind = CheckpointRecord.Kind(rawValue: row["kind"]) ?? .last
                return NamedFile(
                    role: .checkpoint(try JobRows.id(row["job_id"]), kind: kind, step: row["step"]),
                    path: row["path"], byteCount: row["byte_count"], sha256: row["sha256"])
            }
            let models = try Row.fetchAll(db, sql: "SELECT * FROM model").flatMap { row in
                let id: ModelID = try JobRows.id(row["id"])
                let path: String = row["path"]
                let weights = NamedFile(
                    role: .model(id), path: path, byteCount: row["byte_count"], sha256: row["sha256"])
                return [weights] + (try Self.adapters(row["lineage"], of: id, beside: path))
            }
            return (checkpoints + models).sorted { $0.path < $1.path }
        }
    }

    /// Nothing where the lineage cannot be read: that is an invariant's finding.
    private static func adapters(_ lineage: String, of id: ModelID, beside path: String) throws -> [NamedFile]
    {
        guard let adapters = (try? JSONText.value(lineage))?["adapters"],
            let byteCount = adapters["bytes"]?.intValue, let sha256 = adapters["sha256"]?.stringValue,
            let slash = path.lastIndex(of: "/")
        else { return [] }
        return [
            NamedFile(
                role: .adapters(id), path: "\(path[..<slash])/adapters.safetensors",
                byteCount: Int64(byteCount), sha256: sha256)
        ]
    }

    private func read<Value>(_ body: (Database) throws -> Value) throws(StoreError) -> Value {
        do { return try queue.read(body) } catch { throw Self.translate(error, path) }
    }

    private static func translate(_ error: any Error, _ path: String) -> StoreError {
        if let error = error as? StoreError { return error }
        if let error = error as? JobError { return .damaged(path: path, finding: error.cause ?? "\(error)") }
        guard let error = error as? DatabaseError else { return .cannotOpen(path: path, cause: "\(error)") }
        switch error.resultCode {
        case .SQLITE_CORRUPT, .SQLITE_NOTADB:
            return .damaged(path: path, finding: error.message ?? "\(error.resultCode)")
        default: return .cannotOpen(path: path, cause: error.description)
        }
    }
}
