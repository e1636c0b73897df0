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
