import Synchronization

/// The clients that wait: long polls and event streams.
final class Waiters: Sendable {
    private struct State {
        var polls: [ObjectIdentifier: (exchange: Exchange, deadline: ContinuousClock.Instant)] = [:]
        var channels: [ObjectIdentifier: EventChannel] = [:]
        var isClosed = false

        var count: Int { polls.count + channels.count }
    }

    private let state = Mutex(State())
    private let countMax: Int
    /// Called with the deadline of each new long poll.
    private let onDeadline: @Sendable (ContinuousClock.Instant) -> Void

    init(countMax: Int, onDeadline: @escaping @Sendable (ContinuousClock.Instant) -> Void) {
        (self.countMax, self.onDeadline) = (countMax, onDeadline)
    }

    /// Lets a long poll wait unless there are too many waiters or the server drains.
    func add(_ exchange: Exchange, until deadline: ContinuousClock.Instant) -> Bool {
        let mayWait = state.withLock { state in
            guard !state.isClosed, state.count < countMax else { return false }
            state.polls[ObjectIdentifier(exchange)] = (exchange, deadline)
            return true
        }
        if mayWait { onDeadline(deadline) }
        return mayWait
    }

    func remove(_ exchange: Exchange) { state.withLock { $0.polls[ObjectIdentifier(exchange)] = nil } }

    /// Lets a stream open unless there are too many waiters or the server drains.
    func add(_ channel: EventChannel) -> Bool {
        state.withLock { state in
            guard !state.isClosed, state.count < countMax else { return false }
            state.channels[ObjectIdentifier(channel)] = channel
            return true
        }
    }

    func remove(_ channel: EventChannel) { state.withLock { $0.channels[ObjectIdentifier(channel)] = nil } }

    var count: Int { state.withLock { $0.count } }
    var channels: [EventChannel] { state.withLock { Array($0.channels.values) } }
    var polls: [(exchange: Exchange, deadline: ContinuousClock.Instant)] {
        state.withLock { Array($0.polls.values) }
    }

    /// Lets nobody wait from now on.
    func close() { state.withLock { $0.isClosed = true } }
}
