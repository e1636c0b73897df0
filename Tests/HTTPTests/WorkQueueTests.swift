import Dispatch
import Synchronization
import Testing

@testable import HTTP

@Suite("Work that may block") struct WorkQueueTests {
    /// Runs jobs behind one that holds the only thread until all were handed over.
    private func order(_ lanes: [(WorkQueue.Lane, Int)], countMax: Int) -> (ran: [String], refused: [String])
    {
        let (queue, gate) = (WorkQueue(threads: 1, countMax: countMax), DispatchSemaphore(value: 0))
        let started = DispatchSemaphore(value: 0)
        let ran = Mutex<[String]>([])
        _ = queue.submit {
            started.signal()
            gate.wait()
        }
        started.wait()
        var refused: [String] = []
        for (lane, count) in lanes {
            for index in 0..<count {
                let name = "\(lane)\(index)"
                if !queue.submit(for: lane, { ran.withLock { $0.append(name) } }) { refused.append(name) }
            }
        }
        gate.signal()
        queue.stop(seconds: 60)
        return (ran.withLock { $0 }, refused)
    }

    @Test("is done for requests before clients look who wait, but for every eighth job")
    func lanes() {
        let (ran, refused) = order([(.waiter, 3), (.request, 9)], countMax: 100)
        // The job in front was a request.
        #expect(
            ran == (0..<6).map { "request\($0)" } + ["waiter0"] + (6..<9).map { "request\($0)" }
                + ["waiter1", "waiter2"])
        #expect(refused.isEmpty)
    }

    @Test("has room for requests, however many clients wait")
    func room() {
        let (ran, refused) = order([(.waiter, 6), (.request, 5)], countMax: 4)
        #expect(refused == ["waiter4", "waiter5", "request4"])
        #expect(ran.count == 8)
    }
}
