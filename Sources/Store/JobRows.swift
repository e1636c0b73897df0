import GRDB
import JSON
import Jobs

/// Reading jobs from their tables.
enum JobRows {
    /// One job with its transitions and summary; `nil` when there is none.
    static func job(_ db: Database, _ id: JobID) throws -> Job? {
        let row = try Row.fetchOne(
            db.cachedStatement(sql: "SELECT * FROM job WHERE id = ?"), arguments: [id.rawValue])
        return try row.map { try complete(db, [$0]) }?.first
    }

    /// The same, for a job that must exist.
    static func required(_ db: Database, _ id: JobID) throws -> Job {
        guard let job = try job(db, id) else { throw JobError.jobNotFound(id) }
        return job
    }

    /// The jobs of `rows` with what lies in other tables, in three further queries for all of them.
    static func complete(_ db: Database, _ rows: [Row]) throws -> [Job] {
        let ids = rows.map { $0["id"] as String }
        var dependencies: [String: [JobID]] = [:]
        for row in try self.rows(db, "job_dependency", of: ids) {
            dependencies[row["job_id"], default: []].append(try id(row["dependency_id"]))
        }
        var transitions: [String: [JobTransition]] = [:]
        for row in try self.rows(db, "job_transition", of: ids, orderedBy: "position") {
            transitions[row["job_id"], default: []].append(try transition(row))
        }
        var summaries: [String: [SeriesSummary]] = [:]
        for row in try self.rows(db, "series", of: ids, orderedBy: "id") {
            summaries[row["job_id"], default: []].append(summary(row))
        }
        return try rows.map { row in
            let id: String = row["id"]
            var job = try Self.job(row, dependencies: dependencies[id] ?? [])
            job.transitions = transitions[id] ?? []
            job.summary = summaries[id] ?? []
            return job
        }
    }

    /// The rows of `table` that hang on one of the jobs.
    private static func rows(
        _ db: Database, _ table: StaticString, of ids: [String], orderedBy column: StaticString? = nil
    ) throws -> [Row] {
        let order = column.map { " ORDER BY job_id, \($0)" } ?? ""
        let sql =
            "SELECT * FROM \(table) WHERE job_id IN (\(databaseQuestionMarks(count: ids.count)))\(order)"
        // Clients poll single jobs all the time; the lengths of lists vary too much to keep their statements.
        guard ids.count == 1 else {
            return try Row.fetchAll(db, sql: sql, arguments: StatementArguments(ids))
        }
        return try Row.fetchAll(db.cachedStatement(sql: sql), arguments: StatementArguments(ids))
    }

    /// The checkpoints of a job, newest first.
    static func checkpoints(_ db: Database, _ id: JobID) throws -> [CheckpointRecord] {
        try Row.fetchAll(
            db, sql: "SELECT * FROM checkpoint WHERE job_id = ? ORDER BY step DESC, kind DESC",
            arguments: [id.rawValue]
        ).map { row in
            CheckpointRecord(
                step: row["step"], kind: CheckpointRecord.Kind(rawValue: row["kind"]) ?? .last,
                path: row["path"],
                sha256: row["sha256"], byteCount: row["byte_count"], at: time(row["at"]))
        }
    }

    static func time(_ milliseconds: Int64) -> Timestamp { Timestamp(milliseconds: milliseconds) }

    static func state(_ text: String) throws -> JobState {
        guard let state = JobState(rawValue: text) else {
            throw JobError.storeBroken(cause: "a job has the unknown state \(text)")
        }
        return state
    }

    /// Parses an identifier that we stored ourselves.
    static func id<Subject>(_ text: String) throws -> Identifier<Subject> {
        guard let id = Identifier<Subject>(text) else {
            throw JobError.storeBroken(cause: "a stored identifier is malformed: \(text)")
        }
        return id
    }

    private static func job(_ row: Row, dependencies: [JobID]) throws -> Job {
        let times = JobTimes(
            createdAt: time(row["created_at"]), queuedAt: time(row["queued_at"]), runAt: time(row["run_at"]),
            startedAt: (row["started_at"] as Int64?).map(time),
            finishedAt: (row["finished_at"] as Int64?).map(time))
        let counts = JobCounts(
            attempt: row["attempt"], maxAttempts: row["max_attempts"], failures: row["failures"],
            crashes: row["crashes"], unfinishedDependencies: row["unfinished_dependencies"],
            fence: row["fence"],
            version: row["version"])
        let report = try (row["report"] as String?).map { try JSONText.value($0) }
        let model: ModelID? = try (row["model_id"] as String?).map { try id($0) }
        return Job(
            id: try id(row["id"]), type: JobType(rawValue: row["type"]), name: row["name"],
            labels: try JSONText.labels(row["labels"]), priority: row["priority"],
            state: try state(row["state"]),
            reason: reason(row), times: times, counts: counts, isSuspect: row["is_suspect"],
            threads: row["threads"], memoryBytes: row["memory_bytes"],
            progress: try JSONText.progress(row["progress"]),
            resources: try JSONText.resources(row["resources"]),
            spec: try JSONText.value(row["spec"]), estimate: try JSONText.value(row["estimate"]),
            result: report.map { StoredResult(modelID: model, report: $0) },
            error: try (row["error"] as String?).map { try JSONText.failure($0) }, dependencies: dependencies)
    }

    private static func transition(_ row: Row) throws -> JobTransition {
        JobTransition(state: try state(row["state"]), at: time(row["at"]), reason: reason(row))
    }

    private static func reason(_ row: Row) -> JobReason? {
        guard let code = row["reason_code"] as String?, let message = row["reason_message"] as String? else {
            return nil
        }
        return JobReason(code: code, message: message)
    }

    private static func summary(_ row: Row) -> SeriesSummary {
        let name: String = row["name"]
        return SeriesSummary(
            name: name, last: row["last"] ?? .nan, min: row["min"] ?? .nan, max: row["max"] ?? .nan,
            bestStep: SeriesSummary.greaterIsBetter(name) ? row["max_step"] : row["min_step"],
            count: row["count"])
    }
}
