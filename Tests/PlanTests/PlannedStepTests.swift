import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("A planned step") struct PlannedStepTests {
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0.1)
    private static let rate: Float = 0.05

    /// Every way in which a gradient reaches the update: at once, all together, through an accumulator.
    static let ways = [
        OptimizerOptions(), OptimizerOptions(clipNorm: 1e9), OptimizerOptions(accumulates: true),
    ]

    private static func trained(_ probe: Subject, _ optimizer: OptimizerOptions) throws -> Program {
        let program = try Program(
            probe.graph,
            .init(
                loss: loss, optimizer: optimizer, trainingBatches: [probe.batch], evaluationBatches: []),
            on: DNNEngine())
        try program.allocate()
        for (id, values) in zip(probe.graph.parameterIDs, probe.reference.parameters) {
            try program.write(values.map { Float($0) }, to: id)
        }
        let plan = try #require(
            program.trainingPlan(batch: probe.batch) ?? program.accumulationPlan(batch: probe.batch))
        let batch = try probe.delivered(loss)
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        let state = probe.state(learningRate: rate)
        _ = try plan.run(state)
        if let update = program.updatePlan { _ = try update.run(state) }
        return program
    }

    /// The step rounds a product and a difference of numbers below 2; a sum of a gradient's parts may come
    /// together in another order.
    @Test("moves every parameter against its gradient", arguments: GradientTests.cases, ways)
    func moves(subject: ModelCase, optimizer: OptimizerOptions) throws {
        let probe = try Subject(subject.model, batch: subject.batch)
        let program = try Self.trained(probe, optimizer)
        for (id, gradient) in try GradientRun(probe, Self.loss).gradients {
            let before = probe.reference.parameters[id.index]
            let after = try program.read(id)
            let bound = 4 * Double(Float.ulpOfOne) + Double(Self.rate) * GradientTests.tolerance(gradient)
            for place in gradient.indices {
                let expected = before[place] - Double(Self.rate * gradient[place])
                let error = abs(Double(after[place]) - expected)
                if error > bound { Issue.record("\(probe.graph[id].name)[\(place)] is off by \(error)") }
            }
        }
    }

    /// Means and variances of float32 numbers of a size around 1.
    @Test("moves running statistics towards the batch's", arguments: ModelCase.norms + ModelCase.graphs)
    func runningStatistics(subject: ModelCase) throws {
        let probe = try Subject(subject.model, batch: subject.batch)
        let program = try Self.trained(probe, OptimizerOptions())
        let values = probe.reference.values(probe.input, batch: probe.batch)
        for node in probe.graph.nodes {
            guard case .batchNorm = node.operation else { continue }
            let (mean, variance) = probe.reference.runningStatistics(
                after: values[node.inputs[0].index], of: node, batch: probe.batch)
            for (role, expected) in [
                (Graph.Parameter.Role.runningMean, mean), (.runningVariance, variance),
            ] {
                let found = try program.read(try #require(probe.graph.parameter(role, of: node)))
                let error = zip(found, expected).map { abs(Double($0) - $1) }.max() ?? .infinity
                #expect(error < 1e-5 * max(1, expected.map(abs).max() ?? 0), "\(node.name) \(role)")
                #expect(found.count == expected.count)
            }
        }
    }
}
