import GRDB
public import Jobs
import Synchronization

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
        try database.read { db in try Self.place(db, of: job, at: now.milliseconds) }
    }

    /// The same of a job that was stored in this transaction and may start at once.
    ///
    /// Nearly all jobs come last: while the number of all is known, those behind are counted.
    func placeOfNew(_ db: Database, _ job: Job) throws -> Int {
        let known = database.tally.withLock { $0.ready }
        let now = max(job.runAt.milliseconds, known?.at ?? .min)
        if var ready = known, now < ready.until {
            (ready.count, ready.at) = (ready.count + 1, now)
            database.tally.withLock { $0.ready = ready }
            let behind = try Self.countBehind(db, job, at: now, limit: Self.behindMax)
            return try behind < Self.behindMax
                ? ready.count - 1 - behind : Self.place(db, of: job, at: now)
        }
        let place = try Self.place(db, of: job, at: now)
        let behind = try Self.countBehind(db, job, at: now, limit: .max)
        let until = try Int64.fetchOne(
            db.cachedStatement(
                sql: "SELECT min(run_at) FROM job INDEXED BY job_due WHERE state = 'queued' AND run_at > ?"),
            arguments: [now])
        let ready = QueueTally.Ready(count: place + 1 + behind, at: now, until: until ?? .max)
        database.tally.withLock { $0.ready = ready }
        return place
    }

    /// More are not counted to spare the counting of those in front.
    private static let behindMax = 200

    private static func urgency(of job: Job) -> Int64 {
        Int64(job.priority) * 600_000 - job.queuedAt.milliseconds
    }

    /// How many jobs that may start come behind one of them, at most `limit`.
    private static func countBehind(_ db: Database, _ job: Job, at now: Int64, limit: Int) throws -> Int {
        try Int.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY job_urgency
                        WHERE state = 'queued' AND urgency <= :urgency
                            AND (urgency < :urgency OR id > :id)
                            AND unfinished_dependencies = 0 AND run_at <= :now LIMIT :limit)
                    """),
            arguments: [
                "urgency": urgency(of: job), "id": job.id.rawValue, "now": now, "limit": Int64(limit),
            ]) ?? 0
    }

    private static func place(_ db: Database, of job: Job, at now: Int64) throws -> Int {
        let isReady = job.unfinishedDependencies == 0 && job.runAt.milliseconds <= now
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
        var arguments: StatementArguments = [
            "urgency": urgency(of: job), "id": job.id.rawValue, "now": now,
        ]
        if !isReady {
            arguments += [
                "isBlocked": job.unfinishedDependencies > 0, "isLater": job.runAt.milliseconds > now,
            ]
        }
        return try Int.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT count(*) FROM job INDEXED BY job_urgency
                    WHERE state = 'queued' AND \(condition)
                    """), arguments: arguments) ?? 0
    }
}
