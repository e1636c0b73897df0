import Testing

@testable import Threads

@Suite("A bell", .timeLimit(.minutes(15))) struct BellTests {
    @Test("a ring between the look and the wait is not missed") func missesNothing() {
        let bell = Bell()
        let ring = bell.ring
        bell.strike()
        bell.wait(after: ring)
        #expect(bell.ring == ring + 1)
    }

    @Test("a wait ends with its time", arguments: [0, 1_000_000, 30_000_000] as [UInt64])
    func ends(after nanoseconds: UInt64) {
        let bell = Bell()
        let start = ContinuousClock.now
        bell.wait(after: bell.ring, nanoseconds: nanoseconds)
        #expect(ContinuousClock.now - start >= .nanoseconds(Int64(nanoseconds)))
    }

    @Test("it wakes all who wait, also those who would wait for ever") func wakesAll() throws {
        let (bell, woken) = (Bell(), Monitor(0))
        let ring = bell.ring
        for index in 0..<8 {
            try BackgroundThread.start {
                if index.isMultiple(of: 2) {
                    bell.wait(after: ring)
                } else {
                    bell.wait(after: ring, nanoseconds: .max)
                }
                woken.update { $0 += 1 }
            }
        }
        #expect(!woken.wait(seconds: 0.02) { $0 > 0 })
        bell.strike()
        #expect(woken.wait(seconds: 30) { $0 == 8 })
    }
}
