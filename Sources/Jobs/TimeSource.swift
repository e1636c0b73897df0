import Glibc
public import Threads

/// Where the service reads the time and waits; passed in, so that tests need no sleeps.
public protocol TimeSource: Sendable {
    /// The wall clock. May jump.
    func now() -> Timestamp
    /// Nanoseconds on a clock that never jumps and goes on while the machine sleeps.
    func monotonicNanoseconds() -> UInt64
    /// Blocks until `bell` has rung since `ring` was read, or until the monotonic `deadline` (nanoseconds).
    func wait(for bell: Bell, after ring: UInt64, until deadline: UInt64)
}

extension TimeSource {
    /// Blocks until `condition` holds, looking again whenever `bell` rings, or until the time is over.
    ///
    /// - Returns: Whether it holds.
    @discardableResult
    func wait(for bell: Bell, milliseconds: UInt64, until condition: () -> Bool) -> Bool {
        let deadline = monotonicNanoseconds() + milliseconds * 1_000_000
        while true {
            let ring = bell.ring
            if condition() { return true }
            if monotonicNanoseconds() >= deadline { return false }
            wait(for: bell, after: ring, until: deadline)
        }
    }
}

/// The machine's own clocks.
public struct SystemTime: TimeSource {
    /// The machine's own clocks.
    public init() {}

    /// The wall clock of the machine.
    public func now() -> Timestamp {
        let time = Self.read(CLOCK_REALTIME)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }

    /// Nanoseconds since the machine started.
    public func monotonicNanoseconds() -> UInt64 {
        let time = Self.read(CLOCK_BOOTTIME)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Blocks the calling thread in the kernel.
    public func wait(for bell: Bell, after ring: UInt64, until deadline: UInt64) {
        let now = monotonicNanoseconds()
        guard deadline > now else { return }
        bell.wait(after: ring, nanoseconds: deadline - now)
    }

    private static func read(_ clock: clockid_t) -> timespec {
        var time = timespec()
        let status = unsafe clock_gettime(clock, &time)
        precondition(status == 0, "the clock \(clock) does not exist")
        return time
    }
}
