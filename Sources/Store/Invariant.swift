import GRDB
import Jobs

/// What holds for the rows of every database of ours, whatever happened to the processes that wrote it.
///
/// The names are those of the design. Four of the ten are not here: I1 (every acknowledged job exists) and
/// I10 (a resumed run equals an unbroken one) need a witness outside, I6 (files are whole) and I9 (nothing
/// temporary is left) the data folder; I8 is `SQLiteInspection.damage(isThorough:)` besides.
public struct Invariant: Sendable {
    /// `I2`, `I3`, `I4`, `I5`, `I7`, `I8`; `JSON` for stored documents.
    public let name: String
    /// What holds.
    public let claim: String
    /// Selects who breaks it, and how: `subject`, `detail`.
    let sql: String
    /// The oldest schema that has the tables.
    var schema = 1

    /// A place where one does not hold.
    public struct Violation: Sendable, Equatable {
        /// The invariant.
        public let invariant: String
        /// What breaks it: an identifier.
        public let subject: String
        /// How.
        public let detail: String
    }

    /// The places where it does not hold, at most `limit`.
    func violations(_ db: Database, limit: Int) throws -> [Violation] {
        try Row.fetchAll(db, sql: "SELECT * FROM (\(sql)) LIMIT ?", arguments: [limit]).map { row in
            Violation(invariant: name, subject: row[0], detail: row[1])
        }
    }

    /// All that can be asked of the rows alone.
    public static let all: [Invariant] = [
        keys, keyOwners, transitions, fences, dependencies, steps, owners, documents,
    ]

    /// Uniqueness itself is the table's primary key.
    private static let keys = Invariant(
        name: "I2", claim: "a key of an idempotent request names one job",
        sql: """
            SELECT key AS subject, 'is there ' || count(*) || ' times' AS detail FROM idempotency
            GROUP BY principal, key HAVING count(*) > 1
            """)

    /// In older schemas the keys refer to jobs, and SQLite's own check looks after that.
    private static let keyOwners = Invariant(
        name: "I2", claim: "the job of a key exists, or is known to be deleted",
        sql: """
            SELECT key AS subject, 'names ' || job_id || ', which does not exist' AS detail FROM idempotency
            WHERE is_job_deleted = 0 AND NOT EXISTS (SELECT 1 FROM job WHERE id = job_id)
            UNION ALL
            SELECT key, 'names ' || job_id || ' as deleted, and it exists' FROM idempotency
            WHERE is_job_deleted = 1 AND EXISTS (SELECT 1 FROM job WHERE id = job_id)
            """, schema: 11)

    private static let transitions = Invariant(
        name: "I3", claim: "a job's transitions are legal, lead to its state, and so say its events",
        sql: """
            WITH legal(origin, target) AS (VALUES \(legalMoves)),
            step AS (
                SELECT job_id, position, state, lag(state) OVER own AS before,
                    row_number() OVER own - 1 AS place
                FROM job_transition WINDOW own AS (PARTITION BY job_id ORDER BY position)),
            ending AS (
                SELECT id, state,
                    (SELECT state FROM job_transition WHERE job_id = job.id
                        ORDER BY position DESC LIMIT 1) AS moved,
                    (SELECT json_extract(data, '$.state') FROM event
                        WHERE job_id = job.id AND type = 'state' AND json_valid(data)
                        ORDER BY id DESC LIMIT 1) AS told
                FROM job)
            SELECT job_id AS subject, 'goes from ' || coalesce(before, 'nothing') || ' to ' || state
                || ' in transition ' || position AS detail
            FROM step WHERE position <> place OR (before IS NULL AND state <> 'queued')
                OR (before IS NOT NULL AND (before, state) NOT IN legal)
            UNION ALL
            SELECT id, 'is ' || state || ', its last transition says ' || coalesce(moved, 'nothing')
            FROM ending WHERE moved IS NOT state
            UNION ALL
            SELECT id, 'is ' || state || ', its last event says ' || told
            FROM ending WHERE told IS NOT NULL AND told <> state
            """)

    private static var legalMoves: String {
        JobState.allCases.flatMap { origin in
            origin.successors.map { "('\(origin.rawValue)', '\($0.rawValue)')" }.sorted()
        }.joined(separator: ", ")
    }

    private static let fences = Invariant(
        name: "I4", claim: "nobody writes under an older claim after a newer one",
        sql: """
            SELECT job_id AS subject,
                'has event ' || id || ' of claim ' || fence || ' after one of claim ' || before AS detail
            FROM (SELECT job_id, id, fence, max(fence) OVER (
                    PARTITION BY job_id ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ) AS before FROM event) WHERE fence < before
            UNION ALL
            SELECT job.id, 'has a ' || what || ' of claim ' || written.fence || ' and was claimed '
                || job.fence || ' times'
            FROM job JOIN (
                SELECT job_id, max(fence) AS fence, 'event' AS what FROM event GROUP BY job_id
                UNION ALL SELECT job_id, max(fence), 'checkpoint' FROM checkpoint GROUP BY job_id
            ) AS written ON written.job_id = job.id
            WHERE written.fence > job.fence
            """)

    private static let dependencies = Invariant(
        name: "I5", claim: "no job started before those it needs had succeeded, and none waits for ever",
        sql: """
            WITH need AS (
                SELECT job_id, dependency_id, needed.state AS state FROM job_dependency
                JOIN job AS needed ON needed.id = dependency_id)
            SELECT job_id AS subject, 'ran although ' || dependency_id || ' is ' || need.state AS detail
            FROM need JOIN job ON job.id = job_id
            WHERE need.state <> 'succeeded' AND job.state NOT IN ('queued', 'paused', 'cancelled')
            UNION ALL
            SELECT job_id, 'waits for ' || dependency_id || ', which is ' || need.state
            FROM need JOIN job ON job.id = job_id
            WHERE need.state IN ('failed', 'cancelled') AND job.state IN ('queued', 'paused')
            UNION ALL
            SELECT id, 'waits for ' || unfinished_dependencies || ' jobs, and ' || found || ' have not ended'
            FROM (SELECT id, unfinished_dependencies, (SELECT count(*) FROM need
                    WHERE need.job_id = job.id AND need.state <> 'succeeded') AS found
                FROM job WHERE state IN ('queued', 'paused'))
            WHERE unfinished_dependencies <> found
            """)

    private static let steps = Invariant(
        name: "I7", claim: "a curve has one value at a step",
        sql: """
            SELECT job_id AS subject, 'has step ' || step || ' of ' || name || ' twice' AS detail
            FROM point JOIN series ON series.id = series_id
            GROUP BY series_id, step HAVING count(*) > 1
            UNION ALL
            SELECT job_id, 'has the curve ' || name || ' twice' FROM series
            GROUP BY job_id, name HAVING count(*) > 1
            """)

    private static let owners = Invariant(
        name: "I8", claim: "rows belong to something that exists, or are being cleared away",
        sql: [
            ("series", "job_id", "job"), ("event", "job_id", "job"), ("resource_point", "job_id", "job"),
            ("webhook_delivery", "webhook_id", "webhook"),
        ].map { table, column, owner in
            """
            SELECT DISTINCT \(column) AS subject, 'does not exist, and has a row of \(table)' AS detail
            FROM \(table) WHERE \(column) NOT IN (SELECT id FROM \(owner))
                AND \(column) NOT IN (SELECT id FROM discarded)
            """
        }.joined(separator: " UNION ALL "), schema: 9)

    private static let documents = Invariant(
        name: "JSON", claim: "what is stored as JSON can be read",
        sql: [
            ("job", "id", ["labels", "spec", "estimate", "progress", "resources", "report", "error"]),
            ("model", "id", ["architecture", "metrics", "lineage"]), ("dataset", "id", ["details"]),
            ("event", "id", ["data"]),
        ].flatMap { table, key, columns in
            columns.map {
                "SELECT \(key) AS subject, 'has a \($0) that is no JSON' AS detail FROM \(table) "
                    + "WHERE \($0) IS NOT NULL AND NOT json_valid(\($0))"
            }
        }.joined(separator: " UNION ALL "))
}
