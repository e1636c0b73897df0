import ArgumentParser
import Data
import Graph
import Host
import JSON
import Jobs
import Kernels
import Plan
import Tensor
import Training

/// `vintner bench-step`: times training steps of a preset on made-up data, as a line of JSON.
struct BenchStepCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-step", abstract: "Time training steps of a model on random data.")

    @Argument(help: "mlp, lenet5_caffe, lenet_300_100 or linear.")
    var preset: String
    @Option(help: "Samples per step.")
    var batch = 64
    @Option(help: "Threads of the step.")
    var threads = 2
    @Option(help: "Steps to time.")
    var steps = 300
    @Option(help: "Steps before that.")
    var warmup = 50
    @Flag(help: "Print each call of a step with its time instead.")
    var profile = false

    func run() throws {
        let time = SystemTime()
        let start = ProcessStart.monotonicNanoseconds ?? time.monotonicNanoseconds()
        ThreadTeam.use(threads)
        let log = ViolationLog()
        let model = ModelSpec.read(
            ["preset": .string(preset)], at: "/model", datasetInput: try Shape([1, 28, 28]), classes: 10,
            log: log)
        guard let model else {
            Terminal.complain(InvalidInput(log.violations).description)
            throw Ending.usage.error
        }
        let program = try Program(
            model.graph,
            Program.Options(
                loss: .crossEntropy(labelSmoothing: 0), optimizer: .sgd(momentum: 0.9),
                trainingBatches: [batch], evaluationBatches: []), on: DNNEngine())
        try program.allocate()
        guard let plan = program.trainingPlan(batch: batch) else { return }
        for (index, id) in model.graph.parameterIDs.enumerated() {
            let values = Initializer.values(of: model.graph[id], index: index, rule: .default, seed: 0)
            try program.write(values, to: id)
        }
        let data = try randomBatch(784)
        try plan.bindBatch(input: data.input, target: data.target, in: data.arena)
        let state = StepState(seed: 0, step: 0, learningRate: 0.01, inverseCount: 1 / Float(batch))
        _ = try plan.run(state)
        let firstStep = Double(time.monotonicNanoseconds() - start) * 1e-9
        for _ in 0..<warmup { _ = try plan.run(state) }
        if profile { return try printProfile(plan, state, time) }
        var durations: [Double] = []
        for _ in 0..<steps {
            let begin = time.monotonicNanoseconds()
            _ = try plan.run(state)
            durations.append(Double(time.monotonicNanoseconds() - begin) * 1e-6)
        }
        durations.sort()
        report(durations, firstStep, plan)
    }

    private func printProfile(_ plan: ExecutionPlan, _ state: StepState, _ time: SystemTime) throws {
        let nanoseconds = try plan.profile(state, runs: steps) { time.monotonicNanoseconds() }
        for (line, spent) in zip(plan.summary, nanoseconds) {
            Terminal.say("\(rounded(spent * 1e-3, digits: 1)) us  \(line)")
        }
    }

    private func report(_ durations: [Double], _ firstStep: Double, _ plan: ExecutionPlan) {
        let median = durations[durations.count / 2]
        let line: JSONValue = [
            "name": .string(preset), "median_ms": .number(median),
            "p10_ms": .number(durations[durations.count / 10]),
            "p90_ms": .number(durations[durations.count * 9 / 10]),
            "peak_rss_bytes": ProcessMemory().map { .integer($0.peakResidentBytes) } ?? .null,
            "first_step_seconds": .number(firstStep), "arena_bytes": JSONValue(plan.end),
            "gflops": .number(2 * Double(plan.macs) / (median * 1e-3) * 1e-9), "threads": JSONValue(threads),
            "batch": JSONValue(batch),
        ]
        Terminal.say(line.encoded())
    }

    private func randomBatch(_ width: Int) throws -> (arena: Arena, input: Slot, target: Slot) {
        var random = CounterRandom(seed: 1, purpose: .test)
        let input = Slot(offset: 0, byteCount: batch * width * 4)
        let target = Slot(offset: (input.byteCount + 63) / 64 * 64, byteCount: batch * 4)
        let arena = try Arena(byteCount: target.end)
        arena.write((0..<(batch * width)).map { _ in random.uniform() * 2 - 1 }, to: input)
        arena.write((0..<batch).map { _ in Int32(random.below(10)) }, to: target)
        return (arena, input, target)
    }
}
