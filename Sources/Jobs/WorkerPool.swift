import FailPoints
import JSON
import Synchronization
import Threads

/// The threads that run jobs, within a budget of cores and memory.
///
/// Each worker claims a job, runs it and stores how it ended. One further thread, the pulse, extends
/// the leases and stores what running jobs report.
public final class WorkerPool: Sendable {
    /// How a pool works.
    public struct Configuration: Sendable {
        /// How many jobs may run at once.
        public var workers: Int
        /// What all running jobs together may take.
        public var budget: Budget
        /// Names this run of the process; another run takes back what this one leaves.
        public var bootID: String
        /// A lease that is not extended for so long ends.
        public var leaseMilliseconds: UInt64 = 30_000
        /// How often leases are extended.
        public var heartbeatMilliseconds: UInt64 = 5_000
        /// How often reports are stored.
        public var reportMilliseconds: UInt64 = 1_000
        /// An idle worker looks for work at least this often.
        public var idleMilliseconds: UInt64 = 60_000
        /// What to do about attempts that stand still; `nil`: nothing.
        public var hangs: HangPolicy?
        /// Tells when the disk has too little room for new work.
        public var shortage: @Sendable () -> DiskShortage? = { nil }
        /// Takes what an operator should read; called from the pool's threads.
        public var log: @Sendable (_ message: String, _ error: JobError) -> Void = { _, _ in }
        /// Told of each attempt, when it begins and when it has ended.
        public var tell: @Sendable (AttemptNote) -> Void = { _ in }

        /// The figures that a service uses.
        public init(workers: Int, budget: Budget, bootID: String) {
            (self.workers, self.budget, self.bootID) = (max(1, workers), budget, bootID)
        }
    }

    struct Run {
        let job: Job
        let worker: String
        let lease: Lease
        let control: JobControl
        let recorder: RunRecorder
    }

    struct State {
        var running: [JobID: Run] = [:]
        /// Whether a worker is claiming a job: others may see that it runs, and it is not among `running`.
        var isClaiming = false
        /// What was raised meanwhile for jobs that did not run here yet.
        var early: [(id: JobID, signal: JobSignal)] = []
        var isDraining = false
        var isStopping = false
        var threadsAlive = 0
    }

    /// The last line of the log, so that an error that stays is not told every second.
    struct Complaint {
        var error: JobError?
        var nanoseconds: UInt64 = 0
    }

    /// What the pool works with.
    public let configuration: Configuration
    let jobs: any JobRepository
    let hub: ChangeHub
    let time: any TimeSource
    /// Held for moments alone: whoever asks what a job waits for takes it.
    let state = Mutex(State())
    /// Held while a job is claimed, which waits for the disk: the budget cannot be spent twice.
    let claiming = Mutex(())
    /// Struck when there may be work, room, or a reason to stop.
    let work = Bell()
    /// Struck when reports wait or a run began.
    let pulse = Bell()
    private let complaint = Mutex(Complaint())
    let attempts = Mutex<[AttemptKey: AttemptTotals]>([:])
    private let executor: any JobExecutor

    /// A pool whose threads do not run yet.
    public init(
        _ configuration: Configuration, jobs: any JobRepository, executor: any JobExecutor, hub: ChangeHub,
        time: any TimeSource = SystemTime()
    ) {
        (self.configuration, self.jobs, self.executor) = (configuration, jobs, executor)
        (self.hub, self.time) = (hub, time)
    }

    /// Starts the threads; call once, after `JobRepository.recover`.
    public func start() {
        state.withLock { $0.threadsAlive = configuration.workers + 1 }
        for index in 0..<configuration.workers {
            WorkerThread.start("worker-\(index)") { [self] in
                workUntilStopped("worker-\(index)")
                leave()
            }
        }
        let drift = WallClockDrift(time)
        WorkerThread.start("pulse") { [self] in
            beatUntilStopped(drift)
            leave()
        }
    }

    /// Tells idle workers that there may be work.
    public func wake() { work.strike() }

    /// Raises a signal for a job, if it runs here.
    public func signal(_ signal: JobSignal, to id: JobID) {
        state.withLock { state in
            if let run = state.running[id] {
                run.control.raise(signal)
            } else if state.isClaiming {
                state.early.append((id, signal))
            }
        }
    }

    // MARK: Working

    private func workUntilStopped(_ name: String) {
        while true {
            let ring = work.ring
            if state.withLock({ $0.isStopping }) { return }
            // Read before the claim: a job that falls due during the claim must not be slept through.
            let (now, monotonic) = (time.now(), time.monotonicNanoseconds())
            if let (claim, run) = claim(as: name) {
                perform(claim, run)
            } else {
                // Nobody strikes a bell when a disk has room again.
                let isShort = configuration.shortage() != nil
                let pause = isShort ? RunRecorder.roomMilliseconds : millisecondsToNextLook(from: now)
                time.wait(for: work, after: ring, until: monotonic + pause * 1_000_000)
            }
        }
    }

    /// Claims one job at a time; what is raised for it meanwhile reaches its run.
    private func claim(as worker: String) -> (ClaimedJob, Run)? {
        claiming.withLock { _ in
            guard configuration.shortage() == nil, let request = beginClaim(as: worker) else { return nil }
            let claim = attempt { () throws(JobError) in try jobs.claimNext(request) } ?? nil
            let begun = claim.map { claim in
                FailPoint.afterClaim.pass()
                let control = JobControl(threads: claim.job.threads)
                let recorder = RunRecorder(
                    lease: claim.lease, jobs: jobs, control: control, time: time, hub: hub, pulse: pulse)
                let run = Run(
                    job: claim.job, worker: worker, lease: claim.lease, control: control, recorder: recorder)
                return (claim, run)
            }
            endClaim(begun?.1)
            return begun
        }
    }

    /// What may be claimed; nil where nothing is to be.
    private func beginClaim(as worker: String) -> ClaimRequest? {
        state.withLock { state in
            guard !state.isDraining, !state.isStopping else { return nil }
            let free = free(state)
            // Each job takes a thread: without one there is nothing to look for in the queue.
            guard free.threads > 0, !state.running.values.contains(where: \.job.isSuspect) else { return nil }
            state.isClaiming = true
            let lease = configuration.leaseMilliseconds * 1_000_000
            return ClaimRequest(
                worker: worker, bootID: configuration.bootID, free: free, total: configuration.budget,
                isIdle: state.running.isEmpty, now: time.now(),
                leaseDeadline: time.monotonicNanoseconds() + lease)
        }
    }

    private func endClaim(_ run: Run?) {
        let isAwaited = state.withLock { state in
            if let run {
                state.running[run.job.id] = run
                for (id, signal) in state.early where id == run.job.id { run.control.raise(signal) }
                if state.isDraining { run.control.raise(.drain) }
            }
            (state.isClaiming, state.early) = (false, [])
            return state.isDraining
        }
        if isAwaited { work.strike() }
    }

    private func perform(_ claim: ClaimedJob, _ run: Run) {
        let id = claim.job.id
        hub.notify(id)
        pulse.strike()
        configuration.tell(AttemptNote(job: claim.job, outcome: nil, failure: nil))
        let began = time.monotonicNanoseconds()
        let outcome = executor.run(claim, control: run.control, sink: run.recorder)
        let end = finish(run, outcome)
        executor.settle(claim, outcome, end)
        count(run, outcome, nanoseconds: time.monotonicNanoseconds() - began)
        state.withLock { state in
            // Since its end was stored another worker may have claimed the job anew.
            if state.running[id]?.lease == run.lease { state.running.removeValue(forKey: id) }
        }
        work.strike()
    }

    /// Stores the end of an attempt, however long the store takes to accept it.
    ///
    /// What the store will never accept ends the attempt as failed.
    private func finish(_ run: Run, _ outcome: JobOutcome) -> AttemptEnd {
        // What a call that failed has stored cannot be told from what another worker did.
        var hasFailed = false
        while true {
            let ring = work.ring
            let wasRefused = run.recorder.isRefused
            do {
                try run.recorder.flush()
                let end = run.recorder.isRefused ? .failed(Self.refusal) : outcome
                let change = try self.end(run, with: end, hasFailed: &hasFailed)
                FailPoint.afterFinishCommit.pass()
                run.recorder.lose()
                hub.notify(run.job.id)
                change?.dependants.forEach { hub.notify($0) }
                return change.map { .stored($0.job.state) } ?? (hasFailed ? .unknown : .void)
            } catch is LeaseLost {
                return hasFailed ? .unknown : .void
            } catch {
                complain("the end of \(run.job.id) could not be stored", error)
                if case JobError.storeRefused = error {
                    // Should even the failure be refused, the job is taken back when its lease ends.
                    if wasRefused { return .unknown }
                    run.recorder.refuse()
                    continue
                }
                // Nothing is lost by waiting: should the process end, the job resumes from its checkpoint.
                if state.withLock({ $0.isStopping }) { return .unknown }
                time.wait(for: work, after: ring, until: time.monotonicNanoseconds() + 1_000_000_000)
            }
        }
    }

    private func end(
        _ run: Run, with outcome: JobOutcome, hasFailed: inout Bool
    ) throws(JobError) -> JobChange? {
        do throws(JobError) { return try jobs.finish(run.lease, outcome, at: time.now()) } catch {
            hasFailed = true
            throw error
        }
    }

    private static let refusal = JobFailure(
        code: "internal",
        message: "The store does not take what the job reported; the log of the service says why.")

    private func millisecondsToNextLook(from now: Timestamp) -> UInt64 {
        guard let due = attempt({ () throws(JobError) in try jobs.nextDue(after: now) }) ?? nil else {
            return configuration.idleMilliseconds
        }
        return min(configuration.idleMilliseconds, UInt64(clamping: due.milliseconds - now.milliseconds))
    }

    /// `nil` when the store could not answer: whoever asked looks again later.
    @discardableResult
    func attempt<Value>(_ body: () throws(JobError) -> Value) -> Value? {
        do { return try body() } catch {
            complain("the store did not answer", error)
            return nil
        }
    }

    /// Logs an error of the store; one that stays is told once a minute.
    func complain(_ message: String, _ error: any Error) {
        guard let error = error as? JobError else { return }
        let isNews = complaint.withLock { last in
            // Read under the lock: a time from before would lie before the last one.
            let now = time.monotonicNanoseconds()
            if last.error == error, now - last.nanoseconds < 60_000_000_000 { return false }
            last = Complaint(error: error, nanoseconds: now)
            return true
        }
        if isNews { configuration.log(message, error) }
    }

    func free(_ state: borrowing State) -> Budget {
        var free = configuration.budget
        for run in state.running.values {
            free.threads -= run.job.threads
            free.memoryBytes -= run.job.memoryBytes
        }
        return free
    }

    private func leave() {
        state.withLock { $0.threadsAlive -= 1 }
        work.strike()
        pulse.strike()
    }
}
