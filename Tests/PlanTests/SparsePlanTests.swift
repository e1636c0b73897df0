import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Plans leave out zeros of weights") struct SparsePlanTests {
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0)

    /// An image that is flattened, so that the weight behind it is permuted.
    private static let perceptron = """
        {"input": [3, 4, 5], "layers": [{"type": "flatten"}, {"type": "linear", "out_features": 19},
         {"type": "gelu"}, {"type": "linear", "out_features": 3}]}
        """
    private static let convolutions = """
        {"input": [3, 7, 6], "layers": [
         {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1, "bias": false},
         {"type": "batch_norm"}, {"type": "relu"},
         {"type": "conv2d", "out_channels": 9, "kernel_size": 1}, {"type": "max_pool2d", "kernel_size": 2},
         {"type": "relu"}, {"type": "flatten"}, {"type": "linear", "out_features": 3}]}
        """
    /// A sum that runs inside the product, which the kernels do not do.
    private static let residual = """
        {"input": [12], "layers": [{"type": "linear", "out_features": 12}, {"type": "residual", "layers":
         [{"type": "relu"}, {"type": "linear", "name": "inner", "out_features": 12}]},
         {"type": "linear", "out_features": 3}]}
        """

    /// The same parameters with two of three weights 0.
    private static func pruned(_ probe: Subject) -> [[Float]] {
        probe.graph.parameterIDs.map { id in
            let values = probe.reference.parameters[id.index].map { Float($0) }
            guard probe.graph[id].role == .weight else { return values }
            var random = CounterRandom(seed: 5, purpose: .test, step: UInt64(id.index))
            return values.map { random.below(3) == 0 ? $0 : 0 }
        }
    }

    private static func options(
        _ probe: Subject, _ parameters: [[Float]], _ format: SparseLayout.Format
    ) -> LoweringOptions {
        var options = LoweringOptions()
        for id in probe.graph.parameterIDs where probe.graph[id].role == .weight {
            let layout = SparseLayout(
                format, of: parameters[id.index], outputs: probe.graph[id].shape[0])
            options.sparse[id] = SparseWeights(few: layout, many: layout)
        }
        return options
    }

    private static func program(
        _ probe: Subject, _ parameters: [[Float]], _ lowering: LoweringOptions, training: [Int] = []
    ) throws -> Program {
        let program = try Program(
            probe.graph,
            .init(
                loss: loss, optimizer: .sgd(), trainingBatches: training,
                evaluationBatches: [probe.batch, probe.batch + 1], lowering: lowering), on: DNNEngine())
        try program.allocate()
        for (id, values) in zip(probe.graph.parameterIDs, parameters) { try program.write(values, to: id) }
        return program
    }

    private static func output(_ plan: ExecutionPlan?, _ probe: Subject) throws -> [Float] {
        let plan = try #require(plan)
        let batch = try probe.delivered(loss)
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        _ = try plan.run(probe.state())
        return plan.output()
    }

    private static func kernels(_ plan: ExecutionPlan?) -> [String] {
        (plan?.overview.steps ?? []).filter { $0.macs > 0 }.map(\.kernel)
    }

    /// Sums of at most 2^8 products in another order, through a few layers.
    @Test(
        "and give what all weights do", arguments: [perceptron, convolutions, residual],
        SparseLayout.Format.allCases)
    func agree(model: String, format: SparseLayout.Format) throws {
        for batch in [1, 4, 20] {
            let probe = try Subject(model, batch: batch, seed: 5)
            let parameters = Self.pruned(probe)
            let (dense, sparse) = (
                try Self.program(probe, parameters, LoweringOptions()),
                try Self.program(probe, parameters, Self.options(probe, parameters, format))
            )
            let outputs = try [dense, sparse].map {
                try Self.output($0.evaluationPlan(batch: batch), probe)
            }
            let scale = max(outputs[0].map(abs).max() ?? 0, 1)
            #expect(outputs[0].count == 3 * batch)
            #expect(zip(outputs[0], outputs[1]).allSatisfy { abs($0 - $1) <= 1e-5 * scale })
            let kernels = Self.kernels(sparse.evaluationPlan(batch: batch))
            let covered = model == Self.residual ? 2 : kernels.count
            #expect(kernels.filter { $0 == "ck_sparse_\(format)" }.count == covered, "\(kernels)")
            #expect(!Self.kernels(dense.evaluationPlan(batch: batch)).contains { $0.hasPrefix("ck_sparse") })
        }
    }

    @Test("pack them anew when parameters change, and refuse more than there is room for")
    func repacked() throws {
        let probe = try Subject(Self.convolutions, batch: 20, seed: 2)
        let other = try Subject(Self.convolutions, batch: 21, seed: 2)
        let parameters = Self.pruned(probe)
        let options = Self.options(probe, parameters, .csr)
        let program = try Self.program(probe, parameters, options)
        func evaluate() throws -> [Float] { try Self.output(program.evaluationPlan(batch: 20), probe) }
        let first = try evaluate()
        _ = try Self.output(program.evaluationPlan(batch: 21), other)
        #expect(try evaluate() == first, "another batch size has taken the memory")
        let moved = parameters.map { values in Array(values.map { $0 * 1.25 }.reversed()) }
        for (id, values) in zip(probe.graph.parameterIDs, moved)
        where probe.graph[id].role != .runningVariance {
            try program.write(values, to: id)
        }
        let found = try evaluate()
        let dense = try Self.program(probe, parameters, LoweringOptions())
        for id in probe.graph.parameterIDs { try dense.write(program.read(id), to: id) }
        let expected = try Self.output(dense.evaluationPlan(batch: 20), probe)
        let scale = max(expected.map(abs).max() ?? 0, 1)
        #expect(found != first)
        #expect(zip(found, expected).allSatisfy { abs($0 - $1) <= 1e-5 * scale })
        let weight = try #require(probe.graph.parameterIDs.first { probe.graph[$0].role == .weight })
        try program.write([Float](repeating: 1, count: probe.graph[weight].shape.elementCount), to: weight)
        #expect(throws: PlanError.self) { try evaluate() }
    }

    @Test("at inference in float32 alone, and as the batch size asks")
    func modes() throws {
        let probe = try Subject(Self.perceptron, batch: 20, seed: 5)
        let parameters = Self.pruned(probe)
        var options = Self.options(probe, parameters, .csr)
        let program = try Self.program(probe, parameters, options, training: [20])
        #expect(!Self.kernels(program.trainingPlan(batch: 20)).contains { $0.hasPrefix("ck_sparse") })
        #expect(Self.kernels(program.evaluationPlan(batch: 20)).allSatisfy { $0 == "ck_sparse_csr" })
        for id in options.sparse.keys { options.sparse[id]?.many = nil }
        let few = try Self.program(probe, parameters, options)
        #expect(!Self.kernels(few.evaluationPlan(batch: 20)).contains { $0.hasPrefix("ck_sparse") })
        guard DNNEngine.supports(.bfloat16) != .none else { return }
        options = Self.options(probe, parameters, .csr)
        options.precision = .bfloat16
        let short = try Self.program(probe, parameters, options)
        #expect(!Self.kernels(short.evaluationPlan(batch: 20)).contains { $0.hasPrefix("ck_sparse") })
    }

    @Test("and count what they keep, and only the products that they compute")
    func memory() throws {
        let probe = try Subject([1000], [LayerSpec(.linear(.init(outFeatures: 500)), name: "fc")], batch: 1)
        var parameters = probe.reference.parameters.map { $0.map { Float($0) } }
        for place in parameters[0].indices where place % 10 != 0 { parameters[0][place] = 0 }
        let (dense, sparse) = (
            try Self.program(probe, parameters, LoweringOptions()),
            try Self.program(probe, parameters, Self.options(probe, parameters, .csr))
        )
        // A value and an offset for each of 50,000 weights, in each of the two plans' own memory.
        let added = sparse.byteCount - dense.byteCount
        #expect(added >= 400_000 && added < 2_600_000, "\(added)")
        let steps = try #require(sparse.evaluationPlan(batch: 1)).overview.steps
        #expect(steps.first { $0.layer == "fc" }?.macs == 50_000)
    }
}
