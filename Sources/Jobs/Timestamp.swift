/// A point of wall-clock time, in milliseconds since 1970 (UTC).
///
/// For display, and for `run_at`; durations and leases are measured on the monotonic clock.
public struct Timestamp: Hashable, Comparable, Sendable {
    /// Milliseconds since 1970.
    public let milliseconds: Int64

    /// A time given in milliseconds since 1970.
    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    /// Seconds since 1970, as the API writes times.
    public var seconds: Double { Double(milliseconds) / 1000 }

    /// The time `milliseconds` later, at most the last one that can be written.
    public func adding(milliseconds delta: Int64) -> Timestamp {
        let (sum, overflow) = milliseconds.addingReportingOverflow(delta)
        return Timestamp(milliseconds: overflow ? (delta < 0 ? .min : .max) : sum)
    }

    /// Orders by time.
    public static func < (left: Self, right: Self) -> Bool { left.milliseconds < right.milliseconds }
}
