import GRDB
public import Jobs

extension SQLiteJobRepository {
    /// Cancels a job that waits, or asks one that runs to stop.
    public func cancel(_ id: JobID, reason: JobReason, at now: Timestamp) throws(JobError) -> JobChange {
        try database.write { db in
            let job = try JobRows.required(db, id)
            switch job.state {
            case .queued, .paused:
                try change(db, job, to: .cancelled, reason, now)
                let dependants = try settleDependants(db, of: id, .cancelled, now)
                return JobChange(job: try JobRows.required(db, id), dependants: dependants)
            case .running, .pausing:
                try change(db, job, to: .cancelling, reason, now)
                return JobChange(job: try JobRows.required(db, id))
            case .cancelling, .cancelled:
                return JobChange(job: job)
            case .succeeded, .failed:
                throw JobError.stateConflict(id, state: job.state, action: "be cancelled")
            }
        }
    }

    /// Pauses a job that waits, or asks one that runs to pause.
    public func pause(_ id: JobID, at now: Timestamp) throws(JobError) -> Job {
        try database.write { db in
            let job = try JobRows.required(db, id)
            let reason = JobReason(code: "paused_by_client", message: "A client paused the job.")
            if job.transitions.count >= Self.transitionsMax, job.state == .queued || job.state == .running {
                throw JobError.stateConflict(
                    id, state: job.state,
                    action: "be paused: it has changed its state \(Self.transitionsMax) times")
            }
            switch job.state {
            case .queued: try change(db, job, to: .paused, reason, now)
            case .running: try change(db, job, to: .pausing, reason, now)
            case .pausing, .paused: break
            case .cancelling, .cancelled, .succeeded, .failed:
                throw JobError.stateConflict(id, state: job.state, action: "be paused")
            }
            return try JobRows.required(db, id)
        }
    }

    /// Puts a paused job back into the queue, if that has room for it.
    public func resume(_ id: JobID, limits: QueueLimits, at now: Timestamp) throws(JobError) -> Job {
        try database.write { db in
            let job = try JobRows.required(db, id)
            guard job.state == .paused else {
                throw JobError.stateConflict(id, state: job.state, action: "be resumed")
            }
            try requireQueueRoom(db, for: try submitter(db, of: id), limits)
            let columns: [(name: StaticString, value: (any DatabaseValueConvertible)?)] = [
                ("queued_at", now.milliseconds), ("run_at", now.milliseconds),
            ]
            let reason = JobReason(code: "resumed_by_client", message: "A client resumed the job.")
            try change(db, job, to: .queued, reason, now, columns)
            return try JobRows.required(db, id)
        }
    }

    /// Gives a failed or cancelled job another attempt, if another job may wait.
    ///
    /// - Returns: The job, and the paths of checkpoints that it does not need any more.
    public func retry(
        _ id: JobID, fromScratch: Bool, limits: QueueLimits, at now: Timestamp
    ) throws(JobError) -> (job: Job, obsolete: [String]) {
        try database.write { db in
            let job = try JobRows.required(db, id)
            guard job.state == .failed || job.state == .cancelled else {
                throw JobError.stateConflict(id, state: job.state, action: "be retried")
            }
            if let limit = job.error?.pointer, Self.limitsOfAllAttempts.contains(limit) {
                throw JobError.stateConflict(
                    id, state: job.state,
                    action:
                        "be retried: all of its attempts together may take no more than \(limit), which is "
                        + "used up; submit it anew with another limit")
            }
            let unfinished = try unfinishedDependencies(db, of: job)
            try requireRoom(db, for: try submitter(db, of: id), limits)
            let obsolete = fromScratch ? try forgetProgress(db, id, now) : []
            let columns: [(name: StaticString, value: (any DatabaseValueConvertible)?)] = [
                ("queued_at", now.milliseconds), ("run_at", now.milliseconds), ("failures", 0),
                ("crashes", 0), ("crash_step", -1),
                ("unfinished_dependencies", unfinished), ("is_thinned", false),
            ]
            let reason = JobReason(code: "retried_by_client", message: "A client asked for another attempt.")
            try change(db, job, to: .queued, reason, now, columns)
            return (try JobRows.required(db, id), obsolete)
        }
    }

    /// Changes what a client may change.
    public func update(_ id: JobID, _ changes: JobChanges, at now: Timestamp) throws(JobError) -> Job {
        try database.write { db in
            let job = try JobRows.required(db, id)
            if let version = changes.version, version != job.version {
                throw JobError.versionConflict(id, version: job.version)
            }
            guard !changes.isEmpty else { return job }
            try db.execute(
                sql: "UPDATE job SET name = ?, labels = ?, priority = ?, version = version + 1 WHERE id = ?",
                arguments: [
                    changes.name ?? job.name, JSONText.text(changes.labels ?? job.labels),
                    changes.priority ?? job.priority, id.rawValue,
                ])
            return try JobRows.required(db, id)
        }
    }

    /// Deletes a terminal job; what hangs on it is gone for whoever looks, and from the disk by and by.
    public func delete(_ id: JobID, includingModels: Bool) throws(JobError) -> [String] {
        try database.write { db in
            let job = try JobRows.required(db, id)
            guard job.state.isTerminal else {
                throw JobError.stateConflict(id, state: job.state, action: "be deleted before it ends")
            }
            let dependant = try String.fetchOne(
                db,
                sql: """
                    SELECT job.id FROM job JOIN job_dependency ON job_dependency.job_id = job.id
                    WHERE dependency_id = ? AND state NOT IN ('succeeded', 'failed', 'cancelled') LIMIT 1
                    """, arguments: [id.rawValue])
            if let dependant { throw JobError.inUse("\(id): \(dependant) depends on it and") }
            var paths = try String.fetchAll(
                db, sql: "SELECT path FROM checkpoint WHERE job_id = ?", arguments: [id.rawValue])
            if includingModels {
                if let model = job.result?.modelID { try ModelRows.requireUnused(db, model) }
                paths += try String.fetchAll(
                    db, sql: "DELETE FROM model WHERE job_id = ? RETURNING path", arguments: [id.rawValue])
            }
            // What its dependants show of it goes with it; its key stays, and knows.
            try db.execute(
                sql: """
                    UPDATE job SET version = version + 1, lost_dependencies = lost_dependencies + ?
                    WHERE id IN (SELECT job_id FROM job_dependency WHERE dependency_id = ?)
                    """, arguments: [job.state == .succeeded ? 0 : 1, id.rawValue])
            try db.execute(
                sql: "UPDATE idempotency SET is_job_deleted = 1 WHERE job_id = ?", arguments: [id.rawValue])
            try db.execute(sql: "DELETE FROM job WHERE id = ?", arguments: [id.rawValue])
            try Discards.add(db, database, id.rawValue)
            return paths + [id.folder]
        }
    }

    private func change(
        _ db: Database, _ job: Job, to state: JobState, _ reason: JobReason, _ now: Timestamp,
        _ columns: [(name: StaticString, value: (any DatabaseValueConvertible)?)] = []
    ) throws {
        try StateChange(id: job.id, from: job.state, to: state, reason: reason, at: now, columns: columns)
            .apply(db, database)
    }

    /// How often a job may have changed its state for a client to have it paused once more.
    private static let transitionsMax = 500

    /// Limits that count over all attempts, by their places in a spec.
    private static let limitsOfAllAttempts: Set = ["/limits/max_seconds", "/limits/max_joules"]

    private func unfinishedDependencies(_ db: Database, of job: Job) throws -> Int {
        let lost = try Int.fetchOne(
            db, sql: "SELECT lost_dependencies FROM job WHERE id = ?", arguments: [job.id.rawValue])
        guard lost == 0 else {
            throw JobError.stateConflict(
                job.id, state: job.state,
                action: "be retried: what it depends on was deleted and had not succeeded")
        }
        let states = try job.dependencies.map { try JobRows.job(db, $0)?.state }
        guard !states.contains(where: { $0 == .failed || $0 == .cancelled }) else {
            throw JobError.stateConflict(
                job.id, state: job.state, action: "be retried before the jobs that it depends on are")
        }
        return states.count { $0 != nil && $0 != .succeeded }
    }

    /// Returns the paths of the checkpoints.
    private func forgetProgress(_ db: Database, _ id: JobID, _ now: Timestamp) throws -> [String] {
        let paths = try String.fetchAll(
            db, sql: "DELETE FROM checkpoint WHERE job_id = ? RETURNING path", arguments: [id.rawValue])
        try Discards.addCurves(of: id, db, database, at: now)
        try db.execute(
            sql: "UPDATE job SET progress = ? WHERE id = ?",
            arguments: [JSONText.text(JobProgress()), id.rawValue])
        return paths
    }
}
