import ArgumentParser
import Graph
import JSON
import Jobs
import Kernels
import Plan
import Tensor
import Training

/// `vintner profile`: where the time of a training step goes.
struct ProfileCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profile", abstract: "Time a training step layer by layer, on random data.",
        discussion: """
            Every call is timed where it stands in the step. Steps that are timed inside and steps that are \
            not take turns, so that what the clocks cost shows.
            """)

    @OptionGroup var options: StepOptions
    @Option(help: "Steps to time.")
    var steps = 50

    func validate() throws {
        guard (1...1_000_000).contains(steps) else {
            throw ValidationError("--steps is a number from 1 to 1000000.")
        }
    }

    func run() throws {
        let subject = try options.subject()
        let step = try BenchStep(try subject.compile(), subject)
        let roof = try MachineLimits().roofline(threads: subject.threads, subject.precision.element)
        let profile = try measure(step)
        let document = ProfileDocument(
            profile: profile, roof: roof, threads: subject.threads, precision: subject.precision)
        if options.json { return Terminal.say(document.json.encoded(pretty: true)) }
        for line in document.lines { Terminal.say(line) }
    }

    private func measure(_ step: BenchStep) throws -> StepProfile {
        try step.allocate()
        let time = SystemTime()
        let profiler = StepProfiler(warmup: 10, pairs: steps) { time.monotonicNanoseconds() }
        while !profiler.isDone {
            profiler.begin()
            try step.eachPlan { plan, state in _ = try profiler.run(plan, state) }
            profiler.end()
        }
        guard let profile = profiler.profile else { throw Ending.failed.error }
        return profile
    }
}

extension ProfileDocument {
    /// The layers by falling time, and what the whole step makes of the machine.
    var lines: [String] {
        var table = TextTable([
            .init(title: "layer", isNumber: false), .init(title: "forward us"), .init(title: "backward us"),
            .init(title: "update us"), .init(title: "all us"), .init(title: "% of step"),
            .init(title: "MMACs"), .init(title: "% of peak"), .init(title: "% of memory"),
        ])
        let layers = profile.layers
        let total = layers.reduce(0) { $0 + $1.seconds }
        var whole = LayerTime(name: "all")
        for layer in layers.sorted(by: { $0.seconds > $1.seconds }) {
            table.add(row(layer, of: total))
            whole.forward += layer.forward
            whole.backward += layer.backward
            whole.update += layer.update
            whole.macs += layer.macs
            whole.byteCount += layer.byteCount
        }
        table.add(row(whole, of: total))
        let overhead = profile.timedSeconds / profile.plainSeconds - 1
        return table.lines + [
            "",
            "step      \(milliseconds(profile.plainSeconds)) ms (median of \(profile.steps)), "
                + "\(milliseconds(profile.timedSeconds)) ms while timed inside (\(percent(overhead)) more)",
            "machine   \(rounded(roof.flopsPerSecond * 1e-9, digits: 1)) GFLOP/s (\(precision.described), "
                + "\(threads) threads), "
                + "\(rounded(roof.memoryBytesPerSecond * 1e-9, digits: 1)) GB/s of memory, "
                + "both measured now; caches are faster than memory",
        ]
    }

    private func row(_ layer: LayerTime, of total: Double) -> [String] {
        [
            layer.name, microseconds(layer.forward), microseconds(layer.backward),
            microseconds(layer.update), microseconds(layer.seconds),
            rounded(layer.seconds / total * 100, digits: 1),
            rounded(Double(layer.macs) * 1e-6, digits: 2), rounded(shareOfPeak(layer) * 100, digits: 1),
            rounded(shareOfBandwidth(layer) * 100, digits: 1),
        ]
    }
}
