import FailPoints
import Files
import GRDB
public import JSON
public import Jobs
import Synchronization

/// The jobs, kept in the `job` table and those that hang on it.
public struct SQLiteJobRepository: JobRepository {
    /// A client may repeat a request for this long; after that its key is forgotten.
    static let keyLifeMilliseconds: Int64 = 24 * 3_600_000
    /// The longest spec, in bytes of JSON.
    static let specByteCountMax = 262_144

    let database: SQLiteDatabase
    /// From -1 to 1; spreads the back-offs of jobs that failed together.
    let jitter: @Sendable () -> Double

    /// Reads and writes jobs in `database`.
    public init(
        _ database: SQLiteDatabase, jitter: @escaping @Sendable () -> Double = { Double.random(in: -1...1) }
    ) {
        (self.database, self.jitter) = (database, jitter)
    }

    /// One transaction: the key and the job live or die together.
    public func submit(_ submission: JobSubmission, at now: Timestamp) throws(JobError) -> SubmissionReceipt {
        let digest = submission.idempotency.map { _ in Self.digest(of: submission.body) }
        let spec = submission.resolved.spec.encoded()
        guard spec.utf8.count <= Self.specByteCountMax else {
            throw .invalid([
                Violation(
                    pointer: "", code: "spec_too_large",
                    detail:
                        "the resolved spec has \(spec.utf8.count) bytes; at most \(Self.specByteCountMax) fit"
                )
            ])
        }
        return try database.submit { db in
            if let key = submission.idempotency, let digest, let id = try earlierJob(db, key, digest, now) {
                return SubmissionReceipt(job: try JobRows.required(db, id), isReplay: true)
            }
            try requireRoom(db, for: submission.submitter, submission.limits)
            let id: JobID = database.identifiers.next(at: now)
            let unfinished = try unfinishedDependencies(db, submission.resolved.dependencies)
            try requireSources(db, of: submission)
            try insert(db, id, submission, spec: spec, unfinished: unfinished, now)
            if let key = submission.idempotency, let digest {
                try db.execute(
                    sql: "DELETE FROM idempotency WHERE created_at < ?",
                    arguments: [now.milliseconds - Self.keyLifeMilliseconds])
                try db.execute(
                    sql:
                        """
                        INSERT INTO idempotency(principal, key, body_sha256, job_id, created_at)
                        VALUES (?, ?, ?, ?, ?)
                        """,
                    arguments: [key.principal, key.key, digest, id.rawValue, now.milliseconds])
            }
            try StateChange.append(db, database, id, .queued, nil, now)
            let job = Self.queued(id, submission.resolved, unfinished: unfinished, now)
            let place = try unfinished == 0 ? placeOfNew(db, job) : nil
            FailPoint.beforeSubmitCommit.pass()
            return SubmissionReceipt(job: job, isReplay: false, queuePosition: place)
        }
    }

    /// The job that an earlier request with the same key and body made, if its key is not too old.
    public func replay(
        _ key: IdempotencyKey, body: JSONValue, at now: Timestamp
    ) throws(JobError) -> Job? {
        let digest = Self.digest(of: body)
        return try database.read { db in
            try earlierJob(db, key, digest, now).map { try JobRows.required(db, $0) }
        }
    }

    /// Grows with each transaction of the database.
    public var generation: UInt64 { database.generation }

    /// One job with its transitions and summary.
    public func job(_ id: JobID) throws(JobError) -> Job {
        try database.read { try JobRows.required($0, id) }
    }

    /// One page of jobs; no points are touched.
    public func list(_ query: JobQuery) throws(JobError) -> Page<Job> {
        let filter = try JobFilter(query)
        let jobs = try database.read { db in
            try JobRows.complete(db, try Row.fetchAll(db, sql: filter.sql, arguments: filter.arguments))
        }
        let items = Array(jobs.prefix(query.page.limit))
        let next = jobs.count > items.count ? items.last.map(JobCursor.init(behind:)) : nil
        return Page(items: items, nextCursor: next?.text(for: query.order))
    }

    /// How many jobs are in each state.
    public func counts() throws(JobError) -> [JobState: Int] {
        try database.read { db in
            var counts: [JobState: Int] = [:]
            for row in try Row.fetchAll(db, sql: "SELECT state, count(*) AS count FROM job GROUP BY state") {
                counts[try JobRows.state(row["state"])] = row["count"]
            }
            return counts
        }
    }

    /// The checkpoints of a job, newest first.
    public func checkpoints(of id: JobID) throws(JobError) -> [CheckpointRecord] {
        try database.read { db in
            let exists = try Bool.fetchOne(
                db, sql: "SELECT 1 FROM job WHERE id = ?", arguments: [id.rawValue])
            guard exists != nil else { throw JobError.jobNotFound(id) }
            return try JobRows.checkpoints(db, id)
        }
    }

    /// The profile of a job's newest attempt that had one.
    public func profile(of id: JobID) throws(JobError) -> JSONValue? {
        let text = try database.read { db in
            let exists = try Bool.fetchOne(
                db, sql: "SELECT 1 FROM job WHERE id = ?", arguments: [id.rawValue])
            guard exists != nil else { throw JobError.jobNotFound(id) }
            return try String.fetchOne(
                db, sql: "SELECT document FROM profile WHERE job_id = ?", arguments: [id.rawValue])
        }
        guard let text else { return nil }
        return try JSONText.value(text)
    }

    /// The jobs that have a checkpoint and did not succeed.
    public func resumableJobs() throws(JobError) -> Set<JobID> {
        try database.read { db in
            let ids = try String.fetchAll(
                db,
                sql: """
                    SELECT DISTINCT job_id FROM checkpoint JOIN job ON job.id = job_id
                    WHERE state <> 'succeeded'
                    """)
            return Set(try ids.map { try JobRows.id($0) })
        }
    }

    /// The files of checkpoints, models and datasets.
    public func namedPaths() throws(JobError) -> Set<String> {
        try database.read { db in
            try String.fetchSet(
                db,
                sql: "SELECT path FROM checkpoint UNION SELECT path FROM model UNION SELECT path FROM dataset"
            )
        }
    }

    // MARK: Submitting

    private static func digest(of body: JSONValue) -> String { SHA256.digest(of: body.encodedBytes()).hex }

    private func earlierJob(
        _ db: Database, _ key: IdempotencyKey, _ digest: String, _ now: Timestamp
    ) throws -> JobID? {
        let row = try Row.fetchOne(
            db,
            sql: """
                SELECT body_sha256, job_id, is_job_deleted FROM idempotency
                WHERE principal = ? AND key = ? AND created_at >= ?
                """,
            arguments: [key.principal, key.key, now.milliseconds - Self.keyLifeMilliseconds])
        guard let row else { return nil }
        guard row["body_sha256"] == digest else { throw JobError.idempotencyConflict(key: key.key) }
        let id: JobID = try JobRows.id(row["job_id"])
        guard row["is_job_deleted"] == false else { throw JobError.jobDeleted(id, key: key.key) }
        return id
    }

    /// Counts the dependencies that have not succeeded; they exist already, so there are no cycles.
    private func unfinishedDependencies(_ db: Database, _ dependencies: [JobID]) throws -> Int {
        var (unfinished, violations) = (0, [Violation]())
        for (index, id) in dependencies.enumerated() where dependencies.firstIndex(of: id) == index {
            let state = try String.fetchOne(
                db, sql: "SELECT state FROM job WHERE id = ?", arguments: [id.rawValue]
            ).map(JobRows.state)
            if let fault = Violation(dependency: id, state, at: index) {
                violations.append(fault)
            } else if state != .succeeded {
                unfinished += 1
            }
        }
        guard violations.isEmpty else { throw JobError.invalid(violations) }
        return unfinished
    }

    /// Refuses a job whose dataset or models were deleted since it was checked.
    private func requireSources(_ db: Database, of submission: JobSubmission) throws {
        var violations: [Violation] = []
        if let dataset = submission.resolved.dataset, !submission.hasDataset() {
            violations.append(
                Violation(
                    pointer: "/dataset", code: "unknown_dataset",
                    detail: "the dataset \(dataset) was deleted a moment ago"))
        }
        for model in submission.resolved.models where try isGone(db, model) {
            let name = model.id.map { "\($0)" } ?? "the model of \(model.job.map { "\($0)" } ?? "a job")"
            violations.append(
                Violation(
                    pointer: model.pointer, code: model.job == nil ? "unknown_model" : "no_model",
                    detail: "\(name) was deleted a moment ago"))
        }
        guard violations.isEmpty else { throw JobError.invalid(violations) }
    }

    /// Whether a model that was there, or was still to be made, is there no more.
    private func isGone(_ db: Database, _ model: NeededModel) throws -> Bool {
        if let id = model.id {
            return try Bool.fetchOne(db, sql: "SELECT 1 FROM model WHERE id = ?", arguments: [id.rawValue])
                == nil
        }
        return try Bool.fetchOne(
            db, sql: "SELECT 1 FROM job WHERE id = ? AND state = 'succeeded' AND model_id IS NULL",
            arguments: [model.job?.rawValue]) != nil
    }

    /// The job as the rows just written say.
    private static func queued(
        _ id: JobID, _ job: ResolvedJob, unfinished: Int, _ now: Timestamp
    ) -> Job {
        var queued = Job(
            id: id, type: job.type, name: job.name, labels: job.labels, priority: job.priority,
            state: .queued, reason: nil,
            times: JobTimes(createdAt: now, queuedAt: now, runAt: now, startedAt: nil, finishedAt: nil),
            counts: JobCounts(
                attempt: 0, maxAttempts: job.maxAttempts, failures: 0, crashes: 0,
                unfinishedDependencies: unfinished, fence: 0, version: 1),
            isSuspect: false, threads: job.threads, memoryBytes: job.memoryBytes, progress: JobProgress(),
            resources: JobResources(), spec: job.spec, estimate: job.estimate, result: nil, error: nil,
            dependencies: Set(job.dependencies).sorted())
        queued.transitions = [JobTransition(state: .queued, at: now)]
        return queued
    }

    private func insert(
        _ db: Database, _ id: JobID, _ submission: JobSubmission, spec: String, unfinished: Int,
        _ now: Timestamp
    ) throws {
        let job = submission.resolved
        try db.cachedStatement(
            sql: """
                INSERT INTO job(id, type, name, labels, spec, estimate, priority, created_at, queued_at,
                    run_at, max_attempts, threads, memory_bytes, unfinished_dependencies, progress, resources,
                    submitter)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """
        ).execute(arguments: [
            id.rawValue, job.type.rawValue, job.name, JSONText.text(job.labels), spec, job.estimate.encoded(),
            job.priority, now.milliseconds, now.milliseconds, now.milliseconds, job.maxAttempts, job.threads,
            job.memoryBytes, unfinished, JSONText.text(JobProgress()), JSONText.text(JobResources()),
            submission.submitter,
        ])
        for dependency in Set(job.dependencies) {
            try db.execute(
                sql: "INSERT INTO job_dependency(job_id, dependency_id) VALUES (?, ?)",
                arguments: [id.rawValue, dependency.rawValue])
        }
    }
}
