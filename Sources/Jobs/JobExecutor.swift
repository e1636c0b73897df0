public import JSON

/// Runs one job to its end on the calling thread; implemented where jobs meet the engine.
public protocol JobExecutor: Sendable {
    /// Runs `job`, reading `control` between steps and reporting through `sink`.
    ///
    /// The calling worker thread belongs to the job until this returns.
    func run(_ job: ClaimedJob, control: JobControl, sink: any JobSink) -> JobOutcome
    /// Clears up behind an attempt, once it is known what became of its outcome in the store.
    ///
    /// Called once for each `run`, on the same thread. The job may run again by then.
    func settle(_ job: ClaimedJob, _ outcome: JobOutcome, _ end: AttemptEnd)
}

/// What became of an attempt's outcome in the store.
public enum AttemptEnd: Sendable, Equatable {
    /// It was stored, and the job entered this state with it.
    case stored(JobState)
    /// Nothing of it was or will be stored: the attempt had lost its lease.
    case void
    /// The store failed on the way, so that nobody knows.
    case unknown
}

/// A job together with the right to write about it.
public struct ClaimedJob: Sendable, Equatable {
    /// The job as it was claimed: `resources` holds what earlier attempts used.
    public let job: Job
    /// The right to write.
    public let lease: Lease
    /// What can be resumed from, newest first; each file was durable before its row.
    public let checkpoints: [CheckpointRecord]

    /// Assembles a claim; the store does.
    public init(job: Job, lease: Lease, checkpoints: [CheckpointRecord]) {
        (self.job, self.lease, self.checkpoints) = (job, lease, checkpoints)
    }
}

/// The right to write about a job, until a newer claim or the end of the attempt takes it away.
public struct Lease: Sendable, Hashable {
    /// The job.
    public let jobID: JobID
    /// The job's fence when it was claimed.
    public let fence: Int64

    /// Names a job and a fence.
    public init(jobID: JobID, fence: Int64) { (self.jobID, self.fence) = (jobID, fence) }
}

/// How an attempt ended.
public enum JobOutcome: Sendable {
    /// Everything was done.
    case succeeded(JobResult)
    /// Stopped because `control` said `cancel`.
    case cancelled
    /// Stopped at a checkpoint because `control` said `pause`.
    case paused
    /// Stopped at a checkpoint because `control` said `drain`; the attempt is not charged.
    case yielded
    /// Ended by an error.
    case failed(JobFailure)
}

/// What a successful attempt leaves behind.
public struct JobResult: Sendable {
    /// Models whose files are durable already; the first is the job's result.
    public let models: [ModelRecord]
    /// The report, as the API describes it.
    public let report: JSONValue
    /// What the job used over all attempts.
    public let resources: JobResources?

    /// Assembles a result.
    public init(models: [ModelRecord], report: JSONValue, resources: JobResources? = nil) {
        (self.models, self.report, self.resources) = (models, report, resources)
    }
}

/// A file that a job can be resumed from.
public struct CheckpointRecord: Sendable, Equatable {
    /// What a checkpoint is kept for.
    public enum Kind: String, Sendable, CaseIterable {
        /// The newest state; the last two are kept.
        case last
        /// The best state by validation; one is kept.
        case best
        /// A state that stays until the job is deleted; `keptMax` are.
        case kept
    }

    /// How many checkpoints of a job may stay.
    public static let keptMax = 100

    /// Training steps done when it was taken.
    public let step: Int
    /// What it is kept for.
    public let kind: Kind
    /// The file or folder, relative to the data folder.
    public let path: String
    /// SHA-256 of its bytes, in hex.
    public let sha256: String
    /// Its size.
    public let byteCount: Int64
    /// When it was taken.
    public let at: Timestamp

    /// Describes a durable file.
    public init(step: Int, kind: Kind, path: String, sha256: String, byteCount: Int64, at: Timestamp) {
        (self.step, self.kind, self.path) = (step, kind, path)
        (self.sha256, self.byteCount, self.at) = (sha256, byteCount, at)
    }
}

/// Where a running job reports, from any of its threads.
///
/// Each write checks the lease.
/// Points, progress and events are handed to a writer that commits them at least once a second;
/// a caller is held up only while that writer is far behind.
public protocol JobSink: Sendable {
    /// Adds points to the curves.
    func metrics(_ points: [MetricPoint])
    /// Adds a sample of what the job uses.
    func resources(_ point: ResourcePoint)
    /// Replaces the totals that the job shows.
    func totals(_ resources: JobResources)
    /// Replaces what the job tells of where its time goes.
    func profile(_ document: JSONValue)
    /// Replaces the progress that the job shows.
    func progress(_ progress: JobProgress)
    /// Adds a line to the job's events; beyond some thousands they are dropped.
    func event(_ level: EventLevel, _ type: String, _ message: String, _ data: JSONValue)
    /// Makes a durable file the checkpoint to resume from, once all points before it are stored.
    ///
    /// - Returns: The paths that no longer serve and that the caller may delete now.
    /// - Throws: `LeaseLost` when the job belongs to somebody else: stop and write nothing.
    func checkpoint(_ record: CheckpointRecord) throws -> [String]
    /// Waits a moment because there was no room on the disk; clients see what the job waits for.
    ///
    /// - Returns: Whether to try again: not when the attempt is to end without what was to be written.
    func awaitRoom() -> Bool
    /// Forgets the points after `step` of one of the job's trainings, because the attempt resumes there.
    ///
    /// - Parameters:
    ///   - step: The training's own.
    ///   - training: What the names of its curves end in behind a full stop; empty for the job's own, whose
    ///     curves' names have none.
    /// - Throws: `LeaseLost` when the job belongs to somebody else.
    func rewind(toStep step: Int, of training: String) throws
}

/// The attempt no longer has the right to write about its job.
public struct LeaseLost: Error, Equatable, CustomStringConvertible {
    /// The right that was lost.
    public let lease: Lease

    /// Names the lost right.
    public init(lease: Lease) { self.lease = lease }

    /// Says what happened, for the log.
    public var description: String { "The lease \(lease.fence) of \(lease.jobID) is no longer valid." }
}
