import GRDB
public import Jobs

extension SQLiteJobRepository: RetentionRepository {
    private static let over = "state IN ('succeeded', 'failed', 'cancelled')"

    /// Jobs that are over and to be deleted.
    public func expiredJobs(
        by policy: RetentionPolicy, at now: Timestamp, limit: Int
    ) throws(JobError) -> [JobID] {
        let before = policy.jobDays.map { now.milliseconds - Int64($0) * 86_400_000 }
        return try database.read { db in
            let last = try policy.jobCount.flatMap { count in
                try Row.fetchOne(
                    db,
                    sql: """
                        SELECT finished_at, id FROM job WHERE \(Self.over)
                        ORDER BY finished_at DESC, id DESC LIMIT 1 OFFSET ?
                        """, arguments: [count])
            }
            let arguments: StatementArguments = [
                before ?? .min, last.map { $0["finished_at"] as Int64 } ?? .min,
                last.map { $0["id"] as String } ?? "", limit,
            ]
            return try String.fetchAll(
                db,
                sql: """
                    SELECT id FROM job WHERE \(Self.over)
                        AND (finished_at < ? OR (finished_at, id) <= (?, ?))
                        AND NOT EXISTS (SELECT 1 FROM job_dependency JOIN job AS other
                            ON other.id = job_dependency.job_id
                            WHERE dependency_id = job.id AND NOT other.\(Self.over))
                    ORDER BY finished_at, id LIMIT ?
                    """, arguments: arguments
            ).map { try JobRows.id($0) }
        }
    }

    /// Jobs that ended before, whose curves were not thinned yet.
    public func unthinnedJobs(before: Timestamp, limit: Int) throws(JobError) -> [JobID] {
        try database.read { db in
            try String.fetchAll(
                db,
                sql: """
                    SELECT id FROM job WHERE \(Self.over) AND is_thinned = 0 AND finished_at < ?
                    ORDER BY id LIMIT ?
                    """, arguments: [before.milliseconds, limit]
            ).map { try JobRows.id($0) }
        }
    }

    /// Deletes points of a curve that lie between those to keep.
    public func thin(
        _ id: JobID, series: String, keeping steps: [Int], from start: Int
    ) throws(JobError) -> Int {
        try database.write { db in
            try Self.requireOver(db, id)
            let found = try Int64.fetchOne(
                db, sql: "SELECT id FROM series WHERE job_id = ? AND name = ?",
                arguments: [id.rawValue, series]
            )
            guard let found else { return steps.count }
            let statement = try db.cachedStatement(
                sql: "DELETE FROM point WHERE series_id = ? AND step > ? AND step < ?")
            return try Self.deleteGaps(db, steps, from: start) {
                try statement.execute(arguments: [found, $0, $1])
            }
        }
    }

    /// Deletes samples of what a job used that lie between those to keep.
    public func thinSamples(
        of id: JobID, keeping times: [Timestamp], from start: Int
    ) throws(JobError) -> Int {
        try database.write { db in
            try Self.requireOver(db, id)
            let statement = try db.cachedStatement(
                sql: "DELETE FROM resource_point WHERE job_id = ? AND at > ? AND at < ?")
            return try Self.deleteGaps(db, times, from: start) {
                try statement.execute(arguments: [id.rawValue, $0.milliseconds, $1.milliseconds])
            }
        }
    }

    private static func deleteGaps<Key>(
        _ db: Database, _ kept: [Key], from start: Int, _ delete: (Key, Key) throws -> Void
    ) throws -> Int {
        var (index, count) = (start, 0)
        while index + 1 < kept.count, count < Discards.rowsMax {
            try delete(kept[index], kept[index + 1])
            count += db.changesCount
            index += 1
        }
        return index + 1 < kept.count ? index : kept.count
    }

    /// Notes that the curves of a job are thinned.
    public func markThinned(_ id: JobID) throws(JobError) {
        try database.write { db in
            try db.execute(
                sql: "UPDATE job SET is_thinned = 1 WHERE id = ? AND \(Self.over)", arguments: [id.rawValue])
        }
    }

    /// A client may have asked for another attempt meanwhile.
    private static func requireOver(_ db: Database, _ id: JobID) throws {
        let state = try String.fetchOne(
            db, sql: "SELECT state FROM job WHERE id = ?", arguments: [id.rawValue]
        ).map(JobRows.state)
        guard let state else { throw JobError.jobNotFound(id) }
        guard state.isTerminal else {
            throw JobError.stateConflict(id, state: state, action: "be cleared away")
        }
    }
}
