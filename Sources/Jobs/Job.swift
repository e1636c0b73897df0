public import JSON

/// One piece of work that a client asked for, with all that is known of it.
public struct Job: Sendable, Equatable {
    /// Its name in the API.
    public let id: JobID
    /// What kind of work it is.
    public let type: JobType
    /// What the client called it: hostile text, to be escaped wherever it is shown.
    public var name: String
    /// Free pairs that clients filter by; hostile text, like `name`.
    public var labels: [String: String]
    /// From -100 to 100; a higher one runs earlier.
    public var priority: Int
    /// Where it is in its life.
    public var state: JobState
    /// Why it is in that state, where that is not obvious.
    public var reason: JobReason?
    /// When it was submitted.
    public let createdAt: Timestamp
    /// When it was last put into the queue; it ages from here.
    public var queuedAt: Timestamp
    /// It does not start before this time (back-off).
    public var runAt: Timestamp
    /// When its first attempt began.
    public var startedAt: Timestamp?
    /// When it reached a terminal state.
    public var finishedAt: Timestamp?
    /// How often it was started; an attempt that a shutdown or a pause ended is not counted.
    public var attempt: Int
    /// How many attempts may fail before the job does.
    public let maxAttempts: Int
    /// How many attempts failed by themselves.
    public var failures: Int
    /// How often it took the process down since its last checkpoint, running alone.
    public var crashes: Int
    /// Whether it ran when the process died, so that it must run alone until it proves harmless.
    public var isSuspect: Bool
    /// Grows with each claim; whoever holds an older one may no longer write.
    public var fence: Int64
    /// Slots of the core budget it takes.
    public let threads: Int
    /// Bytes of the memory budget it takes.
    public let memoryBytes: Int
    /// How far it is.
    public var progress: JobProgress
    /// The extremes of its series, kept apart from the points.
    public var summary: [SeriesSummary]
    /// What it has used, over all attempts.
    public var resources: JobResources
    /// The request with every default filled in.
    public let spec: JSONValue
    /// What was foretold at submission.
    public let estimate: JSONValue
    /// What it left behind, once it succeeded.
    public var result: StoredResult?
    /// Why it failed.
    public var error: JobFailure?
    /// Each state it entered, oldest first.
    public var transitions: [JobTransition]
    /// The jobs that must succeed before it starts.
    public let dependencies: [JobID]
    /// How many of `dependencies` have not succeeded yet.
    public var unfinishedDependencies: Int
    /// What a queued job waits for; filled in by `JobService`.
    public var waitingFor: WaitingFor?
    /// How many queued jobs go first; filled in by `JobService` for queued jobs.
    public var queuePosition: Int?
    /// Grows with every change a client can see.
    public var version: Int64

    /// Assembles a job; the store does.
    public init(
        id: JobID, type: JobType, name: String, labels: [String: String], priority: Int, state: JobState,
        reason: JobReason?, times: JobTimes, counts: JobCounts, isSuspect: Bool, threads: Int,
        memoryBytes: Int,
        progress: JobProgress, resources: JobResources, spec: JSONValue, estimate: JSONValue,
        result: StoredResult?, error: JobFailure?, dependencies: [JobID]
    ) {
        (self.id, self.type, self.name, self.labels) = (id, type, name, labels)
        (self.priority, self.state, self.reason) = (priority, state, reason)
        (createdAt, queuedAt, runAt) = (times.createdAt, times.queuedAt, times.runAt)
        (startedAt, finishedAt) = (times.startedAt, times.finishedAt)
        (attempt, maxAttempts, failures) = (counts.attempt, counts.maxAttempts, counts.failures)
        (crashes, fence, version) = (counts.crashes, counts.fence, counts.version)
        unfinishedDependencies = counts.unfinishedDependencies
        (self.isSuspect, self.threads, self.memoryBytes) = (isSuspect, threads, memoryBytes)
        (self.progress, self.resources, self.spec, self.estimate) = (progress, resources, spec, estimate)
        (self.result, self.error, self.dependencies) = (result, error, dependencies)
        (summary, transitions) = ([], [])
    }
}

/// The times of a job.
public struct JobTimes: Sendable {
    /// The fields of the same names in `Job`.
    public var createdAt, queuedAt, runAt: Timestamp
    /// The fields of the same names in `Job`.
    public var startedAt, finishedAt: Timestamp?

    /// Groups the times of a job.
    public init(
        createdAt: Timestamp, queuedAt: Timestamp, runAt: Timestamp, startedAt: Timestamp?,
        finishedAt: Timestamp?
    ) {
        (self.createdAt, self.queuedAt, self.runAt) = (createdAt, queuedAt, runAt)
        (self.startedAt, self.finishedAt) = (startedAt, finishedAt)
    }
}

/// The counters of a job.
public struct JobCounts: Sendable {
    /// The fields of the same names in `Job`.
    public var attempt, maxAttempts, failures, crashes, unfinishedDependencies: Int
    /// The fields of the same names in `Job`.
    public var fence, version: Int64

    /// Groups the counters of a job.
    public init(
        attempt: Int, maxAttempts: Int, failures: Int, crashes: Int, unfinishedDependencies: Int,
        fence: Int64, version: Int64
    ) {
        (self.attempt, self.maxAttempts, self.failures) = (attempt, maxAttempts, failures)
        (self.crashes, self.unfinishedDependencies) = (crashes, unfinishedDependencies)
        (self.fence, self.version) = (fence, version)
    }
}
