internal import Synchronization

/// An answer under way, between who computes it and who waits for it.
public final class Pending<Value: Sendable, Failure: Error>: Sendable {
    /// What came of it.
    public typealias Outcome = Result<Value, Failure>

    private struct State {
        var outcome: Outcome?
        var waiters: [Int: @Sendable () -> Void] = [:]
        var waiterCount = 0
        var isAbandoned = false
    }

    private let state = Mutex(State())

    /// Has no outcome yet.
    public init() {}

    /// What came of it; nil while it is under way.
    public var outcome: Outcome? { state.withLock { $0.outcome } }

    /// Whether everybody who waited has gone, so that it may end without an outcome.
    public var isAbandoned: Bool { state.withLock { $0.isAbandoned } }

    /// Sets the outcome and wakes who waits; only the first one counts.
    public func finish(_ outcome: Outcome) {
        let waiters = state.withLock { state -> [@Sendable () -> Void] in
            guard state.outcome == nil else { return [] }
            state.outcome = outcome
            return Array(state.waiters.values)
        }
        for wake in waiters { wake() }
    }

    /// Calls `wake` when the outcome is there.
    ///
    /// - Returns: Calls it off; it is abandoned when nobody is left who waits.
    public func subscribe(_ wake: @escaping @Sendable () -> Void) -> @Sendable () -> Void {
        let (number, isDone) = state.withLock { state in
            state.waiterCount += 1
            state.waiters[state.waiterCount] = wake
            return (state.waiterCount, state.outcome != nil)
        }
        if isDone { wake() }
        return { [self] in
            state.withLock { state in
                guard state.waiters.removeValue(forKey: number) != nil else { return }
                state.isAbandoned = state.waiters.isEmpty
            }
        }
    }
}
