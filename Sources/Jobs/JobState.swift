/// Where a job is in its life; the raw values are stored (`migrations/0001_initial.sql`).
///
///     queued <-> running -> succeeded | failed | cancelled
///     running -> pausing -> paused -> queued,  queued -> paused
///     running | pausing -> cancelling -> cancelled,  queued | paused -> cancelled
///     failed | cancelled -> queued     (a client asked for another attempt)
public enum JobState: String, CaseIterable, Sendable {
    /// Waits for its turn, its dependencies or the end of a back-off.
    case queued
    /// A worker runs it.
    case running
    /// Was asked to pause and has not yet stopped.
    case pausing
    /// Stopped at a checkpoint until a client resumes it.
    case paused
    /// Was asked to stop for good and has not yet stopped.
    case cancelling
    /// Stopped for good by a client, or because a job it needs did not succeed.
    case cancelled
    /// Ran to its end.
    case succeeded
    /// Ended with an error.
    case failed

    /// The only transitions the service performs.
    public var successors: Set<JobState> {
        switch self {
        case .queued: [.running, .paused, .cancelled]
        // `queued` again when its worker died, was drained, or failed in a way worth retrying.
        case .running: [.queued, .pausing, .cancelling, .succeeded, .failed, .cancelled]
        // A job may reach its end before it sees that it should pause.
        case .pausing: [.paused, .cancelling, .succeeded, .failed, .cancelled]
        case .paused: [.queued, .cancelled]
        case .cancelling: [.cancelled]
        case .cancelled, .failed: [.queued]
        case .succeeded: []
        }
    }

    /// Whether nothing happens to the job any more unless a client asks for another attempt.
    public var isTerminal: Bool {
        switch self {
        case .succeeded, .failed, .cancelled: true
        case .queued, .running, .pausing, .paused, .cancelling: false
        }
    }

    /// Whether a worker holds the job.
    public var isHeld: Bool {
        switch self {
        case .running, .pausing, .cancelling: true
        case .queued, .paused, .cancelled, .succeeded, .failed: false
        }
    }
}

/// What kind of work a job is; open, so that a later kind needs no migration.
public struct JobType: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The word clients use.
    public let rawValue: String

    /// A type by its word.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The word clients use.
    public var description: String { rawValue }

    /// Trains a network from scratch or from a stored model.
    public static let train = JobType(rawValue: "train")
    /// Prunes a network, and trains what is left.
    public static let prune = JobType(rawValue: "prune")
    /// Trains a network beside one or more stored ones that it learns from.
    public static let distill = JobType(rawValue: "distill")
    /// Measures a stored model on a dataset.
    public static let evaluate = JobType(rawValue: "evaluate")
    /// Turns a stored model's layers into bytes.
    public static let quantize = JobType(rawValue: "quantize")
}
