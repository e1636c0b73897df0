import Synchronization

/// A bucket of tokens for each caller, so that no one keeps the store busy alone.
///
/// A request takes one; they come back at a steady rate, up to as many as the bucket holds.
final class WriteLimiter: Sendable {
    private struct Bucket {
        var tokens: Double
        var filledAt: ContinuousClock.Instant
    }

    /// Callers beyond this many push out those whose buckets are full.
    private static let callerCountMax = 1024
    private let perSecond: Double
    private let burst: Double
    private let buckets = Mutex<[String: Bucket]>([:])

    /// Makes a limiter; none limits where `perSecond` is 0.
    init(perSecond: Double, burst: Int) { (self.perSecond, self.burst) = (perSecond, Double(max(1, burst))) }

    /// Takes a token.
    ///
    /// - Parameters:
    ///   - caller: Whose bucket.
    ///   - now: The time.
    /// - Returns: Seconds until there will be one, when there is none now.
    func take(_ caller: String, at now: ContinuousClock.Instant) -> Double? {
        guard perSecond > 0 else { return nil }
        return buckets.withLock { buckets in
            var bucket = buckets[caller] ?? Bucket(tokens: burst, filledAt: now)
            bucket.tokens = level(of: bucket, at: now)
            bucket.filledAt = now
            let wait = bucket.tokens < 1 ? (1 - bucket.tokens) / perSecond : nil
            if wait == nil { bucket.tokens -= 1 }
            buckets[caller] = bucket
            if buckets.count > Self.callerCountMax {
                buckets = buckets.filter { level(of: $0.value, at: now) < burst }
            }
            return wait
        }
    }

    private func level(of bucket: Bucket, at now: ContinuousClock.Instant) -> Double {
        min(burst, bucket.tokens + (now - bucket.filledAt) / .seconds(1) * perSecond)
    }
}
