import Host
import Jobs
import Training

/// One attempt of a job that trains nothing: what it uses, how far it is, and when it has to end.
final class MeasuringAttempt {
    private let control: JobControl
    private let sink: any JobSink
    private let time: any TimeSource
    private var sampler: ResourceSampler
    private var watch: LimitWatch
    private var lastProgress: UInt64 = 0
    /// Set when the attempt must end for a reason of its own.
    private(set) var failure: JobFailure?

    init(
        _ claim: ClaimedJob, control: JobControl, sink: any JobSink, _ settings: JobSettings,
        _ time: any TimeSource
    ) {
        (self.control, self.sink, self.time) = (control, sink, time)
        sampler = ResourceSampler(
            threadName: ThreadGroupClock.currentName() ?? "", threads: claim.job.threads,
            earlier: claim.job.resources, time: time)
        watch = LimitWatch(settings.limits, time)
    }

    /// Takes note of what is loaded.
    func prepared(byteCount: Int) { sampler.prepared(arenaBytes: byteCount, peak: 0) }

    /// Tells how far the attempt is, four times a second at most.
    ///
    /// - Returns: Whether it has to end.
    func isStopped(_ fraction: Double) -> Bool {
        if failure == nil { failure = watch.failure(&sampler) }
        let now = time.monotonicNanoseconds()
        if now - lastProgress >= 250_000_000 {
            lastProgress = now
            sink.resources(sampler.sample(step: 0, isTraining: false))
            sink.totals(sampler.totals)
            sink.progress(
                JobProgress(
                    fraction: fraction, epoch: 0, epochs: 0, step: 0, steps: 0, samplesPerSecond: nil,
                    etaSeconds: nil))
        }
        return failure != nil || control.signal != .none
    }

    /// What all attempts used.
    func totals() -> JobResources {
        sink.resources(sampler.sample(step: 0, isTraining: false))
        return sampler.totals
    }
}
