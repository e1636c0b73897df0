import Glibc
import Waiting

/// Where the service reads the time and waits; passed in, so that tests need no sleeps.
public protocol TimeSource: Sendable {
    /// The wall clock. May jump.
    func now() -> Timestamp
    /// Nanoseconds on a clock that never jumps and goes on while the machine sleeps.
    func monotonicNanoseconds() -> UInt64
    /// Blocks until `bell` has rung since `ring` was read, or until the monotonic `deadline` (nanoseconds).
    func wait(for bell: Bell, after ring: UInt64, until deadline: UInt64)
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
        bell.wait(after: ring, seconds: Double(deadline - now) / 1e9)
    }

    private static func read(_ clock: clockid_t) -> timespec {
        var time = timespec()
        let status = unsafe clock_gettime(clock, &time)
        precondition(status == 0, "the clock \(clock) does not exist")
        return time
    }
}

/// Wakes threads that wait for something to happen.
///
/// Read `ring` before looking whether there is work; a ring between the look and the wait is then
/// never missed.
public final class Bell: Sendable {
    private let rings = Monitor<UInt64>(0)

    /// A bell that has not rung.
    public init() {}

    /// How often the bell has rung.
    public var ring: UInt64 { rings.read { $0 } }

    /// Wakes every waiting thread.
    public func strike() { rings.update { $0 &+= 1 } }

    /// Blocks until the bell has rung since `ring`, at most so many seconds.
    public func wait(after ring: UInt64, seconds: Double = .infinity) {
        rings.wait(seconds: seconds) { $0 != ring }
    }
}
