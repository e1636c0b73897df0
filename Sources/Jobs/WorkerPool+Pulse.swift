import Synchronization
import Threads

extension WorkerPool {
    /// Extends leases and stores reports while jobs run; sleeps while none does.
    func beatUntilStopped(_ drift: WallClockDrift) {
        var nextHeartbeat = time.monotonicNanoseconds()
        var drift = drift
        var stalls = configuration.hangs.map { StallWatch(seconds: $0.seconds, meter: $0.meter) }
        let interval = configuration.heartbeatMilliseconds * 1_000_000
        // The clock may have been set back while nobody ran.
        shortenWaits()
        while true {
            let ring = pulse.ring
            let began = time.monotonicNanoseconds()
            let (runs, isStopping) = state.withLock { (Array($0.running.values), $0.isStopping) }
            if isStopping, runs.isEmpty { return }
            if drift.jumped(time) { shortenWaits() }
            for run in runs { store(run) }
            // One reading for the whole beat: what moves the clock during it strikes the bell for another.
            if began >= nextHeartbeat {
                // A claim that waits for the disk has a lease already, which is extended with the others.
                claiming.withLock { _ in
                    let all = state.withLock { Array($0.running.values) }
                    if extendLeases(of: all) { reclaimExpired(before: began) }
                }
                endHung(stalls?.hung(runs, now: began, interval: 2 * interval) ?? [])
                nextHeartbeat = began + interval
            }
            let pause = runs.isEmpty ? configuration.idleMilliseconds : configuration.reportMilliseconds
            time.wait(for: pulse, after: ring, until: time.monotonicNanoseconds() + pause * 1_000_000)
        }
    }

    /// A report that cannot be stored now stays in its buffer and is tried again at the next beat.
    private func store(_ run: Run) {
        do { try run.recorder.flush() } catch {
            complain("what \(run.job.id) reported could not be stored", error)
        }
    }

    /// Whether the store took the new deadline.
    private func extendLeases(of runs: [Run]) -> Bool {
        guard !runs.isEmpty else { return true }
        let deadline = time.monotonicNanoseconds() + configuration.leaseMilliseconds * 1_000_000
        let held = attempt { () throws(JobError) in
            try jobs.heartbeat(runs.map(\.lease), until: deadline)
        }
        guard let held else { return false }
        for run in runs {
            switch held[run.lease] {
            case .cancelling: run.control.raise(.cancel)
            case .pausing: run.control.raise(.pause)
            case .none: loseUnlessFinished(run)
            default: break
            }
        }
        return true
    }

    /// Takes back jobs that nobody runs any more: those whose end the store would not accept.
    ///
    /// To be called once the leases of all runs that began before `deadline` were extended, so that a
    /// slow store costs no run.
    private func reclaimExpired(before deadline: UInt64) {
        let reclaimed = attempt { () throws(JobError) in
            try jobs.reclaimExpired(before: deadline, at: time.now())
        }
        guard let reclaimed, !reclaimed.isEmpty else { return }
        reclaimed.forEach { hub.notify($0) }
        work.strike()
    }

    /// A run that ended meanwhile has no lease either, and lost nothing.
    private func loseUnlessFinished(_ run: Run) {
        guard state.withLock({ $0.running[run.job.id]?.lease == run.lease }) else { return }
        run.recorder.lose()
    }

    private func shortenWaits() {
        attempt { () throws(JobError) in try jobs.shortenWaits(at: time.now()) }
        work.strike()
    }
}

/// Notices when somebody sets the wall clock.
struct WallClockDrift {
    /// A smaller jump is taken for the clock's own discipline.
    static let jumpMilliseconds: Int64 = 60_000

    private var offset: Int64

    init(_ time: any TimeSource) { offset = Self.offset(time) }

    /// Whether the wall clock moved against the monotonic one by more than a minute since the last call.
    mutating func jumped(_ time: any TimeSource) -> Bool {
        let now = Self.offset(time)
        guard abs(now - offset) > Self.jumpMilliseconds else { return false }
        offset = now
        return true
    }

    private static func offset(_ time: any TimeSource) -> Int64 {
        time.now().milliseconds - Int64(time.monotonicNanoseconds() / 1_000_000)
    }
}
