import GRDB
import JSON
public import Jobs

/// The datasets, kept in the `dataset` table; their files lie in the data folder or on the host.
public struct SQLiteDatasetRepository: DatasetRepository {
    let database: SQLiteDatabase

    /// Reads and writes datasets in `database`.
    public init(_ database: SQLiteDatabase) { self.database = database }

    /// Stores a dataset under a name that is still free.
    public func add(_ dataset: DatasetRecord) throws(JobError) {
        try database.write { db in try Self.add(dataset, db) }
    }

    static func add(_ dataset: DatasetRecord, _ db: Database) throws {
        let taken = try Bool.fetchOne(
            db, sql: "SELECT 1 FROM dataset WHERE name = ?", arguments: [dataset.name])
        guard taken == nil else { throw JobError.nameTaken(dataset.name) }
        try db.execute(
            sql: """
                INSERT INTO dataset(id, name, format, is_ready, path, sha256, created_at, details)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                dataset.id.rawValue, dataset.name, dataset.format, dataset.isReady, dataset.path,
                dataset.sha256, dataset.createdAt.milliseconds, dataset.details.encoded(),
            ])
    }

    /// Replaces readiness, hash and details of a stored dataset.
    public func update(_ dataset: DatasetRecord) throws(JobError) {
        try database.write { db in
            try db.execute(
                sql: "UPDATE dataset SET is_ready = ?, sha256 = ?, details = ? WHERE id = ?",
                arguments: [dataset.isReady, dataset.sha256, dataset.details.encoded(), dataset.id.rawValue])
            guard db.changesCount == 1 else { throw JobError.datasetNotFound(dataset.id.rawValue) }
            if dataset.isReady {
                try db.execute(
                    sql: "DELETE FROM dataset_file WHERE dataset_id = ?", arguments: [dataset.id.rawValue])
            }
        }
    }

    /// One dataset, by its identifier or its name.
    public func dataset(_ idOrName: String) throws(JobError) -> DatasetRecord {
        try database.read { db in
            let row = try Row.fetchOne(
                db, sql: "SELECT * FROM dataset WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC",
                arguments: [idOrName])
            guard let row else { throw JobError.datasetNotFound(idOrName) }
            return try dataset(row)
        }
    }

    /// One page of datasets, newest first.
    public func datasets(_ page: PageRequest) throws(JobError) -> Page<DatasetRecord> {
        var bound: DatasetID?
        if let cursor = page.after {
            guard let id = DatasetID(cursor) else { throw .invalidCursor }
            bound = id
        }
        // `~` sorts after every identifier.
        let after = bound?.rawValue ?? "~"
        let datasets = try database.read { db in
            try Row.fetchAll(
                db, sql: "SELECT * FROM dataset WHERE id < ? ORDER BY id DESC LIMIT ?",
                arguments: [after, page.limit + 1]
            ).map { try dataset($0) }
        }
        let items = Array(datasets.prefix(page.limit))
        return Page(items: items, nextCursor: datasets.count > items.count ? items.last?.id.rawValue : nil)
    }

    /// Forgets a dataset.
    public func deleteDataset(_ id: DatasetID) throws(JobError) -> String {
        try database.write { db in
            let path = try String.fetchOne(
                db, sql: "DELETE FROM dataset WHERE id = ? RETURNING path", arguments: [id.rawValue])
            guard let path else { throw JobError.datasetNotFound(id.rawValue) }
            return path
        }
    }

    func dataset(_ row: Row) throws -> DatasetRecord {
        DatasetRecord(
            id: try JobRows.id(row["id"]), name: row["name"], format: row["format"], isReady: row["is_ready"],
            path: row["path"], sha256: row["sha256"], createdAt: JobRows.time(row["created_at"]),
            details: try JSONText.value(row["details"]))
    }
}
