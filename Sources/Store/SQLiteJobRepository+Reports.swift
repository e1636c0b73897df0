import GRDB
import JSON
public import Jobs

extension SQLiteJobRepository {
    /// Stores what a running job reported, in one transaction.
    public func record(_ report: RunReport, for lease: Lease, at now: Timestamp) throws(JobError) -> Bool {
        try database.write { db in
            guard try Self.holds(db, lease) else { return false }
            var series = SeriesWriter(job: lease.jobID)
            for point in report.points { try series.add(db, point) }
            try series.finish(db)
            for sample in report.samples { try ResourceRows.insert(db, lease.jobID, sample) }
            for event in report.events { try EventRows.append(db, database.identifiers, lease.jobID, event) }
            if let profile = report.profile {
                try db.execute(
                    sql: "INSERT OR REPLACE INTO profile(job_id, at, document) VALUES (?, ?, ?)",
                    arguments: [lease.jobID.rawValue, now.milliseconds, profile.encoded()])
            }
            try db.execute(
                sql: """
                    UPDATE job SET progress = coalesce(?, progress), resources = coalesce(?, resources),
                        version = version + 1
                    WHERE id = ?
                    """,
                arguments: [
                    report.progress.map { JSONText.text($0) }, report.resources.map { JSONText.text($0) },
                    lease.jobID.rawValue,
                ])
            return true
        }
    }

    /// Makes a durable file a checkpoint; a job that gets beyond where it was taken back is no longer
    /// suspected of crashing.
    public func checkpoint(
        _ record: CheckpointRecord, for lease: Lease, at now: Timestamp
    ) throws(JobError) -> [String]? {
        try database.write { db in
            guard try Self.holds(db, lease) else { return nil }
            let id = lease.jobID.rawValue
            let kept =
                switch record.kind {
                case .last: 2
                case .best: 1
                case .kept: CheckpointRecord.keptMax
                }
            let before = try Set(paths(db, id) + [record.path])
            try db.execute(
                sql: """
                    INSERT OR REPLACE INTO checkpoint(job_id, kind, step, fence, path, sha256, byte_count, at)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    id, record.kind.rawValue, record.step, lease.fence, record.path, record.sha256,
                    record.byteCount, record.at.milliseconds,
                ])
            // Newest by attempt, then by step: after a resume the steps start over from the last checkpoint,
            // and within an attempt they rise. No clock is asked, which may be set back.
            try db.execute(
                sql: """
                    DELETE FROM checkpoint WHERE job_id = ?1 AND kind = ?2 AND step NOT IN (
                        SELECT step FROM checkpoint WHERE job_id = ?1 AND kind = ?2
                        ORDER BY fence DESC, step DESC LIMIT ?3)
                    """, arguments: [id, record.kind.rawValue, kept])
            // Attempts store the state again that they began with before their last phase: that is no step
            // beyond where the one before it crashed.
            try db.execute(
                sql: """
                    UPDATE job SET crashes = iif(?1 > crash_step, 0, crashes),
                        is_suspect = iif(?1 > crash_step, 0, is_suspect), version = version + 1
                    WHERE id = ?2
                    """, arguments: [record.step, id])
            try EventRows.append(
                db, database.identifiers, lease.jobID,
                EventDraft(
                    at: now, level: .info, type: "checkpoint",
                    message: "The \(record.kind.rawValue) checkpoint was taken at step \(record.step).",
                    data: [
                        "step": .integer(Int64(record.step)), "kind": .string(record.kind.rawValue),
                        "bytes": .integer(record.byteCount),
                    ]))
            return before.subtracting(try paths(db, id)).sorted()
        }
    }

    /// Forgets a training's points after `step`, because the attempt resumes there.
    public func rewind(
        toStep step: Int, of training: String, for lease: Lease
    ) throws(JobError) -> Bool {
        try database.write { db in
            guard try Self.holds(db, lease) else { return false }
            try SeriesWriter.rewind(db, lease.jobID, training, toStep: step)
            try db.execute(
                sql: "UPDATE job SET version = version + 1 WHERE id = ?", arguments: [lease.jobID.rawValue])
            return true
        }
    }

    private static func holds(_ db: Database, _ lease: Lease) throws -> Bool {
        try Bool.fetchOne(
            db, sql: "SELECT 1 FROM job WHERE id = ? AND fence = ? AND lease_until IS NOT NULL",
            arguments: [lease.jobID.rawValue, lease.fence]) != nil
    }

    private func paths(_ db: Database, _ id: String) throws -> [String] {
        try String.fetchAll(db, sql: "SELECT path FROM checkpoint WHERE job_id = ?", arguments: [id])
    }
}
