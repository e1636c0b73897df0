import Synchronization

/// Notices attempts that stand still: that neither look at their control nor use the processor.
///
/// Time counts only as far as it was watched: a process that was stopped, or a machine that slept, wakes
/// up with its attempts unsuspected. An attempt that computes without end is not noticed here; that is
/// what `limits.max_seconds` is for.
struct StallWatch {
    private struct Sight {
        let processor: () -> UInt64
        var looks: UInt64
        var used: UInt64
        var stalledNanoseconds: UInt64 = 0
    }

    private let nanosecondsMax: UInt64
    private let meter: @Sendable (_ worker: String) -> () -> UInt64
    private var sights: [Lease: Sight] = [:]
    private var last: UInt64?

    /// - Parameters:
    ///   - seconds: How long an attempt may stand still.
    ///   - meter: Makes a clock of the processor time of a worker's threads.
    init(seconds: Int, meter: @escaping @Sendable (_ worker: String) -> () -> UInt64) {
        let (product, isTooMuch) = UInt64(max(1, seconds)).multipliedReportingOverflow(by: 1_000_000_000)
        nanosecondsMax = isTooMuch ? .max : product
        self.meter = meter
    }

    /// Those of all attempts that have stood still for too long.
    ///
    /// - Parameters:
    ///   - runs: All that run.
    ///   - now: On the monotonic clock.
    ///   - interval: How often this is called, in nanoseconds; a longer pause counts for no more.
    /// - Returns: Them, again at each call.
    mutating func hung(_ runs: [WorkerPool.Run], now: UInt64, interval: UInt64) -> [WorkerPool.Run] {
        let passed = min(last.map { now - min($0, now) } ?? 0, interval)
        last = now
        var present: [Lease: Sight] = [:]
        var hung: [WorkerPool.Run] = []
        for run in runs {
            let looks = run.control.looks
            guard var sight = sights[run.lease] else {
                let processor = meter(run.worker)
                present[run.lease] = Sight(processor: processor, looks: looks, used: processor())
                continue
            }
            let used = sight.processor()
            if looks == sight.looks, used == sight.used {
                sight.stalledNanoseconds += passed
            } else {
                (sight.looks, sight.used, sight.stalledNanoseconds) = (looks, used, 0)
            }
            if sight.stalledNanoseconds >= nanosecondsMax { hung.append(run) }
            present[run.lease] = sight
        }
        sights = present
        return hung
    }
}

extension JobFailure {
    /// An attempt that stood still: a deadlock, or a disk that never answers.
    public static let hung = JobFailure(
        code: "hung", message: "The job stood still: it neither computed nor listened.", isRetryable: true)
}

extension WorkerPool {
    /// What to do about attempts that stand still.
    public struct HangPolicy: Sendable {
        /// How long one may.
        public var seconds: Int
        /// Makes a clock of the processor time that a worker's threads use, in nanoseconds.
        public var meter: @Sendable (_ worker: String) -> () -> UInt64
        /// Called when one stood still for too long, after its end was stored and while the pool takes no
        /// new work: nothing can free its thread but the end of the process.
        public var end: @Sendable (_ pool: WorkerPool, _ job: JobID) -> Void

        /// Groups the three.
        public init(
            seconds: Int, meter: @escaping @Sendable (_ worker: String) -> () -> UInt64,
            end: @escaping @Sendable (_ pool: WorkerPool, _ job: JobID) -> Void
        ) {
            (self.seconds, self.meter, self.end) = (seconds, meter, end)
        }
    }

    /// Ends attempts that stand still, as failed ones that may be tried again.
    func endHung(_ runs: [Run]) {
        for run in runs {
            state.withLock { state in
                state.isDraining = true
                state.running[run.job.id] = nil
            }
            run.recorder.lose()
            attempt { () throws(JobError) in try jobs.finish(run.lease, .failed(.hung), at: time.now()) }
            hub.notify(run.job.id)
            configuration.hangs?.end(self, run.job.id)
        }
    }
}
