import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Planned evaluation") struct EvaluationTests {
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0)

    /// A run by running statistics; the output in PyTorch's order.
    private static func evaluate(
        _ subject: Subject, _ lowering: LoweringOptions = LoweringOptions()
    ) throws -> (output: [Double], loss: Double) {
        let program = try Program(
            subject.graph,
            .init(
                loss: loss, optimizer: OptimizerOptions(), trainingBatches: [],
                evaluationBatches: [subject.batch], lowering: lowering), on: DNNEngine())
        try program.allocate()
        for (id, values) in zip(subject.graph.parameterIDs, subject.reference.parameters) {
            try program.write(values.map { Float($0) }, to: id)
        }
        let plan = try #require(program.evaluationPlan(batch: subject.batch))
        let batch = try subject.delivered(loss)
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        let result = try plan.run(subject.state())
        let output = plan.output().map { Double($0) }
        let value = subject.graph[subject.graph.output]
        return (
            logicalOrder(output, of: value, batch: subject.batch), result.lossSum / Double(result.counted)
        )
    }

    /// Sums of at most 2^10 products of the output's size in float32.
    @Test(
        "is the double-precision model with running statistics",
        arguments: GradientTests.cases + DropoutTests.cases)
    func agreesWithReference(subject: ModelCase) throws {
        var probe = try Subject(subject.model, batch: subject.batch, seed: 4)
        probe.reference.usesRunningStatistics = true
        let (output, loss) = try Self.evaluate(probe)
        let expected = probe.reference.forward(probe.input, batch: probe.batch)
        let scale = expected.map(abs).max() ?? 0
        #expect(output.count == expected.count)
        let error = zip(output, expected).map { abs($0 - $1) }.max() ?? .infinity
        #expect(error < 1e-5 * max(scale, 1))
        #expect(abs(loss - probe.loss(Self.loss, probe.reference)) < 1e-5 * max(1, loss))
    }

    /// Products over other numbers of rows may add up in another order: sums of at most 2^8 products of the
    /// output's size in float32, which in bfloat16 may be rounded the other way at each of ten tensors.
    @Test(
        "does not depend on how far a text is padded", arguments: [ElementType.float32, .bfloat16],
        [true, false])
    func padding(precision: ElementType, isPadded: Bool) throws {
        var lowering = LoweringOptions()
        lowering.precision = precision
        let texts: [[Double]] = [[3, 1, 2], [4, 4, 4, 4, 1], []]
        func outputs(context: Int) throws -> [Double] {
            let index = isPadded ? #", "padding_idx": 0"# : ""
            let model = """
                {"input": [\(context)], "layers": [
                    {"type": "embedding", "vocabulary": 5, "width": 16\(index)},
                    {"type": "transformer_block", "heads": 2}, {"type": "multi_head_attention", "heads": 4},
                    {"type": "global_avg_pool"}, {"type": "linear", "out_features": 4}]}
                """
            let padded = texts.flatMap { $0 + [Double](repeating: 0, count: context - $0.count) }
            return try Self.evaluate(Subject(model, batch: texts.count, seed: 6, input: padded), lowering)
                .output
        }
        let (short, long) = (try outputs(context: 5), try outputs(context: 70))
        let scale = short.map(abs).max() ?? 0
        let error = zip(short, long).map { abs($0 - $1) }.max() ?? .infinity
        let bound = (precision == .float32 ? 0x1p-16 : 10 * 0x1p-9) * scale
        #expect((error <= bound) == isPadded, "\(short) and \(long)")
    }

    /// Each stored tensor rounds by 2^-9 of its elements' size, and weights do; they add like independent
    /// errors over the layers, and a layer may double what came in.
    @Test("in bfloat16 is float32's up to the rounding of what is stored", arguments: GradientTests.cases)
    func bfloat16(subject: ModelCase) throws {
        var half = LoweringOptions()
        half.precision = .bfloat16
        let probe = try Subject(subject.model, batch: subject.batch, seed: 4)
        let (exact, rounded) = (try Self.evaluate(probe), try Self.evaluate(probe, half))
        let scale = exact.output.map(abs).max() ?? 0
        let roundings = Double(2 * probe.graph.nodes.count + 2).squareRoot() * 0x1p-9
        let error = zip(exact.output, rounded.output).map { abs($0 - $1) }.max() ?? .infinity
        #expect(error <= 2 * roundings * max(scale, 1))
        #expect(rounded.output != exact.output, "nothing was rounded")
    }
}
