import GRDB
public import Jobs

extension SQLiteJobRepository {
    /// Takes back every job that another run of the process held.
    ///
    /// The lock on the data folder proves that the other run is over: no lease is waited for and no
    /// clock is asked. A crash is charged only to a job that ran alone; jobs that shared one become
    /// suspects, which run alone until their next checkpoint.
    public func recover(bootID: String, crashLimit: Int, at now: Timestamp) throws(JobError)
        -> RecoverySummary
    {
        try database.write { db in
            let orphans = try orphans(db, "boot_id <> ?", [bootID])
            let isAlone = orphans.count == 1
            var summary = RecoverySummary()
            for job in orphans {
                let crashes = job.crashes + (isAlone ? 1 : 0)
                try takeBack(db, job, crashes: crashes, crashLimit: crashLimit, now, &summary)
            }
            return summary
        }
    }

    /// Takes back the jobs whose lease ended: their worker is stuck, and its writes are void from now on.
    public func reclaimExpired(before deadline: UInt64, at now: Timestamp) throws(JobError) -> [JobID] {
        try database.write { db in
            let orphans = try orphans(db, "lease_until < ?", [Int64(clamping: deadline)])
            var summary = RecoverySummary()
            for job in orphans {
                try takeBack(
                    db, job, crashes: job.crashes, crashLimit: .max, now, &summary,
                    cause: "Nobody runs the job any more")
            }
            return summary.requeued + summary.stopped
        }
    }

    /// Ends the waits that a wall clock which was set back made longer.
    public func shortenWaits(at now: Timestamp) throws(JobError) {
        try database.write { db in
            // A back-off lies behind the time at which the job queued; never tried, it has none.
            try db.execute(
                sql: """
                    UPDATE job SET run_at = :now WHERE state IN ('queued', 'paused') AND run_at > :now
                        AND (started_at IS NULL OR run_at <= queued_at)
                    """, arguments: ["now": now.milliseconds])
            try db.execute(
                sql: """
                    UPDATE job SET run_at = :limit WHERE state IN ('queued', 'paused') AND run_at > :limit
                    """,
                arguments: [
                    "limit": now.adding(milliseconds: Settlement.backOffMillisecondsMax).milliseconds
                ])
        }
    }

    private func orphans(_ db: Database, _ condition: String, _ arguments: StatementArguments) throws -> [Job]
    {
        try JobRows.complete(
            db,
            try Row.fetchAll(
                db, sql: "SELECT * FROM job WHERE lease_until IS NOT NULL AND \(condition) ORDER BY id",
                arguments: arguments))
    }

    private func takeBack(
        _ db: Database, _ job: Job, crashes: Int, crashLimit: Int, _ now: Timestamp,
        _ summary: inout RecoverySummary, cause: String = "The service stopped while the job ran"
    ) throws {
        var reason = JobReason(
            code: "worker_lost",
            message: "\(cause); it goes on from its last checkpoint.")
        var columns: [(name: StaticString, value: (any DatabaseValueConvertible)?)] = [
            ("crashes", crashes), ("is_suspect", true),
            (
                "crash_step",
                try Int.fetchOne(
                    db, sql: "SELECT max(step) FROM checkpoint WHERE job_id = ?", arguments: [job.id.rawValue]
                )
                    ?? -1
            ),
        ]
        let state: JobState
        if job.state == .cancelling {
            (state, reason) = (.cancelled, job.reason ?? reason)
        } else if crashes >= crashLimit {
            state = .failed
            let failure = JobFailure(
                code: "worker_crash",
                message:
                    "The job took the service down \(crashes) times without reaching another checkpoint.",
                step: job.progress.step)
            reason = JobReason(code: failure.code, message: failure.message)
            columns.append(("error", JSONText.text(failure)))
        } else {
            state = job.state == .pausing ? .paused : .queued
        }
        try StateChange(id: job.id, from: job.state, to: state, reason: reason, at: now, columns: columns)
            .apply(db, database)
        _ = try settleDependants(db, of: job.id, state, now)
        switch state {
        case .queued: summary.requeued.append(job.id)
        case .failed: summary.quarantined.append(job.id)
        default: summary.stopped.append(job.id)
        }
    }
}
