import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

/// Two models of which layers are compared.
struct FeatureCase: Sendable, CustomTestStringConvertible {
    let name: String
    let student: ModelCase
    let teacher: ModelCase
    let comparisons: [FeatureComparison]
    var adapters: LowRankAdapters?

    var testDescription: String { name }

    private static func convolution(_ channels: Int, _ name: String) -> String {
        #"""
        {"type": "conv2d", "name": "\#(name)", "out_channels": \#(channels), "kernel_size": 3, "padding": 1}
        """#
    }

    /// A net in which nearly everything runs inside something else.
    private static func image(_ channels: Int, batch: Int = 3) -> ModelCase {
        let block = """
            \(convolution(channels, "conv")), {"type": "batch_norm", "name": "norm"},
            {"type": "relu", "name": "relu"}, \(convolution(channels, "conv2")),
            {"type": "batch_norm", "name": "norm2"}
            """
        return ModelCase(
            "image of \(channels)", "[2, 8, 6]",
            """
            \(convolution(channels, "stem")), {"type": "batch_norm", "name": "norm"},
            {"type": "relu", "name": "relu"}, {"type": "residual", "name": "block", "layers": [\(block)]},
            {"type": "relu", "name": "relu2"},
            {"type": "depthwise_conv2d", "name": "depth", "kernel_size": 3, "padding": 1},
            {"type": "batch_norm", "name": "norm3"}, {"type": "relu6", "name": "relu3"},
            \(convolution(channels, "last")), {"type": "max_pool2d", "name": "pool", "kernel_size": 2},
            {"type": "flatten", "name": "flat"}, {"type": "linear", "name": "hidden", "out_features": 7},
            {"type": "tanh", "name": "tanh"}, {"type": "linear", "name": "out", "out_features": 4}
            """, batch: batch)
    }

    private static func tokens(_ width: Int, _ heads: Int) -> ModelCase {
        ModelCase(
            "tokens of \(width)", "[5, 6]",
            """
            {"type": "linear", "name": "in", "out_features": \(width)},
            {"type": "transformer_block", "name": "block1", "heads": \(heads)},
            {"type": "transformer_block", "name": "block2", "heads": \(heads)},
            {"type": "linear", "name": "wide", "out_features": \(width)}, {"type": "gelu", "name": "gelu"},
            {"type": "layer_norm", "name": "norm"}, {"type": "silu", "name": "silu"},
            {"type": "select_token", "name": "first"},
            {"type": "linear", "name": "out", "out_features": 3}
            """)
    }

    /// Weights of 1 keep the features' part of the loss about as large as the other.
    private static func compare(
        _ student: String, _ teacher: String, _ loss: FeatureComparison.Loss = .mse,
        _ adapter: FeatureComparison.Adapter? = nil, weight: Double = 1
    ) -> FeatureComparison {
        FeatureComparison(
            student: student, teacher: teacher, loss: loss, adapter: adapter, weight: weight)
    }

    static let all = [
        FeatureCase(
            name: "inside a chain of fusions", student: image(16), teacher: image(16),
            comparisons: [
                compare("stem", "norm", .mse, FeatureComparison.Adapter.none),
                compare("norm", "relu", .cosine),
                compare("block.relu", "block", .attention, weight: 50),
                compare("norm3", "relu3", .mse, .conv1x1),
            ]),
        FeatureCase(
            name: "between other widths", student: image(16), teacher: image(19),
            comparisons: [
                compare("relu", "relu", .mse, .conv1x1), compare("relu", "stem", .attention, weight: 50),
                compare("block", "relu2", .mse, .linear), compare("relu3", "depth", .cosine, .linear),
                compare("flat", "flat"),
            ]),
        FeatureCase(
            name: "of vectors and the output", student: image(5), teacher: image(7),
            comparisons: [
                compare("out", "out", .mse, FeatureComparison.Adapter.none),
                compare("tanh", "hidden", .cosine),
                compare("flat", "tanh"), compare("relu2", "depth", .attention, weight: 50),
                compare("block.conv2", "block.norm2", .cosine, .conv1x1),
            ]),
        FeatureCase(
            name: "of tokens", student: tokens(4, 2), teacher: tokens(6, 2),
            comparisons: [
                compare("block1", "block1"), compare("block1", "block2", .attention, weight: 50),
                compare("norm", "norm", .cosine, .linear), compare("in", "in"), compare("first", "first"),
                compare("wide", "gelu"), compare("silu", "wide"),
            ]),
        FeatureCase(
            name: "beside low-rank adapters", student: tokens(4, 2), teacher: tokens(6, 2),
            comparisons: [compare("in", "in"), compare("block2", "block2"), compare("out", "out")],
            adapters: LowRankAdapters(rank: 2, alpha: 5, targets: ["block2*"])),
    ]
}

/// A student, and what its teacher's layers are said to make.
struct FeatureProbe {
    var probe: Subject
    /// In memory order.
    let taught: [[Float]]
    /// The same for plans to read.
    private let arenas: [Arena]
    private let narrowArenas: [Arena]
    static let kind = LossKind.crossEntropy(labelSmoothing: 0.1)

    init(_ subject: FeatureCase) throws {
        let teacher = try Subject(subject.teacher.model, batch: subject.student.batch)
        var graph = try Subject(subject.student.model, batch: 1).graph
        if let adapters = subject.adapters { graph = try graph.adapted(by: adapters, at: "") }
        graph = try graph.comparing(subject.comparisons, with: teacher.graph, at: "")
        probe = Subject(graph, batch: subject.student.batch)
        taught = teacher.graph.outputs(comparedBy: subject.comparisons).enumerated().map { index, value in
            let count = value.map { teacher.batch * teacher.graph[$0].shape.elementCount } ?? 0
            return randomFloats(count, seed: UInt64(index + 30), low: -1.5, high: 1.5)
        }
        func arena<Element: BitwiseCopyable>(_ values: [Element]) throws -> Arena {
            let byteCount = values.count * MemoryLayout<Element>.stride
            let arena = try Arena(byteCount: byteCount)
            arena.write(values, to: Slot(offset: 0, byteCount: byteCount))
            return arena
        }
        arenas = try taught.map { try arena($0) }
        narrowArenas = try taught.map { try arena($0.map { UInt16($0.bitPattern >> 16) }) }
    }

    /// Points a plan at what the teacher says to some samples.
    func bind(_ plan: ExecutionPlan, _ samples: Range<Int>, _ element: ElementType = .float32) throws {
        for (index, values) in taught.enumerated() {
            let row = values.count / probe.batch * element.byteCount
            let slot = Slot(offset: samples.lowerBound * row, byteCount: samples.count * row)
            let arena = element == .bfloat16 ? narrowArenas[index] : arenas[index]
            try plan.bind(.feature(index), to: Place(slot, in: arena))
        }
    }

    /// A run of a plan whose gradients stay readable.
    func run(_ lowering: LoweringOptions = LoweringOptions()) throws -> (
        result: LossResult, gradients: [Graph.ParameterID: [Float]]
    ) {
        let engine = try DNNEngine()
        let (plan, store, arena) = try Program.gradientPlan(
            probe.graph, batch: probe.batch, loss: Self.kind, lowering: lowering, on: engine)
        // What reads too early shows.
        arena.write(
            [UInt8](repeating: 0xFF, count: plan.end - store.byteCount),
            to: Slot(offset: store.byteCount, byteCount: plan.end - store.byteCount))
        for (id, values) in zip(probe.graph.parameterIDs, probe.reference.parameters) {
            try store.write(values.map { Float($0) }, to: id, in: arena, on: engine)
        }
        let batch = try probe.delivered(Self.kind)
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        try bind(plan, 0..<probe.batch, lowering.precision)
        var state = probe.state()
        state.inverseSamples = 1 / Float(probe.batch)
        let result = try plan.run(state)
        var gradients: [Graph.ParameterID: [Float]] = [:]
        for id in probe.graph.parameterIDs where probe.graph[id].isTrained {
            gradients[id] = try plan.gradient(of: id, on: engine)
        }
        return (result, gradients)
    }

    // MARK: - In float64

    /// The loss of the labels and of the features.
    func loss(_ model: ReferenceModel, _ values: [[Double]]) -> Double {
        let output = probe.graph[probe.graph.output]
        let hard = Self.kind.reference.value(
            values[probe.graph.output.index], width: output.channels, .labels(probe.labels))
        return probe.graph.features.indices.reduce(hard) { $0 + feature($1, model, values) }
    }

    private func feature(_ place: Int, _ model: ReferenceModel, _ values: [[Double]]) -> Double {
        let feature = probe.graph.features[place]
        let (value, compared) = (probe.graph[feature.value], probe.graph[feature.compared])
        let isVector = value.positions == 1
        let given = values[feature.value.index]
        // A product over a flattened image is in PyTorch's order.
        let own =
            feature.adapter != nil && isVector
            ? given : memoryOrder(given, of: value, batch: probe.batch)
        let kind: ReferenceFeature.Kind =
            switch feature.comparison.loss {
            case .mse: .squaredError
            case .cosine: .cosine
            case .attention: .attention
            }
        let distance = ReferenceFeature(
            kind, positions: compared.positions, channels: compared.channels,
            teacherChannels: feature.teacherChannels)
        return feature.comparison.weight
            * distance.value(
                adapted(own, by: feature.adapter, model), taught[place].map(Double.init), batch: probe.batch)
    }

    private func adapted(_ rows: [Double], by adapter: Graph.Node?, _ model: ReferenceModel) -> [Double] {
        guard let adapter else { return rows }
        let (weight, bias) = (
            model.parameters[adapter.parameters[0].index], model.parameters[adapter.parameters[1].index]
        )
        let width = weight.count / bias.count
        return (0..<rows.count / width).flatMap { row in
            bias.indices.map { output in
                (0..<width).reduce(bias[output]) {
                    $0 + rows[row * width + $1] * weight[output * width + $1]
                }
            }
        }
    }

    /// The loss's slope along a direction of one parameter, by a central difference of length 1e-7.
    func slope(along direction: [Double], of id: Graph.ParameterID, _ values: [[Double]]) -> Double {
        let length = direction.reduce(0) { $0 + $1 * $1 }.squareRoot()
        let h = 1e-7 / length
        let ends = [h, -h].map { h in
            var moved = probe.reference
            for (place, distance) in direction.enumerated() {
                moved.parameters[id.index][place] += h * distance
            }
            return loss(moved, moved.values(values, changing: [id], batch: probe.batch))
        }
        return (ends[0] - ends[1]) / (2 * h)
    }
}
