import Testing
import Threads

@Suite("A monitor") struct MonitorTests {
    @Test("ends a wait when its time is over, and not before") func waitsNoLonger() {
        let monitor = Monitor(0)
        let began = ContinuousClock.now
        #expect(!monitor.wait(seconds: 0.05) { $0 > 0 })
        #expect(ContinuousClock.now - began >= .milliseconds(50))
        #expect(!monitor.wait(seconds: -1) { $0 > 0 }, "a time that is over is no wait")
        #expect(!monitor.wait(seconds: 0) { $0 > 0 })
        #expect(monitor.wait(seconds: 0) { $0 == 0 }, "what holds already needs no time")
    }

    @Test("wakes who waits without an end, or with one far away", arguments: [.infinity, 1e300])
    func wakesAtAChange(seconds: Double) async {
        let monitor = Monitor(0)
        let waiter = Task.detached { monitor.wait(seconds: seconds) { $0 == 3 } }
        for _ in 0..<3 { monitor.update { $0 += 1 } }
        #expect(await waiter.value)
    }

    @Test("hands what it waits for to one of many") func handsOver() async {
        let monitor = Monitor(0)
        let takers = (0..<8).map { _ in
            Task.detached {
                monitor.wait(for: { (state: inout Int) -> Int? in
                    guard state > 0 else { return nil }
                    state -= 1
                    return 1
                }).value
            }
        }
        for _ in 0..<8 { monitor.update { $0 += 1 } }
        var taken = 0
        for taker in takers { taken += await taker.value }
        #expect(taken == 8)
        #expect(monitor.read { $0 } == 0)
    }
}
