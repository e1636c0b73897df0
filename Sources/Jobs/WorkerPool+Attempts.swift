import Synchronization

extension WorkerPool {
    /// What attempts are counted by.
    public struct AttemptKey: Hashable, Sendable, Comparable {
        /// The job's type.
        public let type: JobType
        /// How the attempt ended: `succeeded`, `failed`, `cancelled`, `paused` or `yielded`.
        public let outcome: String

        /// Pairs them.
        public init(type: JobType, outcome: String) { (self.type, self.outcome) = (type, outcome) }

        public static func < (left: Self, right: Self) -> Bool {
            (left.type.rawValue, left.outcome) < (right.type.rawValue, right.outcome)
        }
    }

    /// The words that outcomes are counted by.
    public static let outcomes = ["succeeded", "failed", "cancelled", "paused", "yielded"]

    /// An attempt that begins or has ended.
    public struct AttemptNote: Sendable {
        /// The job as it was claimed.
        public let job: Job
        /// How it ended, by a word of `outcomes`; `nil` when it begins.
        public let outcome: String?
        /// Why it failed.
        public let failure: JobFailure?
    }

    /// How many there were, the seconds that workers spent on them, and what they drew by their own account.
    public struct AttemptTotals: Sendable, Equatable {
        public private(set) var count = 0
        public private(set) var seconds = 0.0
        public private(set) var joules = 0.0

        /// Of none.
        public static let none = AttemptTotals()

        fileprivate mutating func add(nanoseconds: UInt64, joules: Double) {
            count += 1
            seconds += Double(nanoseconds) / 1e9
            self.joules += joules
        }
    }

    /// The attempts that ended since the process started.
    public var attemptTotals: [AttemptKey: AttemptTotals] { attempts.withLock { $0 } }

    func count(_ run: Run, _ outcome: JobOutcome, nanoseconds: UInt64) {
        let word =
            switch outcome {
            case .succeeded: "succeeded"
            case .failed(let failure) where failure.code == JobFailure.diskFull.code: "yielded"
            case .failed: "failed"
            case .cancelled: "cancelled"
            case .paused: "paused"
            case .yielded: "yielded"
            }
        let failure: JobFailure? = if case .failed(let failure) = outcome { failure } else { nil }
        configuration.tell(AttemptNote(job: run.job, outcome: word, failure: failure))
        let before = run.job.resources.joules
        let joules = max(0, (run.recorder.joules ?? before) - before)
        attempts.withLock { attempts in
            attempts[AttemptKey(type: run.job.type, outcome: word), default: AttemptTotals()]
                .add(nanoseconds: nanoseconds, joules: joules)
        }
    }
}
