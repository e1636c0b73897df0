/// What is known of those that wait without counting, so that submitting costs the same behind many jobs.
///
/// Belongs to the writer's transactions: one at a time looks and changes.
struct QueueTally {
    private struct Bound {
        let count: Int
        /// How many had joined when it was counted.
        let joined: Int
    }

    /// The jobs that could start, but for cores and memory.
    struct Ready {
        var count: Int
        /// The latest time that was asked for, in milliseconds since 1970.
        var at: Int64
        /// When a back-off ends, and the count does not hold any more.
        let until: Int64
    }

    /// Submitters whose bounds are kept; there are as many as tokens.
    private static let countMax = 1000

    private var joined = 0
    private var bounds: [String?: Bound] = [:]
    /// Known while nothing but submissions was written.
    var ready: Ready?

    /// Notes that a job joined those that wait, or may have.
    mutating func join() { joined += 1 }

    /// Whether fewer than `limit` jobs wait, of one submitter or (nil) in all; `count` counts them.
    ///
    /// Counted when a bound reaches the limit; between, each job that joins is added and none that leaves is
    /// taken off.
    mutating func isBelow(_ limit: Int, of submitter: String?, count: () throws -> Int) rethrows -> Bool {
        if let bound = bounds[submitter], bound.count + joined - bound.joined < limit { return true }
        if bounds.count >= Self.countMax { bounds = [:] }
        let exact = try count()
        bounds[submitter] = Bound(count: exact, joined: joined)
        return exact < limit
    }

    /// Forgets what was counted: a transaction was taken back.
    mutating func forget() { (bounds, ready) = ([:], nil) }
}
