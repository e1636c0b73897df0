import Testing

@testable import FailPoints

@Suite("A fail-point") struct FailPointTests {
    @Test("is armed by its name and a count, and by nothing else")
    func ordersAreRead() {
        for place in FailPoint.allCases {
            let trap = Trap("\(place.rawValue):3")
            #expect(trap?.place == place)
            #expect(trap?.count == 3)
        }
        for order in [
            "", "after_claim", "after_claim:", "after_claim:0", "after_claim:-1", "no_such_place:1",
            "after_claim:1:1", "after_claim:one",
        ] {
            #expect(Trap(order) == nil, "\(order)")
        }
    }

    @Test("ends the process once, the time it was told to, and at its own place alone")
    func countsItsOwnPlace() throws {
        let trap = try #require(Trap("after_claim:3"))
        let due = [FailPoint.afterClaim, .eventAppend, .afterClaim, .afterClaim, .afterClaim]
        #expect(due.map { trap.isDue(at: $0) } == [false, false, false, true, false])
    }
}
