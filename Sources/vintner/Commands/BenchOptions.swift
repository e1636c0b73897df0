import ArgumentParser
import Graph
import JSON
import Kernels
import Plan
import Tensor

/// What the benchmark commands may be asked for.
enum BenchOptimizer: String, ExpressibleByArgument {
    case sgd, adamw

    var options: OptimizerOptions {
        switch self {
        case .sgd: .sgd(momentum: 0.9)
        case .adamw:
            OptimizerOptions(.adamW(beta1: 0.9, beta2: 0.99, epsilon: 1e-8), weightDecay: 0.1)
        }
    }
}

enum BenchLoss: String, ExpressibleByArgument {
    case crossEntropy = "cross_entropy"
    case mse

    var kind: LossKind {
        switch self {
        case .crossEntropy: .crossEntropy(labelSmoothing: 0)
        case .mse: .meanSquaredError(oneHot: false)
        }
    }
}

extension ModelSpec {
    /// The model that a file describes, or a preset for 28x28 grey images of ten classes; what is wrong with
    /// it ends the command.
    static func benchmarked(file: String?, preset: String) throws -> ModelSpec {
        let log = ViolationLog()
        let found: ModelSpec?
        if let file {
            found = ModelSpec.read(try readJSON(file), at: "/model", data: DataShape(), log: log)
        } else {
            found = ModelSpec.read(
                ["preset": .string(preset)], at: "/model", datasetInput: try Shape([1, 28, 28]), classes: 10,
                log: log)
        }
        guard let found else {
            Terminal.complain(InvalidInput(log.violations).description)
            throw Ending.usage.error
        }
        return found
    }
}

/// A batch of random samples in an arena of its own.
struct BenchBatch {
    let arena: Arena
    let input: Slot
    let target: Slot
    /// What a teacher's layers would have made, in either precision: zeros cost as much as other numbers.
    let features: [Slot]
    /// Rows that the loss is taken over, of one sample.
    let rows: Int

    init(_ graph: Graph, batch: Int, loss: LossKind) throws {
        var random = CounterRandom(seed: 1, purpose: .test)
        let output = graph[graph.output]
        rows = output.positions
        let count = batch * graph.inputShape.elementCount
        input = Slot(offset: 0, byteCount: count * 4)
        let bytes = batch * loss.targetByteCount(positions: rows, width: output.channels)
        target = Slot(offset: (input.byteCount + 63) / 64 * 64, byteCount: bytes)
        var (features, end): ([Slot], Int) = ([], (target.end + 63) / 64 * 64)
        for feature in graph.features {
            let elements = batch * graph[feature.compared].positions * feature.teacherChannels
            features.append(Slot(offset: end, byteCount: elements * 4))
            end += (elements * 4 + 63) / 64 * 64
        }
        self.features = features
        arena = try Arena(byteCount: end)
        if graph[graph.input].element == .token {
            let vocabulary =
                graph.nodes.first { graph.parameter(.embedding, of: $0) != nil }
                .flatMap { graph.parameter(.embedding, of: $0) }.map { graph[$0].shape[0] } ?? 1
            arena.write((0..<count).map { _ in Int32(random.below(UInt32(vocabulary))) }, to: input)
        } else {
            arena.write((0..<count).map { _ in random.uniform() * 2 - 1 }, to: input)
        }
        if loss.takesLabels {
            let classes = UInt32(output.channels)
            arena.write((0..<(bytes / 4)).map { _ in Int32(random.below(classes)) }, to: target)
        } else {
            arena.write((0..<(bytes / 4)).map { _ in random.uniform() }, to: target)
        }
    }
}
