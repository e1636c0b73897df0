import FailPoints
import GRDB
import JSON
public import Jobs

extension SQLiteJobRepository {
    /// Hands the most urgent job that fits to a worker.
    ///
    /// One statement, and SQLite has one writer: two workers cannot claim the same job. A job that has
    /// been passed over for too long heads the queue even while it does not fit, and then nobody passes.
    public func claimNext(_ request: ClaimRequest) throws(JobError) -> ClaimedJob? {
        try database.write { db in
            let id = try String.fetchOne(
                db,
                sql: """
                    WITH head AS (
                        SELECT id, threads, memory_bytes, is_suspect FROM job INDEXED BY job_urgency
                        WHERE state = 'queued' AND unfinished_dependencies = 0 AND run_at <= :now
                            AND threads <= :threadsTotal AND memory_bytes <= :memoryTotal
                            AND (queued_at <= :now - :patience OR (threads <= :threads
                                AND memory_bytes <= :memory AND (is_suspect = 0 OR :isIdle)))
                        ORDER BY urgency DESC, id LIMIT 1)
                    UPDATE job SET state = 'running', attempt = attempt + 1, fence = fence + 1,
                        worker = :worker, boot_id = :boot, lease_until = :lease,
                        started_at = coalesce(started_at, max(:now, created_at)), version = version + 1,
                        reason_code = NULL, reason_message = NULL
                    WHERE id = (SELECT id FROM head WHERE threads <= :threads AND memory_bytes <= :memory
                        AND (is_suspect = 0 OR :isIdle))
                    RETURNING id
                    """,
                arguments: [
                    "now": request.now.milliseconds, "patience": ClaimRequest.patienceMilliseconds,
                    "threads": request.free.threads, "memory": request.free.memoryBytes,
                    "threadsTotal": request.total.threads, "memoryTotal": request.total.memoryBytes,
                    "isIdle": request.isIdle, "worker": request.worker, "boot": request.bootID,
                    "lease": Int64(clamping: request.leaseDeadline),
                ])
            guard let id: JobID = try id.map({ try JobRows.id($0) }) else { return nil }
            try StateChange.append(db, database, id, .running, nil, request.now)
            let job = try JobRows.required(db, id)
            return ClaimedJob(
                job: job, lease: Lease(jobID: id, fence: job.fence),
                checkpoints: try JobRows.checkpoints(db, id))
        }
    }

    /// When the next back-off ends, if one is running.
    public func nextDue(after now: Timestamp) throws(JobError) -> Timestamp? {
        try database.read { db in
            try Int64.fetchOne(
                db,
                sql: "SELECT min(run_at) FROM job INDEXED BY job_due WHERE state = 'queued' AND run_at > ?",
                arguments: [now.milliseconds]
            ).map(JobRows.time)
        }
    }

    /// Extends leases; a lease that was lost is missing in the answer.
    public func heartbeat(_ leases: [Lease], until deadline: UInt64) throws(JobError) -> [Lease: JobState] {
        try database.write { db in
            var states: [Lease: JobState] = [:]
            for lease in leases {
                states[lease] = try String.fetchOne(
                    db,
                    sql: """
                        UPDATE job SET lease_until = ? WHERE id = ? AND fence = ? AND lease_until IS NOT NULL
                        RETURNING state
                        """,
                    arguments: [Int64(clamping: deadline), lease.jobID.rawValue, lease.fence]
                ).map(JobRows.state)
            }
            return states
        }
    }

    /// Ends an attempt as `Settlement` says, and settles its dependants with it.
    public func finish(_ lease: Lease, _ outcome: JobOutcome, at now: Timestamp) throws(JobError)
        -> JobChange?
    {
        try database.write { db in
            guard let job = try Self.held(db, lease) else { return nil }
            let settlement = Settlement(
                of: outcome, in: job.state, failures: job.failures, maxAttempts: job.maxAttempts,
                jitter: jitter())
            var change = StateChange(
                id: lease.jobID, from: job.state, to: settlement.state,
                // A cancellation keeps the reason it was asked for with.
                reason: settlement.reason ?? (settlement.state == .cancelled ? job.reason : nil), at: now)
            change.columns = Self.columns(of: settlement, for: job, now)
            if case .succeeded(let result) = outcome, settlement.state == .succeeded {
                for model in result.models { try ModelRows.insert(db, model) }
                change.columns.append(("model_id", result.models.first?.id.rawValue))
                change.columns.append(("report", result.report.encoded()))
            }
            if case .succeeded(let result) = outcome, let resources = result.resources {
                change.columns.append(("resources", JSONText.text(resources)))
            }
            try change.apply(db, database)
            let dependants = try settleDependants(db, of: lease.jobID, settlement.state, now)
            let ended = try JobRows.required(db, lease.jobID)
            FailPoint.beforeFinishCommit.pass()
            return JobChange(job: ended, dependants: dependants)
        }
    }

    /// The job of a lease that is still valid.
    static func held(_ db: Database, _ lease: Lease) throws -> Job? {
        guard let job = try JobRows.job(db, lease.jobID), job.fence == lease.fence, job.state.isHeld else {
            return nil
        }
        return job
    }

    private static func columns(
        of settlement: Settlement, for job: Job, _ now: Timestamp
    ) -> [(name: StaticString, value: (any DatabaseValueConvertible)?)] {
        var columns: [(name: StaticString, value: (any DatabaseValueConvertible)?)] = []
        if settlement.refundsAttempt { columns.append(("attempt", job.attempt - 1)) }
        if settlement.chargesFailure {
            columns.append(("failures", job.failures + 1))
            // It waits anew; a drained job keeps its place instead.
            columns.append(("queued_at", now.milliseconds))
        }
        if settlement.delayMilliseconds > 0 {
            columns.append(("run_at", now.adding(milliseconds: settlement.delayMilliseconds).milliseconds))
        }
        if let error = settlement.error { columns.append(("error", JSONText.text(error))) }
        return columns
    }

    /// Releases the dependants of a job that succeeded; cancels those of one that did not.
    func settleDependants(
        _ db: Database, of id: JobID, _ state: JobState, _ now: Timestamp
    ) throws -> [JobID] {
        switch state {
        case .succeeded: return try release(db, dependantsOf: id, now)
        case .failed, .cancelled: return try cancel(db, dependantsOf: id, now)
        case .queued, .running, .pausing, .paused, .cancelling: return []
        }
    }

    private func release(_ db: Database, dependantsOf id: JobID, _ now: Timestamp) throws -> [JobID] {
        try String.fetchAll(
            db,
            sql: """
                UPDATE job SET unfinished_dependencies = unfinished_dependencies - 1, queued_at = :now,
                    version = version + 1
                WHERE id IN (SELECT job_id FROM job_dependency WHERE dependency_id = :id)
                    AND unfinished_dependencies > 0
                RETURNING id
                """, arguments: ["now": now.milliseconds, "id": id.rawValue]
        ).map { try JobRows.id($0) }
    }

    private func cancel(_ db: Database, dependantsOf id: JobID, _ now: Timestamp) throws -> [JobID] {
        let rows = try Row.fetchAll(
            db,
            sql: """
                WITH RECURSIVE dependant(id) AS (
                    SELECT job_id FROM job_dependency WHERE dependency_id = ?
                    UNION SELECT d.job_id FROM job_dependency AS d
                    JOIN dependant ON d.dependency_id = dependant.id)
                SELECT id, state FROM job WHERE id IN dependant AND state IN ('queued', 'paused')
                """, arguments: [id.rawValue])
        let reason = JobReason(code: "dependency_failed", message: "\(id), which it needs, did not succeed.")
        return try rows.map { row in
            let dependant: JobID = try JobRows.id(row["id"])
            try StateChange(
                id: dependant, from: try JobRows.state(row["state"]), to: .cancelled, reason: reason, at: now
            ).apply(db, database)
            return dependant
        }
    }
}
