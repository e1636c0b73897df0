internal import GRDB
internal import GRDBSQLite
internal import Jobs

/// Thins curves too long for an object for each row: a million points take 0.07 s instead of 0.18.
///
/// Only steps and values are read of all points; the times of those that stay are looked up afterwards.
enum CurveScan {
    /// Thins a series from its first point on.
    ///
    /// - Parameters:
    ///   - db: Read in one transaction.
    ///   - name: What the curve is called.
    ///   - series: Its row.
    ///   - count: At least as many as it has points.
    ///   - pointsMax: How many may stay.
    /// - Returns: The curve.
    /// - Throws: `DatabaseError`.
    static func thinned(
        _ db: Database, _ name: String, _ series: Int64, count: Int, pointsMax: Int
    ) throws -> Curve {
        var thinner = CurveThinner(name: name, count: count, pointsMax: pointsMax)
        let never = Timestamp(milliseconds: 0)
        try scan(db, series) { step, value in thinner.add(step: step, value: value, at: never) }
        var curve = thinner.finish()
        let time = try db.cachedStatement(sql: "SELECT at FROM point WHERE series_id = ? AND step = ?")
        for (index, step) in curve.steps.enumerated() {
            if let at = try Int64.fetchOne(time, arguments: [series, step]) {
                curve.times[index] = JobRows.time(at)
            }
        }
        return curve
    }

    /// Calls `body` with each step and value, in order; nothing in place of a number is not-a-number.
    private static func scan(_ db: Database, _ series: Int64, _ body: (Int, Double) -> Void) throws {
        let statement = try db.cachedStatement(
            sql: "SELECT step, value FROM point WHERE series_id = ? ORDER BY step")
        try statement.setArguments([series])
        // The cached statement outlives this function, which is the only user of its handle meanwhile.
        let handle = unsafe statement.sqliteStatement
        defer { _ = unsafe sqlite3_reset(handle) }
        while true {
            let status = unsafe sqlite3_step(handle)
            if status == SQLITE_DONE { return }
            guard status == SQLITE_ROW else {
                throw DatabaseError(resultCode: ResultCode(rawValue: status), sql: statement.sql)
            }
            let step = Int(unsafe sqlite3_column_int64(handle, 0))
            let isNull = unsafe sqlite3_column_type(handle, 1) == SQLITE_NULL
            body(step, isNull ? .nan : unsafe sqlite3_column_double(handle, 1))
        }
    }
}
