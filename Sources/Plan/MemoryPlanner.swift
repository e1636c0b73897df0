public import Tensor

/// Packs buffers with known lifetimes into one block of memory.
///
/// Greedy by size: the largest buffer first, at the lowest offset where no buffer that lives at the same time
/// lies (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020).
/// Deterministic; O(n²) comparisons of two numbers in the number of buffers.
public struct MemoryPlanner {
    /// Something to place.
    public struct Request: Sendable {
        public let byteCount: Int
        /// First and last step that use it.
        public let lifetime: ClosedRange<Int>

        public init(byteCount: Int, lifetime: ClosedRange<Int>) {
            self.byteCount = byteCount
            self.lifetime = lifetime
        }
    }

    /// One slot for each request, and the end of the furthest.
    public struct Placement: Sendable {
        public let slots: [Slot]
        public let end: Int
    }

    /// Places every request from `base` on.
    ///
    /// - Throws: `PlanError.tooLarge` when the offsets overflow.
    public static func place(_ requests: [Request], from base: Int) throws(PlanError) -> Placement {
        let order = requests.indices.sorted { left, right in
            let (a, b) = (requests[left], requests[right])
            return a.byteCount != b.byteCount ? a.byteCount > b.byteCount : left < right
        }
        var slots = [Slot](repeating: Slot(offset: base, byteCount: 0), count: requests.count)
        // By offset; in columns, because nearly all the time goes into comparing lifetimes.
        var (placed, firsts, lasts): ([Slot], [Int], [Int]) = ([], [], [])
        var end = base
        for index in order {
            let (first, last) = (requests[index].lifetime.lowerBound, requests[index].lifetime.upperBound)
            let size = try aligned(requests[index].byteCount)
            var offset = base
            for other in placed.indices where firsts[other] <= last && first <= lasts[other] {
                if placed[other].offset - offset >= size { break }
                offset = max(offset, placed[other].end)
            }
            let (sum, overflow) = offset.addingReportingOverflow(size)
            guard !overflow else { throw .tooLarge }
            slots[index] = Slot(offset: offset, byteCount: size)
            let place = placed.partitioningIndex { $0.offset > offset }
            placed.insert(slots[index], at: place)
            firsts.insert(first, at: place)
            lasts.insert(last, at: place)
            end = max(end, sum)
        }
        return Placement(slots: slots, end: end)
    }

    /// Rounds up to whole cache lines.
    static func aligned(_ byteCount: Int) throws(PlanError) -> Int {
        let (sum, overflow) = byteCount.addingReportingOverflow(Arena.alignment - 1)
        guard !overflow else { throw .tooLarge }
        return sum / Arena.alignment * Arena.alignment
    }
}

extension Array {
    /// The first index whose element satisfies `condition`, as all behind it do.
    fileprivate func partitioningIndex(_ condition: (Element) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if condition(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
