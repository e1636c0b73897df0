/// Wakes threads that wait for something to happen.
///
/// Read `ring` before looking whether there is work; a ring between the look and the wait is then
/// never missed.
public final class Bell: Sendable {
    private let count = Monitor<UInt64>(0)

    /// A bell that has not rung.
    public init() {}

    /// How often the bell has rung.
    public var ring: UInt64 { count.read { $0 } }

    /// Wakes every waiting thread.
    public func strike() { count.update { $0 &+= 1 } }

    /// Blocks until the bell has rung since `ring`.
    public func wait(after ring: UInt64) {
        count.wait(seconds: .infinity) { $0 != ring }
    }

    /// Blocks until the bell has rung since `ring`, or for so many nanoseconds.
    public func wait(after ring: UInt64, nanoseconds: UInt64) {
        count.wait(seconds: Double(nanoseconds) / 1e9) { $0 != ring }
    }
}
