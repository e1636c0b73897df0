import Glibc

/// State that threads share and wait for changes of: a mutex with one condition.
///
/// `Synchronization` has a mutex but nothing to wait on, so this wraps the two from POSIX. Waits that end do
/// so by the clock that nobody sets.
// Sendable because `state` is touched only while `mutex` is held.
@safe public final class Monitor<State>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var state: State

    /// A monitor of a first state.
    public init(_ state: State) {
        self.state = state
        unsafe mutex = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        unsafe condition = .allocate(capacity: 1)
        unsafe condition.initialize(to: pthread_cond_t())
        unsafe Self.check(pthread_mutex_init(mutex, nil))
        var attributes = pthread_condattr_t()
        unsafe Self.check(pthread_condattr_init(&attributes))
        unsafe Self.check(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC))
        unsafe Self.check(pthread_cond_init(condition, &attributes))
        unsafe Self.check(pthread_condattr_destroy(&attributes))
    }

    deinit {
        _ = unsafe pthread_cond_destroy(condition)
        _ = unsafe pthread_mutex_destroy(mutex)
        unsafe condition.deallocate()
        unsafe mutex.deallocate()
    }

    /// Changes the state and wakes whoever waits for that.
    public func update<R>(_ body: (inout State) -> R) -> R {
        unsafe Self.check(pthread_mutex_lock(mutex))
        defer {
            unsafe Self.check(pthread_cond_broadcast(condition))
            unsafe Self.check(pthread_mutex_unlock(mutex))
        }
        return body(&state)
    }

    /// Looks at the state.
    public func read<R>(_ body: (State) -> R) -> R {
        unsafe Self.check(pthread_mutex_lock(mutex))
        defer { unsafe Self.check(pthread_mutex_unlock(mutex)) }
        return body(state)
    }

    /// Waits until `body` answers, and wakes the others because it may have changed the state.
    ///
    /// - Parameter body: Called under the lock, at once and after every change, until it returns a value.
    /// - Returns: That value, and the nanoseconds spent waiting: 0 when it came at once.
    public func wait<R>(for body: (inout State) -> R?) -> (value: R, nanoseconds: Int64) {
        unsafe Self.check(pthread_mutex_lock(mutex))
        defer {
            unsafe Self.check(pthread_cond_broadcast(condition))
            unsafe Self.check(pthread_mutex_unlock(mutex))
        }
        if let value = body(&state) { return (value, 0) }
        let start = Self.nanoseconds()
        while true {
            unsafe Self.check(pthread_cond_wait(condition, mutex))
            if let value = body(&state) { return (value, Self.nanoseconds() - start) }
        }
    }

    /// Waits until the state is as `isOver` says, at most so many seconds (for ever where they are infinite).
    ///
    /// - Returns: Whether it is.
    @discardableResult
    public func wait(seconds: Double = .infinity, until isOver: (State) -> Bool) -> Bool {
        unsafe Self.check(pthread_mutex_lock(mutex))
        defer { unsafe Self.check(pthread_mutex_unlock(mutex)) }
        var end = timespec()
        if seconds.isFinite {
            // A sum that is no time any more is far enough away.
            let nanoseconds = Int64(min(max(seconds, 0), 1e9) * 1e9)
            let (due, overflow) = Self.nanoseconds().addingReportingOverflow(nanoseconds)
            let limit = overflow ? .max : due
            end = timespec(tv_sec: Int(limit / 1_000_000_000), tv_nsec: Int(limit % 1_000_000_000))
        }
        while !isOver(state) {
            guard seconds.isFinite else {
                unsafe Self.check(pthread_cond_wait(condition, mutex))
                continue
            }
            let status = unsafe pthread_cond_timedwait(condition, mutex, &end)
            if status == ETIMEDOUT { return isOver(state) }
            Self.check(status)
        }
        return true
    }

    private static func nanoseconds() -> Int64 {
        var time = timespec()
        unsafe check(clock_gettime(CLOCK_MONOTONIC, &time))
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// These calls fail only for memory that is not a mutex, which would be our own mistake.
    private static func check(_ status: Int32) {
        precondition(status == 0, "a POSIX thread primitive failed with \(status)")
    }
}
