import Host
import JSON
import Jobs
import Training

/// What a job uses, sampled from its own thread between steps.
struct ResourceSampler {
    private var usage: UsageMeter
    private var energy: EnergyMeter
    private let time: any TimeSource
    private let started: UInt64
    private var arenaBytes = 0
    /// FLOP/s of a large product on the job's threads.
    private var peak = 0.0
    private let earlier: JobResources
    private var last: UInt64
    private var pendingSamples = 0
    private var pendingMacs = 0
    private var pendingWait: Int64 = 0
    private var waited: Int64 = 0
    private var peakMemory: Int64 = 0

    /// Begins to count the threads named `threadName`: the job's worker and what it starts.
    ///
    /// Totals go on from what `earlier` attempts used.
    init(
        threadName: String, threads: Int, earlier: JobResources?, time: any TimeSource
    ) {
        let now = time.monotonicNanoseconds()
        usage = UsageMeter(ThreadGroupClock(.named(threadName)), now: now)
        energy = EnergyMeter(threads: threads, now: now)
        (self.time, started, last) = (time, now, now)
        self.earlier = earlier ?? JobResources()
    }

    /// Takes note of what is known once the job is prepared; the first interval of training begins.
    mutating func prepared(arenaBytes: Int, peak: Double) {
        (self.arenaBytes, self.peak) = (arenaBytes, peak)
        _ = sample(step: 0, isTraining: false)
    }

    /// Adds the work of a report.
    mutating func add(_ report: StepReport) {
        pendingSamples += report.samples
        pendingMacs += report.macs
        pendingWait += report.waitNanoseconds
    }

    var secondsSinceSample: Double { Double(time.monotonicNanoseconds() - last) * 1e-9 }

    /// Ends an interval; the rates are left out unless `isTraining` says that it held training steps alone.
    mutating func sample(step: Int, isTraining: Bool) -> ResourcePoint {
        let now = time.monotonicNanoseconds()
        let seconds = max(Double(now - last) * 1e-9, 1e-9)
        let percent = usage.sample(now: now)
        let watts = energy.sample(processorSeconds: usage.processorSeconds, now: now)
        let flops = 2 * Double(pendingMacs) / seconds
        var point = ResourcePoint(at: time.now(), step: step)
        point.cpuPercent = percent
        point.arenaBytes = Double(arenaBytes)
        point.watts = watts
        if isTraining, pendingSamples > 0 {
            point.samplesPerSecond = Double(pendingSamples) / seconds
            point.gflops = flops * 1e-9
            if peak > 0 { point.mfu = flops / peak }
            point.dataWaitFraction = Double(pendingWait) * 1e-9 / seconds
        }
        if let memory = ProcessMemory() {
            point.rssBytes = Double(memory.residentBytes)
            peakMemory = max(peakMemory, memory.residentBytes)
        }
        waited += pendingWait
        (last, pendingSamples, pendingMacs, pendingWait) = (now, 0, 0, 0)
        return point
    }

    /// Totals over all attempts up to this moment; the running interval goes on.
    mutating func measuredTotals() -> JobResources {
        let now = time.monotonicNanoseconds()
        _ = usage.sample(now: now)
        _ = energy.sample(processorSeconds: usage.processorSeconds, now: now)
        var totals = totals
        totals.wallSeconds = earlier.wallSeconds + Double(now - started) * 1e-9
        return totals
    }

    /// Totals over all attempts.
    var totals: JobResources {
        let wall = Double(last - started) * 1e-9
        return JobResources(
            cpuSeconds: earlier.cpuSeconds + usage.processorSeconds,
            wallSeconds: earlier.wallSeconds + wall,
            peakMemoryBytes: max(earlier.peakMemoryBytes, peakMemory),
            joules: earlier.joules + energy.joules, energyMethod: energy.method.rawValue,
            more: [
                "arena_bytes": .integer(Int64(arenaBytes)),
                "data_wait_fraction": .number(wall > 0 ? Double(waited) * 1e-9 / wall : 0),
                "peak_gflops": .number(peak * 1e-9),
            ])
    }
}
