import ArgumentParser
import Formats
import Graph
import JSON
import Kernels
import Plan
import Tensor
import Training

/// `vintner run-model`: compares a model's output with numbers from a file, as a line of JSON.
///
/// For checks against other implementations.
struct RunModelCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run-model", abstract: "Compare a model's output with numbers from a file.",
        discussion: """
            The file has the tensors `input` and `expected`, each with the batch in front, and one for each
            parameter, by its name and in PyTorch's order.
            """, shouldDisplay: false)

    @Argument(help: "The model as JSON.")
    var model: String
    @Argument(help: "The tensors (safetensors).")
    var tensors: String
    @Option(help: "Threads to use.")
    var threads = 1

    func run() throws {
        ThreadTeam.use(threads)
        let log = ViolationLog()
        let json = try JSONValue(parsing: readInput(model))
        guard let spec = ModelSpec.read(json, at: "/model", datasetInput: nil, classes: nil, log: log) else {
            Terminal.complain("vintner: \(InvalidInput(log.violations).description)")
            throw Ending.usage.error
        }
        let file = try SafetensorsReader(tensors)
        let graph = spec.graph
        let shape = try file.entry("input").shape
        guard let batch = shape.first, batch > 0, Array(shape.dropFirst()) == graph.inputShape.dimensions
        else {
            Terminal.complain("vintner: the input is \(shape), the model takes [batch] + \(graph.inputShape)")
            throw Ending.usage.error
        }
        let expected = try file.floats("expected", shape: [batch] + graph.outputShape.dimensions)
        let output = try self.output(of: graph, file, batch: batch)
        let error = zip(output, expected).map { abs($0 - $1) }
        let report: JSONValue = [
            "count": JSONValue(expected.count), "max_abs_difference": Self.number(error),
            "max_abs_expected": Self.number(expected.map(abs)),
        ]
        Terminal.say(report.encoded())
    }

    /// The largest; null where one is not a number.
    private static func number(_ values: [Float]) -> JSONValue {
        let isKnown = values.allSatisfy { $0.isFinite }
        return isKnown ? .number(Double(values.max() ?? 0)) : .null
    }

    /// The model's output for the file's input and parameters, in PyTorch's order.
    private func output(of graph: Graph, _ file: SafetensorsReader, batch: Int) throws -> [Float] {
        let program = try Program(
            graph,
            .init(
                loss: .meanSquaredError(oneHot: false), optimizer: OptimizerOptions(), trainingBatches: [],
                evaluationBatches: [batch]), on: DNNEngine())
        try program.allocate()
        for id in graph.parameterIDs {
            let parameter = graph[id]
            try program.write(file.floats(parameter.name, shape: parameter.shape.dimensions), to: id)
        }
        guard let plan = program.evaluationPlan(batch: batch) else { return [] }
        let elements = batch * graph.inputShape.elementCount
        let input = Slot(offset: 0, byteCount: elements * MemoryLayout<Float>.stride)
        let width = batch * graph.outputShape.elementCount
        let target = Slot(
            offset: (input.end + Arena.alignment - 1) / Arena.alignment * Arena.alignment,
            byteCount: width * MemoryLayout<Float>.stride)
        let arena = try Arena(byteCount: target.end)
        let value = graph[graph.input]
        if value.element == .token {
            arena.write(try file.integers("input").map { Int32(clamping: $0) }, to: input)
        } else {
            arena.write(value.inMemoryOrder(try file.floats("input"), batch: batch), to: input)
        }
        try plan.bindBatch(input: input, target: target, in: arena)
        _ = try plan.run(StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1))
        return graph[graph.output].inLogicalOrder(plan.output(), batch: batch)
    }
}

extension Graph.Value {
    /// Numbers of a batch from PyTorch's order into the one in which the engine's memory holds them.
    fileprivate func inMemoryOrder(_ numbers: [Float], batch: Int) -> [Float] {
        guard let channels = channelsInFront else { return numbers }
        return Self.transposed(numbers, batch, channels, shape.elementCount / channels)
    }

    /// The inverse of `inMemoryOrder`.
    fileprivate func inLogicalOrder(_ numbers: [Float], batch: Int) -> [Float] {
        guard let channels = channelsInFront else { return numbers }
        return Self.transposed(numbers, batch, shape.elementCount / channels, channels)
    }

    /// Channels that stand first in the shape and last in memory; nil where the two orders are one.
    private var channelsInFront: Int? {
        switch order {
        case .plain: nil
        case .channelsLast: shape[0]
        case .flattened(let image): image[0]
        }
    }

    private static func transposed(_ numbers: [Float], _ batch: Int, _ rows: Int, _ columns: Int) -> [Float] {
        numbers.indices.map { index in
            let (n, place) = (index / (rows * columns), index % (rows * columns))
            return numbers[(n * rows + place % rows) * columns + place / rows]
        }
    }
}
