import Synchronization

extension WorkerPool {
    /// What the pool holds and has left, for the system page and the gauges.
    public struct Occupancy: Sendable, Equatable {
        /// All there is.
        public let total: Budget
        /// What no job holds.
        public let free: Budget
        /// The jobs that run here.
        public let running: [JobID]
        /// How many can run at once.
        public let workers: Int
    }

    /// What the pool holds at the moment.
    public var occupancy: Occupancy {
        state.withLock { state in
            Occupancy(
                total: configuration.budget, free: free(state), running: state.running.keys.sorted(),
                workers: configuration.workers)
        }
    }

    /// What a job waits for: a queued one for its turn, a running one for room on the disk; `nil` when
    /// it does not wait.
    public func explain(_ job: Job) -> WaitingFor? {
        guard job.state == .queued else { return job.state.isHeld ? explainHold(of: job.id) : nil }
        if job.unfinishedDependencies > 0 {
            return WaitingFor(
                code: "dependencies", message: "Waits for \(job.unfinishedDependencies) job(s) to succeed.",
                jobs: job.dependencies)
        }
        let waitMilliseconds = job.runAt.milliseconds - time.now().milliseconds
        if waitMilliseconds > 0 {
            let seconds = (waitMilliseconds + 999) / 1000
            return WaitingFor(code: "backoff", message: "Is tried again in \(seconds) s.")
        }
        if let shortage = configuration.shortage() {
            return WaitingFor(code: "disk", message: shortage.description)
        }
        return state.withLock { explainCapacity(of: job, $0) }
    }

    /// Whether a job that runs waits for room on the disk; `nil` when that cannot be told without waiting.
    public func isHeldUp(_ id: JobID) -> Bool? {
        state.withLockIfAvailable { $0.running[id]?.recorder.isHeldUp ?? false }
    }

    private func explainHold(of id: JobID) -> WaitingFor? {
        guard let run = state.withLock({ $0.running[id] }), run.recorder.isHeldUp else { return nil }
        return WaitingFor(
            code: "disk", message: "The disk is full; the job goes on by itself when there is room.")
    }

    private func explainCapacity(of job: Job, _ state: borrowing State) -> WaitingFor {
        let (total, free) = (configuration.budget, free(state))
        if state.isDraining { return WaitingFor(code: "drain", message: "The service is shutting down.") }
        if job.threads > total.threads || job.memoryBytes > total.memoryBytes {
            return WaitingFor(
                code: "capacity",
                message: "Needs \(job.threads) thread(s) and \(job.memoryBytes) bytes; this service has "
                    + "\(total.threads) and \(total.memoryBytes).")
        }
        if job.isSuspect, !state.running.isEmpty {
            return WaitingFor(
                code: "exclusive",
                message: "Ran when the service crashed, so it runs alone once nothing else does.")
        }
        if state.running.values.contains(where: \.job.isSuspect) {
            return WaitingFor(
                code: "exclusive",
                message: "Waits for a job that runs alone because it ran when the service crashed.")
        }
        if job.memoryBytes > free.memoryBytes {
            return WaitingFor(
                code: "memory", message: "Needs \(job.memoryBytes) bytes; \(free.memoryBytes) are free.")
        }
        if job.threads > free.threads {
            return WaitingFor(
                code: "threads", message: "Needs \(job.threads) thread(s); \(free.threads) are free.")
        }
        if state.running.count >= configuration.workers {
            return WaitingFor(code: "worker", message: "All \(configuration.workers) worker(s) are busy.")
        }
        return WaitingFor(code: "turn", message: "Other jobs go first.")
    }
}
