import Synchronization
import Threads

/// The thread that looks after time: slow connections, waits that are over, clients that left.
final class Watchdog: Sendable {
    private struct State {
        var nextLook: ContinuousClock.Instant
        var nextDismissal: ContinuousClock.Instant
        var isStopped = false
    }

    private let core: ServerCore
    private let bell: Bell
    private let state: Mutex<State>
    private let hasEnded = Monitor(false)

    /// - Parameters:
    ///   - core: What to look after.
    ///   - bell: Struck when something is due before the next look.
    init(_ core: ServerCore, bell: Bell) {
        (self.core, self.bell) = (core, bell)
        state = Mutex(State(nextLook: .now, nextDismissal: .now))
    }

    func start() {
        startThread { [self] in
            while true {
                let ring = bell.ring
                if state.withLock({ $0.isStopped }) { break }
                bell.wait(after: ring, nanoseconds: UInt64(1e9 * secondsUntilNextLook()))
                look()
            }
            hasEnded.update { $0 = true }
        }
    }

    func stop() {
        state.withLock { $0.isStopped = true }
        bell.strike()
        _ = hasEnded.wait { $0 ? () : nil }
    }

    /// Whether it still goes round.
    func hasLooked(within time: Duration) -> Bool { state.withLock { $0.nextLook + time > .now } }

    private func secondsUntilNextLook() -> Double {
        let deadline = core.waiters.polls.map(\.deadline).min()
        let next = state.withLock { $0.nextLook }
        return max(0.001, (min(next, deadline ?? next) - .now) / .seconds(1))
    }

    private func isDismissalDue(_ now: ContinuousClock.Instant) -> Bool {
        state.withLock { state in
            guard state.nextDismissal <= now else { return false }
            state.nextDismissal = now + .seconds(core.configuration.dismissalSeconds)
            return true
        }
    }

    private func look() {
        let now = ContinuousClock.now
        let polls = core.waiters.polls
        for poll in polls where poll.deadline <= now { poll.exchange.tend(isLast: true) }
        guard state.withLock({ $0.nextLook <= now }) else { return }
        state.withLock { $0.nextLook = now + .seconds(core.configuration.watchdogSeconds) }
        for poll in polls { poll.exchange.tend(isLast: false) }
        let channels = core.waiters.channels
        for channel in channels { channel.beat(every: core.configuration.heartbeatSeconds) }
        let gone = core.connections.departed(
            among: polls.map(\.exchange.connection.id) + channels.map(\.connection.id))
        if !gone.isEmpty {
            for poll in polls where gone.contains(poll.exchange.connection.id) { poll.exchange.abort() }
            for channel in channels where gone.contains(channel.connection.id) { channel.finish() }
        }
        if isDismissalDue(now) { core.dismissInvalid() }
        // A server that drains still listens, and whoever has just connected is about to ask.
        let count = core.connections.cutOverdue(core.configuration, isClosing: false)
        if count > 0 { core.log(.debug, "cut \(count) slow connections") }
    }
}
