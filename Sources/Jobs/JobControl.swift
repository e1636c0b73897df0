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

    /// A control that says `none`.
    public init(threads: Int) { self.threads = threads }

    /// What to do next; costs one relaxed load.
    public var signal: JobSignal { JobSignal(rawValue: raised.load(ordering: .relaxed)) ?? .cancel }

    /// Raises a signal; a more urgent one that was raised before stays.
    public func raise(_ signal: JobSignal) {
        _ = raised.max(signal.rawValue, ordering: .relaxed)
    }
}
