import GRDB
public import Jobs
public import Threads

/// The rows of what was deleted, which nothing shown refers to any more: they are cleared away in pieces, so
/// that nobody waits for long.
enum Discards {
    /// About so many rows go in one transaction, a few milliseconds; fewer messages, which have bodies.
    static let rowsMax = 2000, messagesMax = 200

    /// The rows that hang on one owner, each table by the columns of its key.
    private static let tables: [(table: StaticString, owner: StaticString, key: StaticString, limit: Int)] = [
        ("resource_point", "job_id", "at", rowsMax), ("event", "job_id", "id", rowsMax),
        ("webhook_delivery", "webhook_id", "id", messagesMax),
    ]

    /// Clears away what hangs on an owner that is gone: at once if it is little, else by and by.
    static func add(_ db: Database, _ database: SQLiteDatabase, _ owner: String) throws {
        var left = rowsMax
        guard try clear(db, owner, &left) else { return }
        try db.execute(sql: "INSERT INTO discarded(id) VALUES (?)", arguments: [owner])
        db.afterNextTransaction { [bell = database.discards] _ in bell.strike() }
    }

    /// Lets a job begin new curves; those it has lie under a name that nobody knows.
    static func addCurves(
        of id: JobID, _ db: Database, _ database: SQLiteDatabase, at now: Timestamp
    ) throws {
        let name: JobID = database.identifiers.next(at: now)
        try db.execute(
            sql: "UPDATE series SET job_id = ? WHERE job_id = ?", arguments: [name.rawValue, id.rawValue])
        if db.changesCount > 0 { try add(db, database, name.rawValue) }
    }

    /// Clears some of it away, of as many owners as a transaction may; whether there is more.
    static func clearSome(_ db: Database) throws -> Bool {
        var left = rowsMax
        while let owner = try String.fetchOne(
            db.cachedStatement(sql: "SELECT id FROM discarded ORDER BY id LIMIT 1"))
        {
            guard left > 0, try !clear(db, owner, &left) else { return true }
            try db.cachedStatement(sql: "DELETE FROM discarded WHERE id = ?").execute(arguments: [owner])
        }
        return try WebhookRows.giveUpSome(db)
    }

    /// Whether there is more than may go now.
    private static func clear(_ db: Database, _ owner: String, _ left: inout Int) throws -> Bool {
        let series = try Int64.fetchAll(
            db.cachedStatement(sql: "SELECT id FROM series WHERE job_id = ?"), arguments: [owner])
        for one in series {
            if try deleteFirst(db, "point", "series_id", "step", of: one, min(left, rowsMax), &left) {
                return true
            }
            try db.cachedStatement(sql: "DELETE FROM series WHERE id = ?").execute(arguments: [one])
        }
        for (table, column, key, limit) in tables
        where try deleteFirst(db, table, column, key, of: owner, min(left, limit), &left) { return true }
        return false
    }

    /// Whether there may be more than those `limit` rows.
    private static func deleteFirst(
        _ db: Database, _ table: StaticString, _ owner: StaticString, _ key: StaticString,
        of value: some DatabaseValueConvertible, _ limit: Int, _ left: inout Int
    ) throws -> Bool {
        guard limit > 0 else { return true }
        let bound = try DatabaseValue.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT max(\(key)) FROM (
                        SELECT \(key) FROM \(table) WHERE \(owner) = ? ORDER BY \(key) LIMIT ?)
                    """), arguments: [value, limit])
        guard let bound, !bound.isNull else { return false }
        try db.cachedStatement(sql: "DELETE FROM \(table) WHERE \(owner) = ? AND \(key) <= ?").execute(
            arguments: [value, bound])
        left -= db.changesCount
        return db.changesCount >= limit
    }
}

/// Clears away what is left of what was deleted.
public struct SQLiteClearing: ClearingRepository {
    let database: SQLiteDatabase

    /// Clears `database`.
    public init(_ database: SQLiteDatabase) { self.database = database }

    /// Struck when there is something to clear away.
    public var bell: Bell { database.discards }

    /// Clears some of it away, in one short transaction; whether there is more.
    public func clearSome() throws(JobError) -> Bool {
        try database.write { db in try Discards.clearSome(db) }
    }
}
