public import Tensor

/// Packs buffers with known lifetimes into one block of memory.
///
/// Greedy by size: the largest buffer first, at the lowest offset where no buffer that lives at the same time
/// lies (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020).
/// Deterministic; O(n²) in the number of buffers.
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
        var slots = [Slot?](repeating: nil, count: requests.count)
        var end = base
        for index in order {
            let request = requests[index]
            let alive = order.compactMap { other -> Slot? in
                guard let slot = slots[other], requests[other].lifetime.overlaps(request.lifetime) else {
                    return nil
                }
                return slot
            }.sorted { $0.offset < $1.offset }
            let size = try aligned(request.byteCount)
            var offset = base
            for slot in alive {
                if slot.offset - offset >= size { break }
                offset = max(offset, slot.end)
            }
            let (sum, overflow) = offset.addingReportingOverflow(size)
            guard !overflow else { throw .tooLarge }
            slots[index] = Slot(offset: offset, byteCount: size)
            end = max(end, sum)
        }
        return Placement(slots: slots.compactMap { $0 }, end: end)
    }

    /// Rounds up to whole cache lines.
    static func aligned(_ byteCount: Int) throws(PlanError) -> Int {
        let (sum, overflow) = byteCount.addingReportingOverflow(Arena.alignment - 1)
        guard !overflow else { throw .tooLarge }
        return sum / Arena.alignment * Arena.alignment
    }
}
