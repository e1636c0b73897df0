import Dispatch
import Synchronization
import Threads

/// A few threads that run what may block, so that connection threads never do.
final class WorkQueue: Sendable {
    /// Who a job is for.
    ///
    /// Waiting clients, who may be many, look in the gaps that requests leave, but for every eighth job, and
    /// have room of their own.
    enum Lane: Int, CaseIterable {
        case request, waiter
    }

    /// Jobs of one lane, first come, first served.
    private struct Line {
        private var jobs: [@Sendable () -> Void] = []
        /// Where the next job is; the front is dropped now and then.
        private var head = 0

        var count: Int { jobs.count - head }

        mutating func append(_ job: @escaping @Sendable () -> Void) { jobs.append(job) }

        mutating func next() -> (@Sendable () -> Void)? {
            guard head < jobs.count else { return nil }
            let job = jobs[head]
            jobs[head] = {}
            head += 1
            if head == jobs.count {
                jobs.removeAll(keepingCapacity: true)
                head = 0
            } else if head >= 1024 {
                jobs.removeFirst(head)
                head = 0
            }
            return job
        }
    }

    private struct State {
        var lines = [Line](repeating: Line(), count: Lane.allCases.count)
        /// Requests taken since a waiter's look was.
        var requestCount = 0
        var isStopped = false
        var runningCount = 0

        mutating func next() -> (@Sendable () -> Void)? {
            let isWaitersTurn = requestCount >= WorkQueue.requestsInTurn
            let order: [Lane] = isWaitersTurn ? [.waiter, .request] : [.request, .waiter]
            for lane in order {
                guard let job = lines[lane.rawValue].next() else { continue }
                requestCount = lane == .request ? requestCount + 1 : 0
                return job
            }
            return nil
        }
    }

    /// So many requests may go before a waiter's look.
    private static let requestsInTurn = 7
    private let state = Mutex(State())
    private let available = DispatchSemaphore(value: 0)
    private let endedCount = Monitor(0)
    private let threadCount: Int
    private let countMax: Int

    /// Starts the threads.
    init(threads threadCount: Int, countMax: Int) {
        (self.threadCount, self.countMax) = (threadCount, countMax)
        for _ in 0..<threadCount {
            startThread { [self] in
                while let job = next() {
                    job()
                    state.withLock { $0.runningCount -= 1 }
                }
                endedCount.update { $0 += 1 }
            }
        }
    }

    /// Hands over a job.
    ///
    /// - Parameters:
    ///   - lane: Who it is for.
    ///   - job: Runs later on one of the threads.
    /// - Returns: Whether it was taken; not when its lane is full or the queue stopped.
    func submit(for lane: Lane = .request, _ job: @escaping @Sendable () -> Void) -> Bool {
        let isTaken = state.withLock { state in
            guard !state.isStopped, state.lines[lane.rawValue].count < countMax else { return false }
            state.lines[lane.rawValue].append(job)
            return true
        }
        if isTaken { available.signal() }
        return isTaken
    }

    /// Whether nothing runs and nothing waits.
    var isIdle: Bool {
        state.withLock { state in state.runningCount == 0 && state.lines.allSatisfy { $0.count == 0 } }
    }

    /// Runs what was taken, then ends the threads; returns when they are gone or `seconds` are over.
    func stop(seconds: Double) {
        state.withLock { $0.isStopped = true }
        for _ in 0..<threadCount { available.signal() }
        endedCount.wait(seconds: seconds) { $0 == threadCount }
    }

    private func next() -> (@Sendable () -> Void)? {
        available.wait()
        return state.withLock { state in
            let job = state.next()
            if job != nil { state.runningCount += 1 }
            return job
        }
    }
}
