import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Batch normalisations folded into weights") struct FoldingTests {
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0)
    private static let head = #"{"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}"#

    private static func model(_ layers: String) -> String {
        #"{"input": [3, 7, 6], "layers": [\#(layers), \#(head)]}"#
    }

    private static func normalized(_ fields: String) -> String {
        #"{"type": "conv2d", "kernel_size": 3, "padding": 1, \#(fields)}, {"type": "batch_norm"}"#
    }

    private static let wide = normalized(#""out_channels": 8"#)
    private static let depthwise = model(
        """
        {"type": "conv2d", "out_channels": 17, "kernel_size": 1, "bias": false}, {"type": "batch_norm"},
        {"type": "relu6"}, {"type": "depthwise_conv2d", "kernel_size": 3, "padding": 1, "bias": false},
        {"type": "batch_norm"}, {"type": "relu"},
        {"type": "depthwise_conv2d", "kernel_size": 3, "padding": 1}, {"type": "batch_norm"},
        {"type": "hard_swish"}
        """)
    private static let transposed = model(
        #"{"type": "conv_transpose2d", "out_channels": 4, "kernel_size": 2}, {"type": "batch_norm"}"#)
    private static let product = """
        {"input": [3, 4, 5], "layers": [{"type": "flatten"}, {"type": "linear", "out_features": 19},
         {"type": "batch_norm"}, {"type": "relu"}, {"type": "linear", "out_features": 3}]}
        """
    /// The sum may be written over the residual.
    private static let residual = model(
        """
        \(wide), {"type": "relu"}, {"type": "residual", "layers": [\(wide), {"type": "relu"}, \(wide)]},
        {"type": "relu"}
        """)
    private static let shortcut = model(
        #"{"type": "residual", "layers": [\#(wide)], "shortcut": [\#(wide)]}, {"type": "relu"}"#)
    /// The residual is what the convolution reads, and is read once more.
    private static let readAgain = model(
        """
        {"type": "conv2d", "name": "x", "out_channels": 4, "kernel_size": 1},
        {"type": "conv2d", "out_channels": 4, "kernel_size": 1}, {"type": "batch_norm", "name": "n"},
        {"type": "add", "name": "a", "inputs": ["n", "x"]}, {"type": "add", "inputs": ["a", "x"]}
        """)

    /// Layers of each kind and layout, and what may run behind them.
    static let models: [String] = [
        model(wide), model(normalized(#""out_channels": 20, "bias": false"#)),
        model(normalized(#""out_channels": 6, "groups": 3"#)), depthwise, transposed, product, residual,
        shortcut, readAgain,
    ]

    private static func options(fuses: Bool, _ precision: ElementType = .float32) -> LoweringOptions {
        var options = LoweringOptions()
        (options.fuses, options.precision) = (fuses, precision)
        return options
    }

    private static func program(
        _ subject: Subject, _ parameters: [[Float]]? = nil, training: [Int] = [], evaluation: [Int],
        _ optimizer: OptimizerOptions = OptimizerOptions(), _ lowering: LoweringOptions = LoweringOptions()
    ) throws -> Program {
        let program = try Program(
            subject.graph,
            .init(
                loss: loss, optimizer: optimizer, trainingBatches: training, evaluationBatches: evaluation,
                lowering: lowering), on: DNNEngine())
        try program.allocate()
        let values = parameters ?? subject.reference.parameters.map { $0.map { Float($0) } }
        for (id, values) in zip(subject.graph.parameterIDs, values) { try program.write(values, to: id) }
        return program
    }

    @discardableResult
    private static func run(
        _ plan: ExecutionPlan?, _ subject: Subject, rate: Float = 0
    ) throws -> [Float] {
        let plan = try #require(plan)
        let batch = try subject.delivered(loss)
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        _ = try plan.run(subject.state(learningRate: rate))
        return plan.mode == .evaluation(loss) ? plan.output() : []
    }

    /// In float32 sums of at most 2^8 products in another order, through a few layers.
    ///
    /// In bfloat16 each stored tensor and weight rounds by 2^-9 of its size on either side, and a layer may
    /// double what came in.
    @Test("give the output of separate ones", arguments: models, [ElementType.float32, .bfloat16])
    func agree(model: String, precision: ElementType) throws {
        let probe = try Subject(model, batch: 4, seed: 5)
        let outputs = try [true, false].map { fuses in
            let lowering = Self.options(fuses: fuses, precision)
            let program = try Self.program(probe, evaluation: [4], OptimizerOptions(), lowering)
            return try Self.run(program.evaluationPlan(batch: 4), probe)
        }
        let scale = max(outputs[1].map(abs).max() ?? 0, 1)
        let roundings = Float(4 * probe.graph.nodes.count).squareRoot() * 0x1p-9
        let bound = precision == .float32 ? 1e-5 * scale : 2 * roundings * scale
        #expect(outputs[0].count == 12)
        #expect(zip(outputs[0], outputs[1]).allSatisfy { abs($0 - $1) <= bound })
    }

    @Test("take no call of their own")
    func calls() throws {
        func labels(_ model: String) throws -> [String] {
            let probe = try Subject(model, batch: 4)
            let plan = try Self.program(probe, evaluation: [4]).evaluationPlan(batch: 4)
            return try #require(plan).overview.steps.map(\.label)
        }
        // Convolutions, pooling, product and loss.
        let residual = try labels(Self.residual)
        #expect(residual.count == 6)
        #expect(residual[2].split(separator: "+").count == 4)
        #expect(try labels(Self.shortcut).count == 5)
        // Its residual is still to be read: it stays a pass, which adds.
        #expect(try labels(Self.readAgain).contains { $0.hasPrefix("n + a") })
    }

    @Test("are folded anew when parameters change, bit for bit")
    func refolded() throws {
        let probe = try Subject(Self.residual, batch: 4, seed: 2)
        let short = try Subject(Self.residual, batch: 3, seed: 2)
        let optimizer = OptimizerOptions(.sgd(momentum: 0.9, nesterov: false), averageDecay: 0.5)
        let program = try Self.program(probe, training: [4], evaluation: [4, 3], optimizer)
        func evaluate() throws -> [Float] { try Self.run(program.evaluationPlan(batch: 4), probe) }
        /// What a program gives that never had other parameters.
        func fresh() throws -> [Float] {
            let values = try probe.graph.parameterIDs.map { try program.read($0) }
            let other = try Self.program(probe, values, training: [4], evaluation: [4, 3], optimizer)
            return try Self.run(other.evaluationPlan(batch: 4), probe)
        }
        let first = try evaluate()
        #expect(try evaluate() == first)
        try Self.run(program.evaluationPlan(batch: 3), short)
        #expect(try evaluate() == first, "another batch size has taken the memory")
        try Self.run(program.trainingPlan(batch: 4), probe, rate: 0.1)
        let trained = try evaluate()
        let again = try fresh()
        #expect(trained != first && trained == again)
        program.swapAverages()
        let averaged = try evaluate()
        let averagedAgain = try fresh()
        #expect(averaged != trained && averaged == averagedAgain)
        program.swapAverages()
        #expect(try evaluate() == trained)
        for id in probe.graph.parameterIDs where probe.graph[id].role == .runningMean {
            let moved = try program.read(id).map { $0 + 0.5 }
            try program.write(moved, to: id)
        }
        let written = try evaluate()
        let writtenAgain = try fresh()
        #expect(written != trained && written == writtenAgain)
    }
}
