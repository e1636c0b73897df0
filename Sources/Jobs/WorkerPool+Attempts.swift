import Synchronization

extension WorkerPool {
    /// What attempts are counted by.
    public struct AttemptKey: Hashable, Sendable, Comparable {
        /// The job's type.
        public let type: JobType
        /// How the attempt ended: `succeeded`, `failed`, `cancelled`, `paused` or `yielded`.
        public let outcome: String

        public static func < (left: Self, right: Self) -> Bool {
            (left.type.rawValue, left.outcome) < (right.type.rawValue, right.outcome)
        }
    }

    /// How many there were, the seconds that workers spent on them, and what they drew by their own account.
    public struct AttemptTotals: Sendable, Equatable {
        public private(set) var count = 0
        public private(set) var seconds = 0.0
        public private(set) var joules = 0.0

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
        let before = run.job.resources.joules
        let joules = max(0, (run.recorder.joules ?? before) - before)
        attempts.withLock { attempts in
            attempts[AttemptKey(type: run.job.type, outcome: word), default: AttemptTotals()]
                .add(nanoseconds: nanoseconds, joules: joules)
        }
    }
}
