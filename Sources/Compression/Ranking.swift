/// Pieces in the order in which they go: what went before, then ascending scores, ties by index.
struct Ranking {
    /// A score's place in the order in the high half, the piece's index in the low half.
    private let entries: [UInt64]
    /// How many went before.
    let prunedCount: Int

    /// The most pieces that can be told apart.
    static let countMax = Int(UInt32.max)

    /// Ranks scores; a piece whose `isKept` is 0 never comes back.
    init(_ scores: [Float], isKept: [UInt8]?) {
        precondition(scores.count <= Self.countMax, "\(scores.count) pieces to rank")
        var entries = [UInt64](repeating: 0, count: scores.count)
        var prunedCount = 0
        for (index, score) in scores.enumerated() {
            let isPruned = isKept.map { $0[index] == 0 } ?? false
            if isPruned { prunedCount += 1 }
            entries[index] = UInt64(isPruned ? 0 : Self.key(score)) << 32 | UInt64(index)
        }
        entries.sort()
        self.entries = entries
        self.prunedCount = prunedCount
    }

    var count: Int { entries.count }

    /// The indices of the first pieces to go.
    func first(_ count: Int) -> some Sequence<Int> {
        entries.prefix(count).lazy.map { Int(truncatingIfNeeded: $0 & 0xFFFF_FFFF) }
    }

    /// How many pieces have a key of at most `key`.
    func count(upTo key: UInt32) -> Int {
        let bound = UInt64(key) << 32 | 0xFFFF_FFFF
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle] <= bound { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The order of the scores as unsigned numbers above 0; what is no number comes last.
    static func key(_ score: Float) -> UInt32 {
        if score.isNaN { return .max }
        // -0 equals 0, so that both get the same key.
        let bits = (score + 0).bitPattern
        return bits >> 31 == 1 ? ~bits : bits | 0x8000_0000
    }
}

/// Choosing among several rankings together.
enum JointRanking {
    /// How many pieces go of each ranking, so that `total` go which come first of all.
    ///
    /// Ties between rankings are broken by their order, then by index. Of ranking i at least `least[i]` and
    /// at most `most[i]` go; nil when that makes `total` impossible.
    static func counts(
        _ rankings: [Ranking], total: Int, least: [Int], most: [Int]
    ) -> [Int]? {
        guard least.reduce(0, +) <= total, total <= most.reduce(0, +) else { return nil }
        func counts(upTo key: UInt32) -> [Int] {
            rankings.indices.map { min(most[$0], max(least[$0], rankings[$0].count(upTo: key))) }
        }
        // The least key up to which enough go.
        var (low, high) = (UInt32.min, UInt32.max)
        while low < high {
            let middle = low + (high - low) / 2
            if counts(upTo: middle).reduce(0, +) >= total { high = middle } else { low = middle + 1 }
        }
        let upper = counts(upTo: low)
        var result = low == 0 ? least : counts(upTo: low - 1)
        var missing = total - result.reduce(0, +)
        for index in result.indices where missing > 0 {
            let added = min(missing, upper[index] - result[index])
            result[index] += added
            missing -= added
        }
        return result
    }
}
