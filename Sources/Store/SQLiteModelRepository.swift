import GRDB
import JSON
public import Jobs

/// The models, kept in the `model` table; their files lie in the data folder.
public struct SQLiteModelRepository: ModelRepository {
    let database: SQLiteDatabase

    /// Reads and writes models in `database`.
    public init(_ database: SQLiteDatabase) { self.database = database }

    /// Stores an imported model.
    public func add(_ model: ModelRecord) throws(JobError) {
        try database.write { try ModelRows.insert($0, model) }
    }

    /// One model.
    public func model(_ id: ModelID) throws(JobError) -> ModelRecord {
        try database.read { try ModelRows.find($0, id) }
    }

    /// One page of models, newest first.
    public func models(_ page: PageRequest) throws(JobError) -> Page<ModelRecord> {
        var bound: ModelID?
        if let cursor = page.after {
            guard let id = ModelID(cursor) else { throw .invalidCursor }
            bound = id
        }
        // `~` sorts after every identifier.
        let after = bound?.rawValue ?? "~"
        let models = try database.read { db in
            try Row.fetchAll(
                db, sql: "SELECT * FROM model WHERE id < ? ORDER BY id DESC LIMIT ?",
                arguments: [after, page.limit + 1]
            ).map { try ModelRows.model($0) }
        }
        let items = Array(models.prefix(page.limit))
        return Page(items: items, nextCursor: models.count > items.count ? items.last?.id.rawValue : nil)
    }

    /// Deletes a model; a job that made it keeps its report, and changes.
    public func deleteModel(_ id: ModelID) throws(JobError) -> DeletedModel {
        try database.write { db in
            try ModelRows.requireUnused(db, id)
            let makers = try ModelRows.loosen(db, id)
            let path = try String.fetchOne(
                db, sql: "DELETE FROM model WHERE id = ? RETURNING path", arguments: [id.rawValue])
            guard let path else { throw JobError.modelNotFound(id) }
            return DeletedModel(path: path, makers: makers)
        }
    }
}

/// Reading and writing model rows.
enum ModelRows {
    static func insert(_ db: Database, _ model: ModelRecord) throws {
        try db.execute(
            sql: """
                INSERT INTO model(id, name, job_id, created_at, architecture, parameters, macs, path,
                    byte_count, sha256, metrics, lineage)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                model.id.rawValue, model.name, model.jobID?.rawValue, model.createdAt.milliseconds,
                model.architecture.encoded(), model.parameters, model.macs, model.path, model.byteCount,
                model.sha256,
                model.metrics.encoded(), model.lineage.encoded(),
            ])
    }

    /// Throws `inUse` while a job that is not over names the model, or the job that made it.
    ///
    /// Few specs have one of the texts, so that few are parsed.
    static func requireUnused(_ db: Database, _ id: ModelID) throws {
        let user = try Row.fetchOne(
            db,
            sql: """
                WITH name(key, text) AS (
                    SELECT 'id', ?1 UNION ALL SELECT 'job', id FROM job WHERE model_id = ?1)
                SELECT id, state FROM job
                WHERE state IN ('queued', 'running', 'pausing', 'paused', 'cancelling')
                    AND EXISTS (SELECT 1 FROM name WHERE instr(job.spec, text) > 0)
                    AND EXISTS (
                        SELECT 1 FROM json_each('["$.model", "$.distill"]') AS place,
                            json_tree(job.spec, place.value) AS named
                        WHERE (named.key, named.atom) IN (SELECT key, text FROM name))
                LIMIT 1
                """, arguments: [id.rawValue])
        guard let user else { return }
        throw JobError.inUse("\(id): \(user["id"] as String) is \(user["state"] as String) and names it; it")
    }

    /// Lets the jobs forget whose result a model is that goes; answers which they are.
    static func loosen(_ db: Database, _ id: ModelID) throws -> [JobID] {
        try String.fetchAll(
            db,
            sql: "UPDATE job SET model_id = NULL, version = version + 1 WHERE model_id = ? RETURNING id",
            arguments: [id.rawValue]
        ).map { try JobRows.id($0) }
    }

    static func find(_ db: Database, _ id: ModelID) throws -> ModelRecord {
        let row = try Row.fetchOne(db, sql: "SELECT * FROM model WHERE id = ?", arguments: [id.rawValue])
        guard let row else { throw JobError.modelNotFound(id) }
        return try model(row)
    }

    static func model(_ row: Row) throws -> ModelRecord {
        ModelRecord(
            id: try JobRows.id(row["id"]), name: row["name"],
            jobID: try (row["job_id"] as String?).map { try JobRows.id($0) },
            createdAt: JobRows.time(row["created_at"]),
            architecture: try JSONText.value(row["architecture"]), parameters: row["parameters"],
            macs: row["macs"],
            path: row["path"], byteCount: row["byte_count"], sha256: row["sha256"],
            metrics: try JSONText.value(row["metrics"]), lineage: try JSONText.value(row["lineage"]))
    }
}
