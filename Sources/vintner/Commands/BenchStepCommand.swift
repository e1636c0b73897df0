import ArgumentParser
import Graph
import Host
import JSON
import Jobs
import Kernels
import Plan
import Tensor
import Training

/// `vintner bench-step`: times training steps of a model on made-up data, as a line of JSON.
struct BenchStepCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-step", abstract: "Time training steps of a model on random data.")

    @Argument(help: "A preset, for 28x28 grey images of ten classes.")
    var preset: String?
    @Option(help: "A file with a model's JSON instead.")
    var model: String?
    @Option(help: "Samples per step.")
    var batch = 64
    @Option(help: "Samples that run at once; the planner's choice unless given.")
    var microBatch: Int?
    @Option(help: "Threads of the step.")
    var threads = 2
    @Option(help: "Steps to time.")
    var steps = 300
    @Option(help: "Steps before that.")
    var warmup = 50
    @Option(help: "fp32 or bf16.")
    var precision = TrainOptions.Precision.fp32
    @Option(help: "sgd (with momentum), or adamw (with decay).")
    var optimizer = BenchOptimizer.sgd
    @Option(help: "The largest norm of all gradients together; 0 for any.")
    var clip = 0.0
    @Option(help: "cross_entropy, or mse against random numbers.")
    var loss = BenchLoss.crossEntropy
    @Flag(help: "Run every operation by itself.")
    var unfused = false
    @Flag(help: "Time evaluations instead: forward and loss.")
    var evaluation = false
    @Flag(help: "Print each call of a step with its time instead.")
    var profile = false

    func run() throws {
        let time = SystemTime()
        let start = ProcessStart.monotonicNanoseconds ?? time.monotonicNanoseconds()
        let spec = try ModelSpec.benchmarked(file: model, preset: preset ?? "mlp")
        var rule = optimizer.options
        rule.clipNorm = clip > 0 ? clip : nil
        let subject = StepSubject(
            spec.graph, batch: batch, microBatch: microBatch, loss: loss.kind, optimizer: rule,
            precision: precision, threads: threads, fuses: !unfused, evaluates: evaluation)
        let step = try BenchStep(try subject.compile(), subject)
        let before = ProcessMemory()?.residentBytes ?? 0
        try step.allocate(spec.initialization)
        _ = try step.run()
        let firstStep = Double(time.monotonicNanoseconds() - start) * 1e-9
        for _ in 0..<warmup { try step.run() }
        if profile { return try printProfile(step, time) }
        var durations: [Double] = []
        for _ in 0..<max(steps, 1) {
            let begin = time.monotonicNanoseconds()
            try step.run()
            durations.append(Double(time.monotonicNanoseconds() - begin) * 1e-6)
        }
        durations.sort()
        report(durations, firstStep, step, planned: before + Int64(step.byteCount))
    }

    private func printProfile(_ step: BenchStep, _ time: SystemTime) throws {
        var spent = step.plans.map { [UInt64](repeating: 0, count: $0.summary.count) }
        for _ in 0..<max(steps, 1) {
            var index = 0
            try step.eachPlan { plan, state in
                _ = try plan.run(state, adding: &spent[index]) { time.monotonicNanoseconds() }
                index += 1
            }
        }
        for (plan, nanoseconds) in zip(step.plans, spent) {
            for (line, spent) in zip(plan.summary, nanoseconds) {
                let microseconds = Double(spent) / Double(max(steps, 1)) * 1e-3
                Terminal.say("\(rounded(microseconds, digits: 1)) us  \(line)")
            }
        }
    }

    private func report(
        _ durations: [Double], _ firstStep: Double, _ step: BenchStep, planned: Int64
    ) {
        let median = durations[durations.count / 2]
        let cost = CostModel(of: step.program.graph)
        let line: JSONValue = [
            "name": .string(model ?? preset ?? "mlp"), "median_ms": .number(median),
            "p10_ms": .number(durations[durations.count / 10]),
            "p90_ms": .number(durations[durations.count * 9 / 10]),
            "peak_rss_bytes": ProcessMemory().map { .integer($0.peakResidentBytes) } ?? .null,
            "first_step_seconds": .number(firstStep), "arena_bytes": JSONValue(step.program.byteCount),
            "planned_rss_bytes": .integer(planned),
            "parameters": JSONValue(cost.parameters), "macs": JSONValue(step.macs),
            "gflops": .number(2 * Double(step.macs) / (median * 1e-3) * 1e-9), "threads": JSONValue(threads),
            "batch": JSONValue(batch), "micro_batch": JSONValue(step.parts.max() ?? batch),
            "precision": .string(precision.rawValue),
        ]
        Terminal.say(line.encoded())
    }
}

/// `vintner bench-peak`: the machine's matrix-product rate in both precisions, as a line of JSON.
struct BenchPeakCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-peak", abstract: "Measure the machine's matrix-product rate.")

    @Option(help: "Threads of the product.")
    var threads = 2

    func run() throws {
        let time = SystemTime()
        ThreadTeam.use(threads)
        func rate(_ element: ElementType) throws -> JSONValue {
            let flops = try PeakMeasurement.flopsPerSecond(element) { time.monotonicNanoseconds() }
            return .number(flops * 1e-9)
        }
        let line: JSONValue = [
            "fp32_gflops": try rate(.float32), "bf16_gflops": try rate(.bfloat16),
            "bf16": .string(DNNEngine.supports(.bfloat16).rawValue), "threads": JSONValue(threads),
        ]
        Terminal.say(line.encoded())
    }
}
