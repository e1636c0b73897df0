import FailPoints
public import JSON

/// Everything a client can ask about jobs; what the HTTP API and the commands call.
public struct JobService: Sendable {
    /// The stores behind the service.
    public struct Repositories: Sendable {
        /// One for each kind of record; they may be one and the same object.
        public let jobs: any JobRepository, metrics: any MetricRepository, events: any EventRepository
        /// One for each kind of record; they may be one and the same object.
        public let models: any ModelRepository, datasets: any DatasetRepository

        /// Groups the stores.
        public init(
            jobs: any JobRepository, metrics: any MetricRepository, events: any EventRepository,
            models: any ModelRepository, datasets: any DatasetRepository
        ) {
            (self.jobs, self.metrics, self.events) = (jobs, metrics, events)
            (self.models, self.datasets) = (models, datasets)
        }
    }

    /// The stores behind the service.
    public let repositories: Repositories
    /// Wakes those who wait for a change.
    public let hub: ChangeHub
    /// The workers.
    public let workers: WorkerPool
    /// Checks and completes request bodies.
    public let resolver: any JobSpecResolver
    /// The clock of the service.
    public let time: any TimeSource
    /// How many jobs may wait.
    public let queueLimits: QueueLimits

    /// Puts the parts together.
    public init(
        repositories: Repositories, resolver: any JobSpecResolver, workers: WorkerPool, hub: ChangeHub,
        time: any TimeSource = SystemTime(), queueLimits: QueueLimits = QueueLimits()
    ) {
        (self.repositories, self.resolver, self.workers) = (repositories, resolver, workers)
        (self.hub, self.time, self.queueLimits) = (hub, time, queueLimits)
    }

    // MARK: Submitting

    /// Checks a request and completes it, without storing anything.
    public func resolve(_ body: JSONValue) throws(JobError) -> ResolvedJob {
        var violations = try dependencyViolations(body)
        let resolved: ResolvedJob
        do { resolved = try resolver.resolve(body) } catch { throw .invalid(error.violations + violations) }
        let total = workers.configuration.budget
        if resolved.threads > total.threads {
            violations.append(
                Violation(
                    pointer: "/threads", code: "out_of_range",
                    detail: "needs \(resolved.threads) threads; this service has \(total.threads)"))
        }
        if resolved.memoryBytes > total.memoryBytes {
            violations.append(
                Violation(
                    pointer: "", code: "insufficient_memory",
                    detail: "needs \(resolved.memoryBytes) bytes; this service may use \(total.memoryBytes)"))
        }
        guard violations.isEmpty else { throw .invalid(violations) }
        return resolved
    }

    /// What is wrong with the jobs that a body names under `depends_on`; those that are no ids are not.
    private func dependencyViolations(_ body: JSONValue) throws(JobError) -> [Violation] {
        var violations: [Violation] = []
        for (index, value) in (body["depends_on"]?.arrayValue ?? []).prefix(64).enumerated() {
            guard let id = value.stringValue.flatMap({ JobID($0) }) else { continue }
            let state: JobState?
            do throws(JobError) { state = try repositories.jobs.job(id).state } catch {
                guard case .jobNotFound = error else { throw error }
                state = nil
            }
            if let fault = Violation(dependency: id, state, at: index) { violations.append(fault) }
        }
        return violations
    }

    /// Stores a job; once this returns, the job survives a power cut.
    ///
    /// `submitter` is whose token the request came with, if with one; `idempotency` under which key it may be
    /// repeated.
    public func submit(
        _ body: JSONValue, submitter: String = "", idempotency: IdempotencyKey? = nil
    ) throws(JobError) -> SubmissionReceipt {
        // A repeated request gets its job whatever has become of the rules or the datasets meanwhile.
        if let key = idempotency, let job = try repositories.jobs.replay(key, body: body, at: time.now()) {
            return SubmissionReceipt(job: try complete(job), isReplay: true)
        }
        if workers.isDraining { throw .draining }
        try requireRoom()
        let resolved = try resolve(body)
        let submission = JobSubmission(
            resolved: resolved, idempotency: idempotency, body: body, submitter: submitter,
            limits: queueLimits
        ) { [resolver] in resolver.hasDataset(of: resolved) }
        let receipt = try repositories.jobs.submit(submission, at: time.now())
        FailPoint.afterSubmitCommit.pass()
        if !receipt.isReplay { announce(receipt.job.id) }
        guard let position = receipt.queuePosition else {
            return SubmissionReceipt(job: try complete(receipt.job), isReplay: receipt.isReplay)
        }
        return SubmissionReceipt(job: complete(receipt.job, position: position), isReplay: false)
    }

    // MARK: Looking

    /// One job with everything a client may see of it.
    public func job(_ id: JobID) throws(JobError) -> Job { try complete(repositories.jobs.job(id)) }

    /// Grows after each change of anything stored; what was read while it stands is still so.
    public var generation: UInt64 { repositories.jobs.generation }

    /// One page of jobs.
    public func jobs(_ query: JobQuery) throws(JobError) -> Page<Job> {
        var page = try repositories.jobs.list(query)
        guard page.items.contains(where: { $0.state == .queued || $0.state.isHeld }) else { return page }
        let hasQueued = page.items.contains { $0.state == .queued }
        let positions = try hasQueued ? queuePositions() : [:]
        page.items = page.items.map { complete($0, position: positions[$0.id]) }
        return page
    }

    /// How many jobs are in each state.
    public func counts() throws(JobError) -> [JobState: Int] { try repositories.jobs.counts() }

    /// Whether no more jobs may wait; false where that cannot be told.
    public var isFull: Bool {
        guard let counts = try? repositories.jobs.counts() else { return false }
        return (counts[.queued] ?? 0) + (counts[.paused] ?? 0) >= queueLimits.total
    }

    /// The loss curves of a job and their like.
    public func metrics(of id: JobID, _ query: CurveQuery) throws(JobError) -> [Curve] {
        try repositories.metrics.metrics(of: id, query)
    }

    /// Where a job's time goes; `nil` before it was measured.
    public func profile(of id: JobID) throws(JobError) -> JSONValue? {
        try repositories.jobs.profile(of: id)
    }

    /// The resource curves of a job.
    public func resources(of id: JobID, _ query: CurveQuery) throws(JobError) -> [Curve] {
        try repositories.metrics.resources(of: id, query)
    }

    /// The events of a job after `cursor`, oldest first.
    public func events(of id: JobID, after cursor: EventID? = nil, limit: Int = 50) throws(JobError)
        -> [EventRecord]
    {
        try repositories.events.events(of: id, after: cursor, limit: limit)
    }

    /// The checkpoints of a job, newest first.
    public func checkpoints(of id: JobID) throws(JobError) -> [CheckpointRecord] {
        try repositories.jobs.checkpoints(of: id)
    }

    // MARK: Steering

    /// Stops a job for good: at once when it waits, at its next step when it runs.
    public func cancel(_ id: JobID) throws(JobError) -> Job {
        let reason = JobReason(code: "cancelled_by_client", message: "A client cancelled the job.")
        let change = try repositories.jobs.cancel(id, reason: reason, at: time.now())
        FailPoint.afterCancelCommit.pass()
        if change.job.state == .cancelling { workers.signal(.cancel, to: id) }
        announce(id)
        change.dependants.forEach { hub.notify($0) }
        return try complete(change.job)
    }

    /// Pauses a job: at once when it waits, at its next step when it runs.
    public func pause(_ id: JobID) throws(JobError) -> Job {
        let job = try repositories.jobs.pause(id, at: time.now())
        if job.state == .pausing { workers.signal(.pause, to: id) }
        announce(id)
        return try complete(job)
    }

    /// Puts a paused job back into the queue, if that has room for it; it goes on from its checkpoint.
    public func resume(_ id: JobID) throws(JobError) -> Job {
        let job = try repositories.jobs.resume(id, limits: queueLimits, at: time.now())
        announce(id)
        return try complete(job)
    }

    /// Gives a failed or cancelled job another attempt; the caller must delete the files at the answered
    /// paths.
    public func retry(_ id: JobID, fromScratch: Bool) throws(JobError) -> (job: Job, obsolete: [String]) {
        if workers.isDraining { throw .draining }
        try requireRoom()
        let (job, obsolete) = try repositories.jobs.retry(
            id, fromScratch: fromScratch, limits: queueLimits, at: time.now())
        announce(id)
        return (try complete(job), obsolete)
    }

    /// Changes name, labels or priority.
    public func update(_ id: JobID, _ changes: JobChanges) throws(JobError) -> Job {
        let job = try repositories.jobs.update(id, changes, at: time.now())
        announce(id)
        return try complete(job)
    }

    /// Deletes a terminal job; the caller must delete the files at the answered paths.
    public func delete(_ id: JobID, includingModels: Bool) throws(JobError) -> [String] {
        let paths = try repositories.jobs.delete(id, includingModels: includingModels)
        FailPoint.afterDeleteCommit.pass()
        hub.notify(id)
        return paths
    }

    // MARK: Completing

    private func announce(_ id: JobID) {
        workers.wake()
        hub.notify(id)
    }

    private func complete(_ job: Job) throws(JobError) -> Job {
        let isQueued = job.state == .queued
        return complete(
            job, position: try isQueued ? repositories.jobs.queuePosition(of: job, at: time.now()) : nil)
    }

    private func requireRoom() throws(JobError) {
        if let shortage = workers.configuration.shortage() { throw .storeFull(cause: shortage.description) }
    }

    private func complete(_ job: Job, position: Int?) -> Job {
        var job = job
        job.waitingFor = workers.explain(job)
        job.queuePosition = position
        return job
    }

    private func queuePositions() throws(JobError) -> [JobID: Int] {
        let order = try repositories.jobs.queueOrder(at: time.now(), limit: queueLimits.total)
        return Dictionary(uniqueKeysWithValues: zip(order, 0...))
    }
}
