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
