import GRDB
import JSON
public import Jobs

/// What a repair changes: rows that name what is no longer there, and counts that are wrong.
extension SQLiteJobRepository {
    /// Forgets a checkpoint that cannot be used; the job goes on from another one, or from its start.
    public func forgetCheckpoint(
        of id: JobID, kind: CheckpointRecord.Kind, step: Int, at now: Timestamp
    ) throws(JobError) {
        try database.write { db in
            try db.execute(
                sql: "DELETE FROM checkpoint WHERE job_id = ? AND kind = ? AND step = ?",
                arguments: [id.rawValue, kind.rawValue, step])
            guard db.changesCount > 0 else { return }
            let event = EventDraft(
                at: now, level: .warning, type: "checkpoint_lost",
                message: "The \(kind.rawValue) checkpoint of step \(step) is lost: its file is not there or "
                    + "is not what it was.",
                data: ["step": .integer(Int64(step)), "kind": .string(kind.rawValue)])
            try EventRows.append(db, database.identifiers, id, event)
        }
    }

    /// Forgets a model whose file cannot be used; the job that made it keeps its report.
    public func forgetModel(_ id: ModelID, at now: Timestamp) throws(JobError) {
        try database.write { db in
            _ = try ModelRows.loosen(db, id)
            let row = try Row.fetchOne(
                db, sql: "DELETE FROM model WHERE id = ? RETURNING job_id", arguments: [id.rawValue])
            guard let row, let job = row["job_id"] as String? else { return }
            let event = EventDraft(
                at: now, level: .warning, type: "model_lost",
                message: "The model \(id) is lost: its file is not there or is not what it was.",
                data: ["model": .string(id.rawValue)])
            try EventRows.append(db, database.identifiers, try JobRows.id(job), event)
        }
    }

    /// Counts anew what waiting jobs wait for, and cancels those that would wait for ever.
    public func settleDependencies(at now: Timestamp) throws(JobError) {
        try database.write { db in
            try db.execute(
                sql: """
                    UPDATE job SET version = version + 1, unfinished_dependencies = (
                        SELECT count(*) FROM job_dependency JOIN job AS needed ON needed.id = dependency_id
                        WHERE job_id = job.id AND needed.state <> 'succeeded')
                    WHERE state IN ('queued', 'paused') AND unfinished_dependencies <> (
                        SELECT count(*) FROM job_dependency JOIN job AS needed ON needed.id = dependency_id
                        WHERE job_id = job.id AND needed.state <> 'succeeded')
                    """)
            let ended = try Row.fetchAll(
                db,
                sql: """
                    SELECT DISTINCT needed.id, needed.state FROM job_dependency
                    JOIN job AS needed ON needed.id = dependency_id JOIN job ON job.id = job_id
                    WHERE needed.state IN ('failed', 'cancelled') AND job.state IN ('queued', 'paused')
                    """)
            for row in ended {
                _ = try settleDependants(
                    db, of: try JobRows.id(row["id"]), try JobRows.state(row["state"]), now)
            }
        }
    }

    /// Puts back every job that is held, and charges none: for a copy, whose jobs run elsewhere.
    ///
    /// - Returns: The jobs that were held.
    public func release(at now: Timestamp) throws(JobError) -> [JobID] {
        try database.write { db in
            let rows = try Row.fetchAll(
                db, sql: "SELECT * FROM job WHERE lease_until IS NOT NULL ORDER BY id")
            return try JobRows.complete(db, rows).map { job in
                let state: JobState =
                    switch job.state {
                    case .cancelling: .cancelled
                    case .pausing: .paused
                    default: .queued
                    }
                let reason = JobReason(
                    code: "restored",
                    message: "The job ran when this copy was made; it goes on from its last checkpoint.")
                var change = StateChange(
                    id: job.id, from: job.state, to: state,
                    reason: state == .cancelled ? job.reason ?? reason : reason, at: now)
                change.columns = [("attempt", max(0, job.attempt - 1))]
                try change.apply(db, database)
                _ = try settleDependants(db, of: job.id, state, now)
                return job.id
            }
        }
    }
}
