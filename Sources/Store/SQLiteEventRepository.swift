import GRDB
public import Jobs

/// The events, kept in the `event` table.
public struct SQLiteEventRepository: EventRepository {
    let database: SQLiteDatabase

    /// Reads events from `database`.
    public init(_ database: SQLiteDatabase) { self.database = database }

    /// The events of a job after `cursor`, oldest first; at most one more than a page holds.
    public func events(of id: JobID, after cursor: EventID?, limit: Int) throws(JobError) -> [EventRecord] {
        try database.read { db in
            let exists = try Bool.fetchOne(
                db, sql: "SELECT 1 FROM job WHERE id = ?", arguments: [id.rawValue])
            guard exists != nil else { throw JobError.jobNotFound(id) }
            let countMax = max(1, min(limit, PageRequest.limitMax + 1))
            return try Row.fetchAll(
                db, sql: "SELECT * FROM event WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?",
                arguments: [id.rawValue, cursor?.rawValue ?? "", countMax]
            ).map { row in
                EventRecord(
                    id: try JobRows.id(row["id"]), jobID: id, at: JobRows.time(row["at"]),
                    level: EventLevel(rawValue: row["level"]) ?? .info, type: row["type"],
                    message: row["message"],
                    data: try JSONText.value(row["data"]))
            }
        }
    }
}
