/// What becomes of a job when an attempt ends: the one place that decides it.
public struct Settlement: Sendable, Equatable {
    /// The state the job enters.
    public var state: JobState
    /// Why.
    public var reason: JobReason?
    /// The error that the job keeps; only of a failed job.
    public var error: JobFailure?
    /// Whether the attempt is forgotten, because it ended through no fault of the job.
    public var refundsAttempt = false
    /// Whether the attempt counts against `max_attempts`.
    public var chargesFailure = false
    /// How long the job waits before it is tried again.
    public var delayMilliseconds: Int64 = 0

    /// Settles an attempt.
    ///
    /// - Parameters:
    ///   - outcome: How the attempt ended.
    ///   - state: The state of the job at that moment: a held one.
    ///   - failures: How many attempts failed before.
    ///   - maxAttempts: How many may fail.
    ///   - jitter: From -1 to 1, so that jobs which failed together do not return together.
    public init(of outcome: JobOutcome, in state: JobState, failures: Int, maxAttempts: Int, jitter: Double) {
        precondition(state.isHeld, "only a held job can be settled, not a \(state.rawValue) one")
        self.state = .cancelled
        if state == .cancelling { return }
        switch outcome {
        case .succeeded:
            self.state = .succeeded
        case .cancelled:
            reason = JobReason(code: "stopped", message: "The attempt stopped by itself.")
        case .paused, .yielded:
            self.state = state == .pausing ? .paused : .queued
            refundsAttempt = true
            if state != .pausing {
                reason = JobReason(code: "drained", message: "The service was shut down; the job goes on.")
            }
        case .failed(let failure) where failure.code == JobFailure.diskFull.code:
            // Waiting for room is not failing, however often it takes.
            self.state = state == .pausing ? .paused : .queued
            refundsAttempt = true
            reason = JobReason(code: failure.code, message: failure.message)
            delayMilliseconds = Self.backOffMilliseconds(afterFailures: 1, jitter: jitter)
        case .failed(let failure):
            settle(failure, in: state, failures: failures, maxAttempts: maxAttempts, jitter: jitter)
        }
    }

    private mutating func settle(
        _ failure: JobFailure, in state: JobState, failures: Int, maxAttempts: Int, jitter: Double
    ) {
        chargesFailure = true
        reason = JobReason(code: failure.code, message: failure.message)
        guard failure.isRetryable, failures + 1 < maxAttempts else {
            self.state = .failed
            error = failure
            return
        }
        self.state = state == .pausing ? .paused : .queued
        delayMilliseconds = Self.backOffMilliseconds(afterFailures: failures + 1, jitter: jitter)
    }

    /// How long to wait after so many failures: 10 s, doubled each time, at most 6 min, 20 % either way.
    public static func backOffMilliseconds(afterFailures failures: Int, jitter: Double) -> Int64 {
        let doublings = max(0, min(failures - 1, 10))
        let base: Int64 = min(10_000 << Int64(doublings), 360_000)
        return base + Int64(Double(base) * 0.2 * max(-1, min(jitter, 1)))
    }

    /// The longest wait that `backOffMilliseconds` gives.
    public static let backOffMillisecondsMax: Int64 = 432_000
}
