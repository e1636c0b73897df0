import Synchronization

/// Counts connections and answers, and times the answers, for monitoring.
public final class RequestMeter: Sendable {
    /// Upper bounds of the buckets of times, in seconds.
    public static let bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    /// What answers are counted by.
    public struct Answer: Hashable, Sendable, Comparable {
        /// nil for requests that were no HTTP, or of a method that nobody knows.
        public let method: Method?
        /// The three digits.
        public let status: Int

        public static func < (left: Self, right: Self) -> Bool {
            (left.method?.rawValue ?? "", left.status) < (right.method?.rawValue ?? "", right.status)
        }
    }

    /// All that was counted so far.
    public struct Figures: Sendable {
        public fileprivate(set) var answers: [Answer: Int] = [:]
        /// Answers by their time: those up to each of `bounds`, but beyond the one before; then the others.
        public fileprivate(set) var buckets = [Int](repeating: 0, count: bounds.count + 1)
        /// Seconds of all answers in `buckets`.
        public fileprivate(set) var seconds = 0.0
        /// Connections that were accepted, and how many of them are open.
        public fileprivate(set) var (connections, openConnections) = (0, 0)
    }

    private let state = Mutex(Figures())

    public init() {}

    public var figures: Figures { state.withLock { $0 } }

    func connected() {
        state.withLock { figures in
            figures.connections += 1
            figures.openConnections += 1
        }
    }

    func disconnected() { state.withLock { $0.openConnections -= 1 } }

    /// Counts an answer.
    ///
    /// - Parameters:
    ///   - method: The request's.
    ///   - status: The answer's.
    ///   - seconds: From the request's header to the answer; nil for a client that chose to wait.
    func answered(_ method: Method?, _ status: Status, seconds: Double?) {
        state.withLock { figures in
            figures.answers[Answer(method: method, status: status.code), default: 0] += 1
            guard let seconds else { return }
            let bucket = Self.bounds.firstIndex { seconds <= $0 } ?? Self.bounds.count
            figures.buckets[bucket] += 1
            figures.seconds += seconds
        }
    }
}
