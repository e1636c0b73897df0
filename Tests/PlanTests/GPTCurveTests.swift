import Foundation
import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("A GPT's first 100 steps") struct GPTCurveTests {
    /// PyTorch's own float32 stays within the fixture's `spread`, 1.1e-4, of its float64.
    @Test("equal PyTorch's losses to 1e-3, fused or not", arguments: [true, false])
    func agree(fuses: Bool) throws {
        let fixture = try Fixture("nanogpt_curve")
        #expect(try fixture.doubles("spread")[0] < 2e-4)
        try Self.compare(fixture, fuses: fuses)
    }

    @Test("equal PyTorch's losses to 1e-3 in nanoGPT's CPU configuration")
    func agreeInFull() throws {
        let fixture = try Fixture("nanogpt_drawn_curve")
        #expect(try fixture.doubles("spread")[0] < 2e-4)
        let graph = try FixtureModel.graph(of: fixture, "curve")
        try Self.compare(fixture, DrawnGPT(fixture, graph), fuses: true)
    }

    /// A file that `make_nanogpt_curve.py --full` has written.
    private static let fullFile = ProcessInfo.processInfo.environment["VINTNER_NANOGPT_CURVE"]

    @Test("equal PyTorch's losses on a text of one's own", .enabled(if: fullFile != nil))
    func agreeOnText() throws {
        try Self.compare(Fixture(path: #require(Self.fullFile)), fuses: true)
    }

    private static func compare(_ fixture: Fixture, _ drawn: DrawnGPT? = nil, fuses: Bool) throws {
        let expected = try fixture.doubles("losses")
        #expect(expected.count == 100)
        let found = try losses(fixture, drawn, fuses: fuses)
        for (step, (found, expected)) in zip(found, expected).enumerated() {
            #expect(abs(found / expected - 1) < 1e-3, "step \(step): \(found) for \(expected)")
        }
    }

    private static func losses(
        _ fixture: Fixture, _ drawn: DrawnGPT?, fuses: Bool
    ) throws -> [Double] {
        ThreadTeam.use(2)
        let graph = try FixtureModel.graph(of: fixture, "curve")
        let batch = Int(fixture.number("curve", "batch"))
        let (rates, context) = (try fixture.doubles("rates"), graph.inputShape.elementCount)
        var optimizer = OptimizerOptions(.adamW(beta1: 0.9, beta2: 0.99, epsilon: 1e-8), weightDecay: 0.1)
        optimizer.clipNorm = 1
        var lowering = LoweringOptions()
        lowering.fuses = fuses
        let program = try Program(
            graph,
            .init(
                loss: .crossEntropy(labelSmoothing: 0), optimizer: optimizer, trainingBatches: [batch],
                evaluationBatches: [], lowering: lowering), on: DNNEngine())
        try program.allocate()
        for id in graph.parameterIDs {
            let name = graph[id].name
            try program.write(
                drawn?.parameters[name] ?? fixture.floats("parameter/\(name)"), to: id)
        }
        let plan = try #require(program.trainingPlan(batch: batch))
        let tokens = try drawn?.tokens ?? fixture.bytes("tokens")
        #expect(tokens.count == rates.count * batch * (context + 1))
        let count = batch * context
        let slots = (Slot(offset: 0, byteCount: count * 4), Slot(offset: count * 4, byteCount: count * 4))
        let arena = try Arena(byteCount: slots.1.end)
        return try rates.indices.map { step in
            let windows = (0..<batch).map { row in
                tokens[((step * batch + row) * (context + 1))...].prefix(context + 1).map { Int32($0) }
            }
            arena.write(windows.flatMap { $0.dropLast() }, to: slots.0)
            arena.write(windows.flatMap { $0.dropFirst() }, to: slots.1)
            try plan.bindBatch(input: slots.0, target: slots.1, in: arena)
            var state = StepState(
                seed: 0, step: UInt64(step), learningRate: Float(rates[step]), inverseCount: 1 / Float(count))
            state.correctBias(of: optimizer.rule, update: step + 1)
            return try plan.run(state).lossSum / Double(count)
        }
    }
}
