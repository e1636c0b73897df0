import Dispatch
import Synchronization

/// A few threads that run what may block, so that connection threads never do.
final class WorkQueue: Sendable {
    private struct State {
        var jobs: [@Sendable () -> Void] = []
        /// Where the next job is; the front is dropped now and then.
        var head = 0
        var isStopped = false
        var runningCount = 0
    }

    private let state = Mutex(State())
    private let available = DispatchSemaphore(value: 0)
    private let ended = DispatchSemaphore(value: 0)
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
                ended.signal()
            }
        }
    }

    /// Hands over a job.
    ///
    /// - Parameter job: Runs later on one of the threads.
    /// - Returns: Whether it was taken; not when the queue is full or stopped.
    func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
        let isTaken = state.withLock { state in
            guard !state.isStopped, state.jobs.count - state.head < countMax else { return false }
            state.jobs.append(job)
            return true
        }
        if isTaken { available.signal() }
        return isTaken
    }

    /// Whether nothing runs and nothing waits.
    var isIdle: Bool { state.withLock { $0.runningCount == 0 && $0.head == $0.jobs.count } }

    /// Runs what was taken, then ends the threads; returns when they are gone or `seconds` are over.
    func stop(seconds: Double) {
        state.withLock { $0.isStopped = true }
        for _ in 0..<threadCount { available.signal() }
        let deadline = DispatchTime.now() + seconds
        for _ in 0..<threadCount where ended.wait(timeout: deadline) == .timedOut { return }
    }

    private func next() -> (@Sendable () -> Void)? {
        available.wait()
        return state.withLock { state in
            guard state.head < state.jobs.count else { return nil }
            let job = state.jobs[state.head]
            state.jobs[state.head] = {}
            state.head += 1
            if state.head == state.jobs.count {
                state.jobs.removeAll(keepingCapacity: true)
                state.head = 0
            } else if state.head >= 1024 {
                state.jobs.removeFirst(state.head)
                state.head = 0
            }
            state.runningCount += 1
            return job
        }
    }
}
