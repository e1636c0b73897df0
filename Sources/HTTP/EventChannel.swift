import Synchronization

/// One client's live stream: a small buffer between the source and the connection.
///
/// The buffer is filled only when it is empty. While there is nothing to send, the connection is
/// suspended; it is resumed exactly once for each suspension, under the lock that suspended it.
final class EventChannel: Sendable {
    private struct State {
        var buffer: [UInt8] = []
        var offset = 0
        /// The source may have news.
        var needsPull = true
        var isPulling = false
        /// Nothing will be added to the buffer.
        var isFinished = false
        var isSuspended = false
        var lastSent = ContinuousClock.now
        var cancel: (@Sendable () -> Void)?
    }

    /// What the content reader should do.
    enum Read {
        case bytes(ArraySlice<UInt8>)
        case suspended
        case end
    }

    let connection: ConnectionHandle
    private let source: EventSource
    private let core: ServerCore
    private let state = Mutex(State())

    init(_ source: EventSource, _ connection: ConnectionHandle, _ core: ServerCore) {
        (self.source, self.connection, self.core) = (source, connection, core)
        // So that the client sees the stream open, and how soon to come back after an interruption.
        state.withLock { $0.buffer = Array("retry: 2000\n\n".utf8) }
    }

    /// Up to `countMax` bytes; suspends the connection when there are none.
    ///
    /// Called by the connection's thread only.
    func read(_ countMax: Int) -> Read {
        let (result, mustPull) = state.withLock { state -> (Read, Bool) in
            if state.offset < state.buffer.count {
                let end = min(state.buffer.count, state.offset + countMax)
                let bytes = state.buffer[state.offset..<end]
                state.offset = end
                state.lastSent = .now
                return (.bytes(bytes), false)
            }
            (state.buffer, state.offset) = ([], 0)
            if state.isFinished { return (.end, false) }
            connection.suspend()
            state.isSuspended = true
            return (.suspended, Self.claimPull(&state))
        }
        if mustPull { submitPull() }
        return result
    }

    /// Sends a comment when nothing was sent for long; a dead client is found by writing only.
    func beat(every seconds: Double) {
        let mustPull = state.withLock { state -> Bool in
            guard state.isSuspended, state.offset >= state.buffer.count else { return false }
            if ContinuousClock.now - state.lastSent >= .seconds(seconds) {
                state.buffer = Array(": still here\n\n".utf8)
                state.offset = 0
                resume(&state)
                return false
            }
            return Self.claimPull(&state)  // A pull that found no room in the queue before.
        }
        if mustPull { submitPull() }
    }

    /// Ends the stream after what is in the buffer.
    func finish() {
        state.withLock { state in
            state.isFinished = true
            resume(&state)
        }
    }

    /// The library is done with the connection; nothing may touch it again.
    func release() {
        let cancel = state.withLock { state in
            state.isFinished = true
            state.isSuspended = false
            defer { state.cancel = nil }
            return state.cancel
        }
        cancel?()
        core.waiters.remove(self)
    }

    private func wake() {
        let mustPull = state.withLock { state in
            state.needsPull = true
            // While the connection reads its buffer, the reader asks when it is empty.
            return state.isSuspended && Self.claimPull(&state)
        }
        if mustPull { submitPull() }
    }

    private static func claimPull(_ state: inout State) -> Bool {
        guard state.needsPull, !state.isPulling, !state.isFinished else { return false }
        (state.needsPull, state.isPulling) = (false, true)
        return true
    }

    private func submitPull() {
        guard !core.work.submit(for: .waiter, { [self] in pull() }) else { return }
        state.withLock { ($0.isPulling, $0.needsPull) = (false, true) }
    }

    private func pull() {
        let cancel = source.subscribe { [weak self] in self?.wake() }
        let batch: EventBatch
        do {
            batch = try source.pull()
        } catch {
            core.log(.warning, "an event stream ended: \(error)")
            batch = EventBatch([], isLast: true)
        }
        let (stale, mustPull) = state.withLock { state -> ((@Sendable () -> Void)?, Bool) in
            let previous = state.cancel
            state.cancel = cancel
            state.isPulling = false
            if state.buffer.isEmpty { state.buffer = batch.bytes } else { state.buffer += batch.bytes }
            if batch.hasMore { state.needsPull = true }
            if state.isFinished || batch.isLast {
                state.isFinished = true
                state.cancel = nil
                resume(&state)
                return (
                    {
                        previous?(); cancel()
                    }, false
                )
            }
            if !batch.bytes.isEmpty { resume(&state) }
            return (previous, state.isSuspended && Self.claimPull(&state))
        }
        stale?()
        if mustPull { submitPull() }
    }

    private func resume(_ state: inout State) {
        guard state.isSuspended else { return }
        state.isSuspended = false
        connection.resume()
    }
}
