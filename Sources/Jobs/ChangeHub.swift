import Synchronization

/// Wakes those who wait for a job to change, each exactly once.
///
/// Subscribe first, then look at the job: a change between the look and the wait then still wakes.
public final class ChangeHub: Sendable {
    /// What to wait for.
    public enum Topic: Hashable, Sendable {
        /// A change of one job, or a new event of it.
        case job(JobID)
        /// A change of any job.
        case anyJob
        /// The end of an attempt to tell a webhook something.
        case webhook(WebhookID)
    }

    private struct State {
        var nextToken: UInt64 = 0
        var waiters: [Topic: [UInt64: @Sendable () -> Void]] = [:]
    }

    private let state = Mutex(State())

    /// A hub that nobody waits at.
    public init() {}

    /// Calls `wake` once, at the next change, on the thread that caused it; `wake` must be quick.
    @discardableResult
    public func subscribe(to topic: Topic, _ wake: @escaping @Sendable () -> Void) -> Subscription {
        state.withLock { state in
            state.nextToken += 1
            state.waiters[topic, default: [:]][state.nextToken] = wake
            return Subscription(hub: self, topic: topic, token: state.nextToken)
        }
    }

    /// Wakes everybody who waits for `id`, or for any job.
    public func notify(_ id: JobID) {
        let woken = state.withLock { state in
            [state.waiters.removeValue(forKey: .job(id)), state.waiters.removeValue(forKey: .anyJob)]
        }
        for waiters in woken { waiters?.values.forEach { $0() } }
    }

    /// Wakes everybody who waits for `topic`.
    public func notify(_ topic: Topic) {
        let woken = state.withLock { $0.waiters.removeValue(forKey: topic) }
        woken?.values.forEach { $0() }
    }

    /// Wakes everybody, because the service shuts down.
    public func notifyAll() {
        let woken = state.withLock { state in
            let all = state.waiters
            state.waiters = [:]
            return all
        }
        for waiters in woken.values { waiters.values.forEach { $0() } }
    }

    /// How many wait, for the gauges.
    public var waiterCount: Int { state.withLock { $0.waiters.values.reduce(0) { $0 + $1.count } } }

    fileprivate func remove(_ topic: Topic, _ token: UInt64) -> Bool {
        state.withLock { state in
            let found = state.waiters[topic]?.removeValue(forKey: token) != nil
            if state.waiters[topic]?.isEmpty == true { state.waiters[topic] = nil }
            return found
        }
    }
}

/// A wait that can be called off.
public struct Subscription: Sendable {
    fileprivate let hub: ChangeHub
    fileprivate let topic: ChangeHub.Topic
    fileprivate let token: UInt64

    /// Calls the wait off.
    ///
    /// - Returns: `true` when `wake` will never be called; `false` when it was, or is being called.
    @discardableResult
    public func cancel() -> Bool { hub.remove(topic, token) }
}
