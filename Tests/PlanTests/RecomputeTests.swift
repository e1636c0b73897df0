import Graph
import JSON
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Computing activations again instead of keeping them") struct RecomputeTests {
    private static let deep = ModelCase(
        "a deep net of every kind", "[3, 8, 8]",
        """
        {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1, "bias": false},
        {"type": "batch_norm"}, {"type": "relu"},
        {"type": "residual", "layers": [
            {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1}, {"type": "batch_norm"},
            {"type": "relu"}, {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
            {"type": "batch_norm"}]},
        {"type": "relu"}, {"type": "dropout", "p": 0.25},
        {"type": "residual", "layers": [
            {"type": "conv2d", "out_channels": 12, "kernel_size": 3, "stride": 2, "padding": 1},
            {"type": "batch_norm"}],
         "shortcut": [{"type": "conv2d", "out_channels": 12, "kernel_size": 1, "stride": 2}]},
        {"type": "relu"}, {"type": "squeeze_excite", "reduction": 3},
        {"type": "max_pool2d", "kernel_size": 2},
        {"type": "flatten", "start_dim": 1}, {"type": "transpose", "dims": [1, 0]},
        {"type": "transformer_block", "heads": 2}, {"type": "transformer_block", "heads": 2, "causal": true},
        {"type": "layer_norm"}, {"type": "select_token"}, {"type": "linear", "out_features": 3}
        """, batch: 4)

    private static func options(_ segments: Int, _ precision: ElementType = .float32) -> LoweringOptions {
        var options = LoweringOptions()
        (options.segments, options.precision) = (segments, precision)
        return options
    }

    /// The same calls on the same numbers: not a bit may differ.
    @Test(
        "gives the same gradients, bit for bit", arguments: GradientTests.cases + [deep],
        [ElementType.float32, .bfloat16])
    func sameBits(subject: ModelCase, precision: ElementType) throws {
        ThreadTeam.use(2)
        let probe = try Subject(subject.model, batch: subject.batch)
        let kind = LossKind.crossEntropy(labelSmoothing: 0)
        let kept = try GradientRun(probe, kind, Self.options(1, precision))
        for segments in [2, 3, 7] {
            let again = try GradientRun(probe, kind, Self.options(segments, precision))
            #expect(again.loss == kept.loss)
            #expect(again.gradients == kept.gradients, "\(segments) segments")
        }
    }

    @Test("trains to the same parameters and running statistics")
    func sameTraining() throws {
        ThreadTeam.use(2)
        let probe = try Subject(Self.deep.model, batch: 4)
        let trained = try [1, 4].map { segments in
            let program = try Program(
                probe.graph,
                .init(
                    loss: .crossEntropy(labelSmoothing: 0), optimizer: .sgd(momentum: 0.9),
                    trainingBatches: [4],
                    evaluationBatches: [], lowering: Self.options(segments)), on: DNNEngine())
            try program.allocate()
            for (id, values) in zip(probe.graph.parameterIDs, probe.reference.parameters) {
                try program.write(values.map { Float($0) }, to: id)
            }
            let plan = try #require(program.trainingPlan(batch: 4))
            let batch = try probe.delivered(.crossEntropy(labelSmoothing: 0))
            try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
            for step in 0..<3 {
                _ = try plan.run(
                    StepState(seed: 1, step: UInt64(step), learningRate: 0.05, inverseCount: 0.25))
            }
            return try probe.graph.parameterIDs.map { try program.read($0) }
        }
        #expect(trained[0] == trained[1])
    }

    @Test(
        "takes less memory for a deep net, and more multiply-accumulates, also of padded texts",
        arguments: [false, true])
    func memory(isPadded: Bool) throws {
        let blocks = (0..<12).map { _ in #"{"type": "transformer_block", "heads": 2}"# }
        let table = #"{"type": "embedding", "vocabulary": 5, "width": 16, "padding_idx": 0}"#
        let layers =
            ((isPadded ? [table] : []) + blocks).joined(separator: ", ")
            + #", {"type": "linear", "out_features": 3}"#
        let log = ViolationLog()
        let json = try JSONValue(
            parsing: Array(#"{"input": \#(isPadded ? "[32]" : "[32, 16]"), "layers": [\#(layers)]}"#.utf8))
        let graph = try #require(
            ModelSpec.read(json, at: "", data: DataShape(), log: log), "\(log.violations)"
        ).graph
        func plan(_ segments: Int) throws -> (bytes: Int, macs: Int) {
            let program = try Program(
                graph,
                .init(
                    loss: .crossEntropy(labelSmoothing: 0), optimizer: .sgd(), trainingBatches: [16],
                    evaluationBatches: [],
                    lowering: Self.options(segments)), on: DNNEngine())
            return (program.byteCount, try #require(program.trainingPlan(batch: 16)).macs)
        }
        let (kept, four, twelve) = (try plan(1), try plan(4), try plan(12))
        #expect(four.bytes < kept.bytes / 2)
        #expect(twelve.bytes < four.bytes)
        #expect(four.macs > kept.macs && four.macs < kept.macs * 4 / 3 + 1)
    }
}
