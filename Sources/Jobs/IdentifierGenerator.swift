import Synchronization

/// Makes identifiers that only ever grow, whatever the wall clock does.
///
/// Cursors over events rely on it: an identifier made later is greater, also when the clock was set
/// back meanwhile, and also across restarts once `observe` has been told the newest stored one.
public final class IdentifierGenerator: Sendable {
    private struct State {
        var milliseconds: UInt64 = 0
        var high: UInt16 = 0
        var low: UInt64 = 0
        var random: any RandomNumberGenerator & Sendable
    }

    private let state: Mutex<State>

    /// Draws the random bits from `random`, which tests seed.
    public init(random: some RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()) {
        state = Mutex(State(random: random))
    }

    /// An identifier greater than every one made before.
    public func next<Subject>(at now: Timestamp) -> Identifier<Subject> {
        state.withLock { state in
            let milliseconds = UInt64(clamping: now.milliseconds) & 0xFFFF_FFFF_FFFF
            if milliseconds > state.milliseconds {
                state.milliseconds = milliseconds
                state.high = UInt16.random(in: 0...UInt16.max, using: &state.random)
                state.low = UInt64.random(in: 0...UInt64.max, using: &state.random)
            } else {
                Self.increment(&state)
            }
            return Identifier(milliseconds: state.milliseconds, high: state.high, low: state.low)
        }
    }

    /// Makes later identifiers greater than `identifier`.
    public func observe<Subject>(_ identifier: Identifier<Subject>) {
        let milliseconds = UInt64(clamping: identifier.createdAt.milliseconds)
        state.withLock { state in
            guard milliseconds >= state.milliseconds else { return }
            state.milliseconds = milliseconds
            (state.high, state.low) = (.max, .max)
        }
    }

    private static func increment(_ state: inout State) {
        state.low &+= 1
        guard state.low == 0 else { return }
        state.high &+= 1
        if state.high == 0 { state.milliseconds += 1 }
    }
}
