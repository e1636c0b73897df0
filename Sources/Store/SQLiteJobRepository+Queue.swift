import GRDB
public import Jobs

extension SQLiteJobRepository {
    /// The queued jobs in the order in which they would be claimed, those that wait for others last.
    public func queueOrder(at now: Timestamp, limit: Int) throws(JobError) -> [JobID] {
        try database.read { db in
            try String.fetchAll(
                db,
                sql: """
                    SELECT id FROM job WHERE state = 'queued'
                    ORDER BY unfinished_dependencies > 0, run_at > ?, urgency DESC, id LIMIT ?
                    """, arguments: [now.milliseconds, limit]
            ).map { try JobRows.id($0) }
        }
    }

    /// How many queued jobs would be claimed before this one.
    ///
    /// Counted in an index: a millisecond behind ten thousand jobs.
    public func queuePosition(of job: Job, at now: Timestamp) throws(JobError) -> Int {
        let isReady = job.unfinishedDependencies == 0 && job.runAt <= now
        let urgency = Int64(job.priority) * 600_000 - job.queuedAt.milliseconds
        // For a job that is not ready every ready one comes first, and of the others those of lower class.
        let condition =
            isReady
            ? """
                (urgency > :urgency OR (urgency = :urgency AND id < :id))
                AND unfinished_dependencies = 0 AND run_at <= :now
            """
            : """
                (unfinished_dependencies > 0, run_at > :now, -urgency, id)
                < (:isBlocked, :isLater, -:urgency, :id)
            """
        return try database.read { db in
            try Int.fetchOne(
                db.cachedStatement(
                    sql: """
                        SELECT count(*) FROM job INDEXED BY job_urgency
                        WHERE state = 'queued' AND \(condition)
                        """),
                arguments: isReady
                    ? ["urgency": urgency, "id": job.id.rawValue, "now": now.milliseconds]
                    : [
                        "urgency": urgency, "id": job.id.rawValue, "now": now.milliseconds,
                        "isBlocked": job.unfinishedDependencies > 0, "isLater": job.runAt > now,
                    ]) ?? 0
        }
    }
}
