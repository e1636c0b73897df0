import Plan
import Tensor
import Testing

@Suite("MemoryPlanner") struct MemoryPlannerTests {
    static func requests(seed: UInt64) -> [MemoryPlanner.Request] {
        var random = CounterRandom(seed: seed, purpose: .test)
        return (0..<Int(1 + random.below(60))).map { _ in
            let first = Int(random.below(40))
            return MemoryPlanner.Request(
                byteCount: Int(random.below(5000)), lifetime: first...(first + Int(random.below(12))))
        }
    }

    @Test("never lets buffers that live at the same time share a byte", arguments: 0..<200 as Range<UInt64>)
    func livesApart(seed: UInt64) throws {
        let requests = Self.requests(seed: seed)
        let base = 128
        let placement = try MemoryPlanner.place(requests, from: base)
        for (i, slot) in placement.slots.enumerated() {
            #expect(slot.offset >= base && slot.offset % Arena.alignment == 0)
            #expect(slot.byteCount >= requests[i].byteCount && slot.end <= placement.end)
            for j in 0..<i where requests[i].lifetime.overlaps(requests[j].lifetime) {
                let other = placement.slots[j]
                #expect(slot.end <= other.offset || other.end <= slot.offset, "\(i) and \(j) overlap")
            }
        }
    }

    /// The algorithm as it is defined: each time all that is placed and lives then, by offset.
    static func placeSimply(_ requests: [MemoryPlanner.Request], from base: Int) -> [Slot] {
        let order = requests.indices.sorted { left, right in
            let (a, b) = (requests[left].byteCount, requests[right].byteCount)
            return a != b ? a > b : left < right
        }
        var slots: [Int: Slot] = [:]
        for index in order {
            let alive = slots.filter { requests[$0.key].lifetime.overlaps(requests[index].lifetime) }
            let size = (requests[index].byteCount + Arena.alignment - 1) / Arena.alignment * Arena.alignment
            var offset = base
            for slot in alive.values.sorted(by: { $0.offset < $1.offset }) {
                if slot.offset - offset >= size { break }
                offset = max(offset, slot.end)
            }
            slots[index] = Slot(offset: offset, byteCount: size)
        }
        return requests.indices.compactMap { slots[$0] }
    }

    @Test("places each buffer where the definition does", arguments: 0..<200 as Range<UInt64>)
    func equalsDefinition(seed: UInt64) throws {
        let requests = Self.requests(seed: seed)
        let placement = try MemoryPlanner.place(requests, from: 192)
        #expect(placement.slots == Self.placeSimply(requests, from: 192))
        #expect(placement.end == max(192, placement.slots.map(\.end).max() ?? 192))
    }

    @Test("takes no more than the busiest moment when lifetimes nest")
    func reusesMemory() throws {
        let chain = (0..<50).map { MemoryPlanner.Request(byteCount: 640, lifetime: $0...($0 + 1)) }
        #expect(try MemoryPlanner.place(chain, from: 0).end == 1280)
    }

    @Test("refuses sizes that overflow instead of trapping")
    func overflow() {
        let huge = MemoryPlanner.Request(byteCount: Int.max - 10, lifetime: 0...1)
        #expect(throws: PlanError.self) { try MemoryPlanner.place([huge], from: 0) }
        let half = MemoryPlanner.Request(byteCount: Int.max / 2 + 64, lifetime: 0...1)
        #expect(throws: PlanError.self) { try MemoryPlanner.place([half, half], from: 0) }
    }
}
