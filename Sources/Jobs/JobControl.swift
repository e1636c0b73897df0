import Synchronization

/// What a running job should do next.
public enum JobSignal: UInt8, Sendable, Comparable, CaseIterable {
    /// Go on.
    case none
    /// Write a checkpoint and end the attempt, because the service shuts down.
    case drain
    /// Write a checkpoint and end the attempt, because a client asked.
    case pause
    /// End the attempt at once.
    case cancel

    /// Orders by urgency.
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// The wire from the service to one running job; read between steps, never blocks.
public final class JobControl: Sendable {
    /// The threads the attempt may use at once.
    public let threads: Int
    private let raised = Atomic<UInt8>(JobSignal.none.rawValue)
    private let looked = Atomic<UInt64>(0)

    /// A control that says `none`.
    public init(threads: Int) { self.threads = threads }

    /// What to do next; to be read between steps, which also shows that the attempt is alive.
    ///
    /// Costs two relaxed operations.
    public var signal: JobSignal {
        looked.add(1, ordering: .relaxed)
        return JobSignal(rawValue: raised.load(ordering: .relaxed)) ?? .cancel
    }

    /// How often `signal` was read.
    var looks: UInt64 { looked.load(ordering: .relaxed) }

    /// Raises a signal; a more urgent one that was raised before stays.
    public func raise(_ signal: JobSignal) {
        _ = raised.max(signal.rawValue, ordering: .relaxed)
    }
}
