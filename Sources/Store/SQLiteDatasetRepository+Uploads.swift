import GRDB
import JSON
public import Jobs

/// Datasets that are being uploaded: rows that are not ready, and their files.
extension SQLiteDatasetRepository {
    /// Stores a dataset that files are to come for.
    ///
    /// - Throws: `nameTaken`; `tooManyUploads` where as many are open as may be.
    public func open(_ dataset: DatasetRecord, openMax: Int) throws(JobError) {
        try database.write { db in
            let count = try Int.fetchOne(db, sql: "SELECT count(*) FROM dataset WHERE is_ready = 0") ?? 0
            guard count < openMax else { throw JobError.tooManyUploads(limit: openMax) }
            try Self.add(dataset, db)
        }
    }

    /// The files of a dataset that is being uploaded, by name.
    public func files(of id: DatasetID) throws(JobError) -> [DatasetFile] {
        try database.read { db in
            try Row.fetchAll(
                db, sql: "SELECT * FROM dataset_file WHERE dataset_id = ? ORDER BY name",
                arguments: [id.rawValue]
            ).map { DatasetFile($0) }
        }
    }

    /// Stores a file of an open upload in the place of one of the same name.
    ///
    /// - Returns: The path of the file before, which the caller must delete; `nil` without one.
    /// - Throws: `datasetNotFound`, `datasetReady`; `invalid` for one file more than there may be.
    public func put(_ file: DatasetFile, of id: DatasetID, filesMax: Int) throws(JobError) -> String? {
        try database.write { db in
            let isReady = try Bool.fetchOne(
                db, sql: "SELECT is_ready FROM dataset WHERE id = ?", arguments: [id.rawValue])
            guard let isReady else { throw JobError.datasetNotFound(id.rawValue) }
            guard !isReady else { throw JobError.datasetReady(id) }
            let before = try String.fetchOne(
                db, sql: "DELETE FROM dataset_file WHERE dataset_id = ? AND name = ? RETURNING path",
                arguments: [id.rawValue, file.name])
            let count =
                try Int.fetchOne(
                    db, sql: "SELECT count(*) FROM dataset_file WHERE dataset_id = ?",
                    arguments: [id.rawValue])
                ?? 0
            guard count < filesMax else {
                throw JobError.invalid([
                    Violation(
                        pointer: "/files", code: "too_many_files",
                        detail: "expected at most \(filesMax) files")
                ])
            }
            try db.execute(
                sql: """
                    INSERT INTO dataset_file(dataset_id, name, path, byte_count, sha256, created_at)
                    VALUES (?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    id.rawValue, file.name, file.path, file.byteCount, file.sha256,
                    file.createdAt.milliseconds,
                ])
            return before
        }
    }

    /// Forgets a file of an open upload, whose bytes are not there any more.
    public func removeFile(_ name: String, of id: DatasetID) throws(JobError) {
        try database.write { db in
            try db.execute(
                sql: "DELETE FROM dataset_file WHERE dataset_id = ? AND name = ?",
                arguments: [id.rawValue, name])
        }
    }

    /// Every open upload, and when something last came for it.
    public func openUploads() throws(JobError) -> [(dataset: DatasetRecord, lastAt: Timestamp)] {
        try database.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT dataset.*, max(dataset.created_at, ifnull((
                        SELECT max(created_at) FROM dataset_file
                        WHERE dataset_id = dataset.id), 0)) AS last_at
                    FROM dataset WHERE is_ready = 0 ORDER BY id
                    """
            ).map { (try dataset($0), JobRows.time($0["last_at"])) }
        }
    }

    /// Forgets every open upload: for a copy of the database without the files.
    public func forgetUploads() throws(JobError) {
        try database.write { db in try db.execute(sql: "DELETE FROM dataset WHERE is_ready = 0") }
    }

    /// Whether a job that has not ended names the dataset.
    public func isNeeded(_ dataset: DatasetRecord) throws(JobError) -> Bool {
        try database.read { try isNeeded($0, dataset) }
    }

    /// Forgets a dataset that no job needs; `inUse` otherwise.
    ///
    /// `removal` takes its files away, within the transaction: jobs that are stored later do not find them.
    /// That may have happened although this throws.
    public func deleteUnneeded(
        _ dataset: DatasetRecord, removal: () throws(JobError) -> Void = {}
    ) throws(JobError) {
        try database.write { db in
            guard try !isNeeded(db, dataset) else { throw JobError.inUse(dataset.name) }
            try removal()
            try db.execute(sql: "DELETE FROM dataset WHERE id = ?", arguments: [dataset.id.rawValue])
        }
    }

    private func isNeeded(_ db: Database, _ dataset: DatasetRecord) throws -> Bool {
        try Bool.fetchOne(
            db,
            sql: """
                SELECT EXISTS(SELECT 1 FROM job WHERE state NOT IN ('succeeded', 'failed', 'cancelled')
                    AND json_extract(spec, '$.dataset') IN (?, ?))
                """,
            arguments: [dataset.id.rawValue, dataset.name]) ?? false
    }
}

extension DatasetFile {
    /// A row of `dataset_file`.
    init(_ row: Row) {
        self.init(
            name: row["name"], path: row["path"], byteCount: row["byte_count"], sha256: row["sha256"],
            createdAt: JobRows.time(row["created_at"]))
    }
}
