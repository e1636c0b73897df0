import GRDB
import Jobs
import Synchronization

/// How many jobs wait, against how many may.
extension SQLiteJobRepository {
    /// Refuses one job more that waits: paused ones count, as any time may bring them back into the queue.
    func requireRoom(_ db: Database, for submitter: String, _ limits: QueueLimits) throws {
        guard try isBelow(limits.total, of: nil, db) else { throw JobError.queueFull(limit: limits.total) }
        guard let own = limits.limit(of: submitter) else { return }
        guard try isBelow(own, of: submitter, db) else { throw JobError.tokenQueueFull(limit: own) }
    }

    /// Refuses one job more in the queue itself: paused ones do not count, or none could leave them.
    func requireQueueRoom(_ db: Database, for submitter: String, _ limits: QueueLimits) throws {
        guard try count(db, of: nil, isQueued: true) < limits.total else {
            throw JobError.queueFull(limit: limits.total)
        }
        guard let own = limits.limit(of: submitter) else { return }
        guard try count(db, of: submitter, isQueued: true) < own else {
            throw JobError.tokenQueueFull(limit: own)
        }
    }

    /// Whose token submitted a job; empty where none did.
    func submitter(_ db: Database, of id: JobID) throws -> String {
        try String.fetchOne(db, sql: "SELECT submitter FROM job WHERE id = ?", arguments: [id.rawValue]) ?? ""
    }

    /// Whether fewer than `limit` jobs wait, of one submitter or (nil) in all.
    private func isBelow(_ limit: Int, of submitter: String?, _ db: Database) throws -> Bool {
        try database.tally.withLock { tally in
            try tally.isBelow(limit, of: submitter) {
                try count(db, of: submitter, isQueued: true) + count(db, of: submitter, isQueued: false)
            }
        }
    }

    /// Counts jobs that are queued, or paused ones, by indexes that hold no others.
    private func count(_ db: Database, of submitter: String?, isQueued: Bool) throws -> Int {
        let sql =
            switch (isQueued, submitter) {
            case (true, nil): "SELECT count(*) FROM job INDEXED BY job_urgency WHERE state = 'queued'"
            case (false, nil): "SELECT count(*) FROM job INDEXED BY job_paused WHERE state = 'paused'"
            case (true, _):
                """
                SELECT count(*) FROM job INDEXED BY job_submitter WHERE state = 'queued' AND submitter = ?
                """
            case (false, _):
                """
                SELECT count(*) FROM job INDEXED BY job_paused WHERE state = 'paused' AND submitter = ?
                """
            }
        let arguments = StatementArguments([submitter].compactMap(\.self))
        return try Int.fetchOne(db.cachedStatement(sql: sql), arguments: arguments) ?? 0
    }
}
