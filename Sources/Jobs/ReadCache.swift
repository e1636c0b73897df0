import Synchronization

/// What was read of the store, for as long as nothing is written there.
///
/// Ask for the store's generation first, then read, then keep: what somebody writes in between makes the
/// kept value stale from the start.
public final class ReadCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private struct State {
        var generation: UInt64 = 0
        var values: [Key: Value] = [:]
    }

    private let state = Mutex(State())
    private let countMax: Int

    /// Makes an empty cache of at most `countMax` values.
    public init(countMax: Int) { self.countMax = countMax }

    /// What was kept for `key` at this generation.
    public func value(of key: Key, at generation: UInt64) -> Value? {
        state.withLock { $0.generation == generation ? $0.values[key] : nil }
    }

    /// Keeps what was read after the store had this generation.
    public func keep(_ value: Value, of key: Key, at generation: UInt64) {
        state.withLock { state in
            guard generation >= state.generation else { return }
            if generation > state.generation {
                state.generation = generation
                state.values.removeAll(keepingCapacity: true)
            }
            if state.values.count >= countMax, state.values[key] == nil {
                state.values.remove(at: state.values.startIndex)
            }
            state.values[key] = value
        }
    }
}
