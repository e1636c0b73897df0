import GRDB
public import Jobs

/// The curves, kept in `series`, `point` and `resource_point`.
public struct SQLiteMetricRepository: MetricRepository {
    let database: SQLiteDatabase

    /// Reads curves from `database`.
    public init(_ database: SQLiteDatabase) { self.database = database }

    /// The loss curves and their like; a curve is thinned while it is read and never held whole.
    public func metrics(of id: JobID, _ query: CurveQuery) throws(JobError) -> [Curve] {
        try database.read { db in
            try requireJob(db, id)
            let series = try Row.fetchAll(
                db, sql: "SELECT id, name, count FROM series WHERE job_id = ? ORDER BY id",
                arguments: [id.rawValue])
            return try series.compactMap { row in
                let name: String = row["name"]
                guard query.series.isEmpty || query.series.contains(name) else { return nil }
                return try curve(db, name, row["id"], count: row["count"], query)
            }
        }
    }

    /// The resource curves; a figure that was never sampled has no curve.
    public func resources(of id: JobID, _ query: CurveQuery) throws(JobError) -> [Curve] {
        try database.read { db in
            try requireJob(db, id)
            return try ResourcePoint.names.compactMap { name in
                guard query.series.isEmpty || query.series.contains(name) else { return nil }
                let source = "FROM resource_point WHERE job_id = ? AND step > ? AND \(name) IS NOT NULL"
                let arguments: StatementArguments = [id.rawValue, query.since(name)]
                let count = try Int.fetchOne(db, sql: "SELECT count(*) \(source)", arguments: arguments) ?? 0
                guard count > 0 else { return nil }
                return try thinned(
                    db, name, count, query, "SELECT step, \(name) AS value, at \(source) ORDER BY at",
                    arguments)
            }
        }
    }

    private func curve(
        _ db: Database, _ name: String, _ series: Int64, count: Int, _ query: CurveQuery
    ) throws -> Curve {
        // The summary counts a point that was replaced twice, so never too few.
        if query.since(name) < 0, count > query.pointsMax, query.isThinned {
            return try CurveScan.thinned(db, name, series, count: count, pointsMax: query.pointsMax)
        }
        let source = "FROM point WHERE series_id = ? AND step > ?"
        let arguments: StatementArguments = [series, query.since(name)]
        let count =
            try query.isThinned
            ? Int.fetchOne(db, sql: "SELECT count(*) \(source)", arguments: arguments) ?? 0 : query.pointsMax
        return try thinned(
            db, name, count, query, "SELECT step, value, at \(source) ORDER BY step", arguments)
    }

    private func thinned(
        _ db: Database, _ name: String, _ count: Int, _ query: CurveQuery, _ sql: String,
        _ arguments: StatementArguments
    ) throws -> Curve {
        let count = query.isThinned ? count : min(count, query.pointsMax)
        var thinner = CurveThinner(name: name, count: count, pointsMax: query.pointsMax)
        let limited = query.isThinned ? sql : "\(sql) LIMIT \(query.pointsMax)"
        let rows = try Row.fetchCursor(db, sql: limited, arguments: arguments)
        while let row = try rows.next() {
            thinner.add(step: row[0], value: row[1] ?? .nan, at: JobRows.time(row[2]))
        }
        return thinner.finish()
    }

    private func requireJob(_ db: Database, _ id: JobID) throws {
        let exists = try Bool.fetchOne(db, sql: "SELECT 1 FROM job WHERE id = ?", arguments: [id.rawValue])
        guard exists != nil else { throw JobError.jobNotFound(id) }
    }
}

/// Writing resource samples.
enum ResourceRows {
    static func insert(_ db: Database, _ job: JobID, _ sample: ResourcePoint) throws {
        let names = ResourcePoint.names.joined(separator: ", ")
        let marks = databaseQuestionMarks(count: ResourcePoint.names.count)
        try db.cachedStatement(
            sql:
                "INSERT OR REPLACE INTO resource_point(job_id, at, step, \(names)) VALUES (?, ?, ?, \(marks))"
        ).execute(
            arguments: [job.rawValue, sample.at.milliseconds, sample.step] + StatementArguments(sample.values)
        )
    }
}
