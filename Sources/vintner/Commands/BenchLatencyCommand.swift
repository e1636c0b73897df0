import ArgumentParser
import Graph
import JSON
import Jobs
import Kernels
import Plan
import Tensor
import Training

/// `vintner bench-latency`: times models against each other at inference, as lines of JSON.
struct BenchLatencyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-latency",
        abstract: "Time models against each other at inference, on random weights and data.",
        discussion: """
            The models take turns, run by run, and the medians of some rounds are printed for each. A model is
            compiled for all batch sizes at once, as it is to serve predictions.
            """)

    @Argument(help: "Files with a model's JSON, or presets for 28x28 grey images of ten classes.")
    var models: [String]
    @Option(help: "Threads of a run.")
    var threads = 2
    @Option(help: "Samples of a run; give it several times for several sizes.")
    var batch = [1, 64]
    @Option(help: "Rounds of a hundred runs each.")
    var rounds = 5
    @Flag(help: "Time each model also with its weights in one layout for all sizes.")
    var oneLayout = false

    func validate() throws {
        guard batch.allSatisfy((1...65_536).contains) else {
            throw ValidationError("--batch is a number from 1 to 65536.")
        }
    }

    /// A model as it is timed.
    private struct Subject {
        let name: String
        let hasOneLayout: Bool
        let compiled: InferenceModel
    }

    func run() throws {
        ThreadTeam.use(threads)
        let specs = try models.map { name in
            let file = name.hasSuffix(".json") ? name : nil
            return (name: name, model: try ModelSpec.benchmarked(file: file, preset: name))
        }
        var subjects = try specs.map { try subject($0.name, $0.model) }
        if oneLayout {
            for (name, model) in specs { subjects.append(try subject(name, model, hasOneLayout: true)) }
        }
        for size in batch {
            var medians = subjects.map { _ in [Double]() }
            for _ in 0..<max(rounds, 1) {
                let found = try LatencyMeasurement.measure(subjects.map(\.compiled), batches: [size]) {
                    SystemTime().monotonicNanoseconds()
                }
                for (index, figures) in (found ?? []).enumerated() {
                    if let median = figures[size]?.median { medians[index].append(median * 1000) }
                }
            }
            for (subject, medians) in zip(subjects, medians) { report(subject, size, medians.sorted()) }
        }
    }

    private func subject(_ name: String, _ model: ModelSpec, hasOneLayout: Bool = false) throws -> Subject {
        var options = LoweringOptions()
        if hasOneLayout { options.layoutByteCountMax = 0 }
        let compiled = try InferenceModel(drawing: model, batches: batch, options: options)
        return Subject(name: name, hasOneLayout: hasOneLayout, compiled: compiled)
    }

    private func report(_ subject: Subject, _ size: Int, _ medians: [Double]) {
        guard let least = medians.first, let most = medians.last else { return }
        let line: JSONValue = [
            "model": .string(subject.name), "one_layout": .bool(subject.hasOneLayout),
            "batch": JSONValue(size),
            "median_ms": .number(medians[medians.count / 2]), "min_ms": .number(least),
            "max_ms": .number(most), "bytes": JSONValue(subject.compiled.byteCount),
            "calls": .array(subject.compiled.calls(batch: size).map { .string($0) }),
            "threads": JSONValue(threads),
        ]
        Terminal.say(line.encoded())
    }
}

extension InferenceModel {
    /// One line for each call of a batch size's plan.
    fileprivate func calls(batch: Int) -> [String] { program.evaluationPlan(batch: batch)?.summary ?? [] }
}
