import Synchronization
import Threads

extension WorkerPool {
    /// Whether the pool takes no new work.
    public var isDraining: Bool { state.withLock { $0.isDraining } }

    /// Asks running jobs to write a checkpoint and stop, and waits for them.
    ///
    /// Jobs that do not stop in time are put back into the queue all the same; their lease is void.
    ///
    /// - Returns: Whether all stopped by themselves.
    @discardableResult
    public func drain(milliseconds: UInt64) -> Bool {
        state.withLock { state in
            state.isDraining = true
            state.running.values.forEach { $0.control.raise(.drain) }
        }
        work.strike()
        let haveStopped = time.wait(for: work, milliseconds: milliseconds) {
            state.withLock { $0.running.isEmpty && !$0.isClaiming }
        }
        if !haveStopped {
            // A claim that is under way ends first; nobody waits for what it or others run again.
            claiming.withLock { _ in }
            let left = state.withLock { state in
                defer { state.running = [:] }
                return Array(state.running.values)
            }
            left.forEach(abandon)
        }
        return haveStopped
    }

    /// Ends the threads and waits for them, at most as long as given.
    ///
    /// Drains as well: a job that still runs is told so, but nobody takes it back if it does not listen.
    public func stop(milliseconds: UInt64) {
        state.withLock { state in
            state.isDraining = true
            state.isStopping = true
            state.running.values.forEach { $0.control.raise(.drain) }
        }
        work.strike()
        pulse.strike()
        time.wait(for: work, milliseconds: milliseconds) { state.withLock { $0.threadsAlive } <= 0 }
    }

    private func abandon(_ run: Run) {
        run.recorder.lose()
        attempt { () throws(JobError) in try jobs.finish(run.lease, .yielded, at: time.now()) }
    }
}
