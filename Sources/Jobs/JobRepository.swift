public import JSON

/// The stored jobs.
///
/// Each method is one transaction: it happened entirely and durably, or not at all. Whatever
/// changes a state also appends a transition and an event, and raises the version.
public protocol JobRepository: JobSource {
    /// Stores a new job, or finds the one that the same key and body made before.
    func submit(_ submission: JobSubmission, at now: Timestamp) throws(JobError) -> SubmissionReceipt
    /// The job that an earlier request with the same key and body made; `nil` when there was none.
    func replay(_ key: IdempotencyKey, body: JSONValue, at now: Timestamp) throws(JobError) -> Job?
    /// One page of jobs; no points are touched.
    func list(_ query: JobQuery) throws(JobError) -> Page<Job>
    /// The queued jobs in the order in which they would be claimed, at most `limit`.
    func queueOrder(at now: Timestamp, limit: Int) throws(JobError) -> [JobID]
    /// How many queued jobs would be claimed before this one.
    func queuePosition(of job: Job, at now: Timestamp) throws(JobError) -> Int
    /// How many jobs are in each state.
    func counts() throws(JobError) -> [JobState: Int]
    /// Grows after each change of anything in the store; what was read while it stands is still so.
    var generation: UInt64 { get }

    /// Hands the most urgent job that fits to a worker; `nil` when there is none.
    func claimNext(_ request: ClaimRequest) throws(JobError) -> ClaimedJob?
    /// When the next back-off ends, if one is running.
    func nextDue(after now: Timestamp) throws(JobError) -> Timestamp?
    /// Extends leases; a lease that was lost is missing in the answer.
    func heartbeat(_ leases: [Lease], until deadline: UInt64) throws(JobError) -> [Lease: JobState]
    /// Stores what a running job reported; `false` when the lease was lost, and then nothing is stored.
    func record(_ report: RunReport, for lease: Lease, at now: Timestamp) throws(JobError) -> Bool
    /// Makes a durable file a checkpoint and answers the paths it replaces; `nil` when the lease was lost.
    func checkpoint(_ record: CheckpointRecord, for lease: Lease, at now: Timestamp) throws(JobError)
        -> [String]?
    /// Forgets a training's points after `step`, as `JobSink` does; `false` when the lease was lost.
    func rewind(toStep step: Int, of training: String, for lease: Lease) throws(JobError) -> Bool
    /// Ends an attempt and settles its dependants; `nil` when the lease was lost.
    func finish(_ lease: Lease, _ outcome: JobOutcome, at now: Timestamp) throws(JobError) -> JobChange?

    /// Cancels a job that waits, or asks one that runs to stop. Doing it again changes nothing.
    func cancel(_ id: JobID, reason: JobReason, at now: Timestamp) throws(JobError) -> JobChange
    /// Pauses a job that waits, or asks one that runs to pause. Doing it again changes nothing.
    func pause(_ id: JobID, at now: Timestamp) throws(JobError) -> Job
    /// Puts a paused job back into the queue, if that has room for it.
    func resume(_ id: JobID, limits: QueueLimits, at now: Timestamp) throws(JobError) -> Job
    /// Gives a failed or cancelled job another attempt, from its last checkpoint or from scratch, if another
    /// job may wait; answers the paths that the caller must delete.
    func retry(_ id: JobID, fromScratch: Bool, limits: QueueLimits, at now: Timestamp) throws(JobError) -> (
        job: Job, obsolete: [String]
    )
    /// Changes what a client may change.
    func update(_ id: JobID, _ changes: JobChanges, at now: Timestamp) throws(JobError) -> Job
    /// Deletes a terminal job with all that hangs on it, and answers the paths that the caller must delete,
    /// its folder among them.
    func delete(_ id: JobID, includingModels: Bool) throws(JobError) -> [String]
    /// The checkpoints of a job, newest first.
    func checkpoints(of id: JobID) throws(JobError) -> [CheckpointRecord]
    /// Where a job's time goes; `nil` before it was measured.
    func profile(of id: JobID) throws(JobError) -> JSONValue?
    /// Every path that a row names: what a clean-up must leave alone.
    func namedPaths() throws(JobError) -> Set<String>
    /// The jobs that may go on from a checkpoint, also those that failed or were cancelled: what they keep
    /// for themselves beside their checkpoints is to be left alone too.
    func resumableJobs() throws(JobError) -> Set<JobID>

    /// Takes back every job that another process run held; called once at start.
    func recover(bootID: String, crashLimit: Int, at now: Timestamp) throws(JobError) -> RecoverySummary
    /// Takes back the jobs whose lease ended before the monotonic time `deadline`.
    func reclaimExpired(before deadline: UInt64, at now: Timestamp) throws(JobError) -> [JobID]
    /// Ends the waits that a wall clock which was set back made longer; called at start and after a jump.
    ///
    /// Who waits to be tried again waits no longer than a back-off does from `now` on, all others not at all.
    func shortenWaits(at now: Timestamp) throws(JobError)
}

extension JobID {
    /// Where the job's files lie, relative to the data folder.
    public var folder: String { "jobs/\(self)" }
}

/// A request to store a job.
public struct JobSubmission: Sendable {
    /// The job, already checked.
    public let resolved: ResolvedJob
    /// Under which key the request may be repeated.
    public let idempotency: IdempotencyKey?
    /// What the client sent; two requests with the same key must send the same.
    public let body: JSONValue
    /// Whose token it came with; empty without one.
    public let submitter: String
    /// How many jobs may wait.
    public let limits: QueueLimits
    /// Whether the job's dataset is still there; asked where no deletion can come in between.
    public let hasDataset: @Sendable () -> Bool

    /// Describes a submission.
    public init(
        resolved: ResolvedJob, idempotency: IdempotencyKey?, body: JSONValue, submitter: String = "",
        limits: QueueLimits = QueueLimits(), hasDataset: @escaping @Sendable () -> Bool = { true }
    ) {
        (self.resolved, self.idempotency, self.body) = (resolved, idempotency, body)
        (self.submitter, self.limits, self.hasDataset) = (submitter, limits, hasDataset)
    }
}

/// How many jobs may wait, paused ones included.
public struct QueueLimits: Sendable, Equatable {
    /// All together.
    public var total: Int
    /// Those of one token; nil when there is no such limit.
    public var perToken: Int?
    /// Whose tokens it does not hold for.
    public var exempt: Set<String>

    /// Limits all together, and every token unless it is said otherwise.
    public init(total: Int = 10_000, perToken: Int? = nil, exempt: Set<String> = []) {
        (self.total, self.perToken, self.exempt) = (total, perToken, exempt)
    }

    /// What holds for a token; nil when nothing does.
    public func limit(of submitter: String) -> Int? {
        submitter.isEmpty || exempt.contains(submitter) ? nil : perToken
    }
}

/// Under which key a client may repeat a request; keys of different clients do not meet.
public struct IdempotencyKey: Sendable, Hashable {
    /// Who calls.
    public let principal: String
    /// What the client sent as `Idempotency-Key`; 1 to 255 bytes.
    public let key: String

    /// Pairs a caller with a key.
    public init(principal: String, key: String) { (self.principal, self.key) = (principal, key) }
}

/// The answer to a submission.
public struct SubmissionReceipt: Sendable, Equatable {
    /// The job, as it is now.
    public let job: Job
    /// Whether an earlier request made it.
    public let isReplay: Bool
    /// How many queued jobs go first, where the store has seen it.
    public let queuePosition: Int?

    /// Pairs a job with how it came about.
    public init(job: Job, isReplay: Bool, queuePosition: Int? = nil) {
        (self.job, self.isReplay, self.queuePosition) = (job, isReplay, queuePosition)
    }
}

/// A job that changed, and what changed with it.
public struct JobChange: Sendable, Equatable {
    /// The job as it is now.
    public let job: Job
    /// Dependants that were released or cancelled in the same transaction.
    public let dependants: [JobID]

    /// Pairs a job with its changed dependants.
    public init(job: Job, dependants: [JobID] = []) { (self.job, self.dependants) = (job, dependants) }
}

/// What a worker can take on.
public struct ClaimRequest: Sendable {
    /// Who claims, for the record.
    public var worker: String
    /// The run of the process; a later run takes back what this one left.
    public var bootID: String
    /// What is free now.
    public var free: Budget
    /// What there is altogether.
    public var total: Budget
    /// Whether nothing runs at the moment, so that a suspect may run alone.
    public var isIdle: Bool
    /// The wall clock.
    public var now: Timestamp
    /// When the lease ends unless a heartbeat extends it, on the monotonic clock, in nanoseconds.
    public var leaseDeadline: UInt64

    /// Describes a claim.
    public init(
        worker: String, bootID: String, free: Budget, total: Budget, isIdle: Bool, now: Timestamp,
        leaseDeadline: UInt64
    ) {
        (self.worker, self.bootID, self.free, self.total) = (worker, bootID, free, total)
        (self.isIdle, self.now, self.leaseDeadline) = (isIdle, now, leaseDeadline)
    }

    /// A queued job gains one priority per this many milliseconds of waiting.
    public static let ageingMilliseconds: Int64 = 600_000
    /// A job passed over for this long is no longer passed: what it needs is kept free until it fits.
    public static let patienceMilliseconds: Int64 = 900_000
}

/// Cores and memory.
public struct Budget: Sendable, Equatable {
    /// Threads that may run at once.
    public var threads: Int
    /// Bytes that plans may reserve.
    public var memoryBytes: Int

    /// Pairs threads with bytes.
    public init(threads: Int, memoryBytes: Int) { (self.threads, self.memoryBytes) = (threads, memoryBytes) }
}

/// What a running job reported since the last time.
public struct RunReport: Sendable {
    /// Points of the curves.
    public var points: [MetricPoint] = []
    /// Samples of what it uses.
    public var samples: [ResourcePoint] = []
    /// Events, oldest first.
    public var events: [EventDraft] = []
    /// The newest progress.
    public var progress: JobProgress?
    /// The newest totals.
    public var resources: JobResources?
    /// Where the time goes, as the API describes it.
    public var profile: JSONValue?

    /// Nothing.
    public init() {}

    /// Whether there is nothing to store.
    public var isEmpty: Bool {
        points.isEmpty && samples.isEmpty && events.isEmpty && progress == nil && resources == nil
            && profile == nil
    }
}

/// What a start found lying about.
public struct RecoverySummary: Sendable, Equatable {
    /// Jobs that will run again.
    public var requeued: [JobID] = []
    /// Jobs that took the process down too often.
    public var quarantined: [JobID] = []
    /// Jobs that were asked to stop or to pause, and now have.
    public var stopped: [JobID] = []

    /// Nothing found.
    public init() {}
}

/// What a client may change of a job.
public struct JobChanges: Sendable, Equatable {
    /// The new values; `nil` leaves the old one.
    public var name: String?, labels: [String: String]?, priority: Int?
    /// Of which version alone the job may be; `nil` for any.
    public var version: Int64?

    /// Whether it changes nothing.
    public var isEmpty: Bool { name == nil && labels == nil && priority == nil }

    /// Changes nothing unless the arguments say otherwise.
    public init(name: String? = nil, labels: [String: String]? = nil, priority: Int? = nil) {
        (self.name, self.labels, self.priority) = (name, labels, priority)
    }
}
