import GRDB
import Jobs

/// Adds points to the curves of one job and keeps each curve's summary beside it.
struct SeriesWriter {
    /// A job may have so many curves; points of further ones are dropped.
    static let seriesMax = 100
    /// A curve keeps so many points; further ones still count in its summary.
    static let pointsMax = 1_000_000

    fileprivate struct Series {
        let id: Int64
        var summary: SeriesSummary
        var lastStep: Int
        var minStep: Int
        var maxStep: Int
        var isChanged = false
    }

    private let job: JobID
    private var series: [String: Series]?

    init(job: JobID) { self.job = job }

    /// Stores one point; the same step again replaces its value.
    mutating func add(_ db: Database, _ point: MetricPoint) throws {
        var all = try series ?? load(db)
        defer { series = all }
        if all[point.series] == nil {
            guard all.count < Self.seriesMax else { return }
            all[point.series] = try create(db, point)
        }
        guard let id = all[point.series]?.id, let count = all[point.series]?.summary.count else { return }
        all[point.series]?.take(point)
        guard count < Self.pointsMax else { return }
        try db.cachedStatement(
            sql: """
                INSERT INTO point(series_id, step, value, at) VALUES (?, ?, ?, ?)
                ON CONFLICT(series_id, step) DO UPDATE SET value = excluded.value, at = excluded.at
                """
        ).execute(arguments: [id, point.step, point.value.isNaN ? nil : point.value, point.at.milliseconds])
    }

    /// Stores the summaries of the curves that changed.
    func finish(_ db: Database) throws {
        for series in (series ?? [:]).values where series.isChanged {
            let summary = series.summary
            try db.cachedStatement(
                sql: """
                    UPDATE series SET count = ?, last_step = ?, last = ?, min = ?, min_step = ?,
                        max = ?, max_step = ?
                    WHERE id = ?
                    """
            ).execute(arguments: [
                summary.count, series.lastStep, summary.last.isNaN ? nil : summary.last,
                summary.min.isNaN ? nil : summary.min, series.minStep,
                summary.max.isNaN ? nil : summary.max, series.maxStep, series.id,
            ])
        }
    }

    /// Forgets a training's points after `step` and works the summaries out anew.
    static func rewind(_ db: Database, _ job: JobID, _ training: String, toStep step: Int) throws {
        try db.execute(
            sql: """
                DELETE FROM point WHERE step > :step AND series_id IN (
                    SELECT id FROM series WHERE job_id = :job AND CASE :training WHEN '' THEN
                        instr(name, '.') = 0
                        ELSE substr(name, -1 - length(:training)) = '.' || :training END)
                """, arguments: ["step": step, "job": job.rawValue, "training": training])
        try db.execute(
            sql: """
                UPDATE series SET
                    (count, last_step) =
                        (SELECT count(*), coalesce(max(step), 0) FROM point WHERE series_id = id),
                    last = (SELECT value FROM point WHERE series_id = id ORDER BY step DESC LIMIT 1),
                    (min, min_step) = (SELECT value, step FROM point WHERE series_id = id
                        AND value BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308
                        ORDER BY value, step LIMIT 1),
                    (max, max_step) = (SELECT value, step FROM point WHERE series_id = id
                        AND value BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308
                        ORDER BY value DESC, step LIMIT 1)
                WHERE job_id = ? AND EXISTS (SELECT 1 FROM point WHERE series_id = id
                    AND value BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308)
                """, arguments: [job.rawValue])
        try db.execute(
            sql: """
                DELETE FROM series WHERE job_id = ? AND NOT EXISTS (SELECT 1 FROM point WHERE series_id = id
                    AND value BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308)
                """, arguments: [job.rawValue])
    }

    private func load(_ db: Database) throws -> [String: Series] {
        var all: [String: Series] = [:]
        for row in try Row.fetchAll(
            db, sql: "SELECT * FROM series WHERE job_id = ?", arguments: [job.rawValue])
        {
            let name: String = row["name"]
            let summary = SeriesSummary(
                name: name, last: row["last"] ?? .nan, min: row["min"] ?? .nan, max: row["max"] ?? .nan,
                bestStep: 0,
                count: row["count"])
            all[name] = Series(
                id: row["id"], summary: summary, lastStep: row["last_step"], minStep: row["min_step"],
                maxStep: row["max_step"])
        }
        return all
    }

    private func create(_ db: Database, _ point: MetricPoint) throws -> Series {
        try db.execute(
            sql: """
                INSERT INTO series(job_id, name, count, last_step, min_step, max_step)
                VALUES (?, ?, 0, ?, ?, ?)
                """, arguments: [job.rawValue, point.series, point.step, point.step, point.step])
        let empty = SeriesSummary(name: point.series, last: .nan, min: .nan, max: .nan, bestStep: 0, count: 0)
        return Series(
            id: db.lastInsertedRowID, summary: empty, lastStep: point.step, minStep: point.step,
            maxStep: point.step)
    }
}

extension SeriesWriter.Series {
    /// Counts a point in the summary.
    mutating func take(_ point: MetricPoint) {
        isChanged = true
        summary.count += 1
        if point.step >= lastStep { (lastStep, summary.last) = (point.step, point.value) }
        guard point.value.isFinite else { return }
        if !(summary.min <= point.value) { (summary.min, minStep) = (point.value, point.step) }
        if !(summary.max >= point.value) { (summary.max, maxStep) = (point.value, point.step) }
    }
}
