import Synchronization

/// A client that waits for a change.
///
/// Looks run on the work queue, one at a time: at the start, after each wake, at the deadline and when
/// the server drains. The first look with an answer ends the exchange.
final class LongPoll: Sendable {
    private struct State {
        var isLooking = false
        var mustLookAgain = false
        var isLast = false
        var isOver = false
        var cancel: (@Sendable () -> Void)?
    }

    let deadline: ContinuousClock.Instant
    private let wait: Wait
    private let exchange: Exchange
    private let core: ServerCore
    private let state = Mutex(State())

    init(_ wait: Wait, _ exchange: Exchange, _ core: ServerCore) {
        (self.wait, self.exchange, self.core) = (wait, exchange, core)
        deadline = .now + .seconds(max(0, min(wait.seconds, core.configuration.waitSecondsMax)))
    }

    /// Registers and looks for the first time; a server with too many waiters answers at once.
    func start() {
        let mayWait = core.waiters.add(exchange, until: deadline)
        let isOver = state.withLock { state in
            state.isLooking = true
            state.isLast = !mayWait
            return state.isOver
        }
        // Ended before it was among those who wait.
        if isOver { core.waiters.remove(exchange) }
        look()
    }

    /// Looks once more, at the latest when `isLast` says that the time is over.
    func tend(isLast: Bool) {
        let mustLook = state.withLock { state in
            if isLast { state.isLast = true }
            return isLast || state.mustLookAgain
        }
        if mustLook { wake() }
    }

    private func wake() {
        let mustLook = state.withLock { state in
            guard !state.isOver else { return false }
            guard !state.isLooking else {
                state.mustLookAgain = true
                return false
            }
            state.isLooking = true
            return true
        }
        guard mustLook, !core.work.submit(for: .waiter, { [self] in look() }) else { return }
        // The watchdog comes back to it.
        state.withLock { ($0.isLooking, $0.mustLookAgain) = (false, true) }
    }

    private func look() {
        while true {
            let isLast = state.withLock { state in
                state.mustLookAgain = false
                return state.isLast
            }
            subscribe()
            do {
                if let response = try wait.answer(isLast) { return end(response) }
                if isLast { return end(ServerCore.busy.response) }
            } catch {
                return end(exchange.failure(error))
            }
            let isDone = state.withLock { state in
                if !state.mustLookAgain { state.isLooking = false }
                return !state.mustLookAgain
            }
            if isDone { return }
        }
    }

    private func subscribe() {
        let cancel = wait.subscribe { [weak self] in self?.wake() }
        let stale = state.withLock { state in
            defer { state.cancel = cancel }
            return state.cancel
        }
        stale?()
    }

    private func end(_ response: Response) {
        finishWaiting()
        exchange.finish(response)
    }

    /// Stops waiting; the exchange ends otherwise.
    func finishWaiting() {
        let cancel = state.withLock { state in
            state.isOver = true
            defer { state.cancel = nil }
            return state.cancel
        }
        cancel?()
        core.waiters.remove(exchange)
    }
}
