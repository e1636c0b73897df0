import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("A plan with a teacher") struct DistillationPlanTests {
    typealias Settings = DistillationLoss.Settings
    static let models = [
        ModelCase(
            "of samples", "[6]",
            """
            {"type": "linear", "out_features": 9}, {"type": "tanh"}, {"type": "linear", "out_features": 7}
            """, batch: 6),
        ModelCase("of tokens", "[4, 5]", #"{"type": "linear", "out_features": 6}"#, batch: 6),
        ModelCase(
            "of an image", "[3, 4, 5]",
            """
            {"type": "conv2d", "out_channels": 4, "kernel_size": 2}, {"type": "relu"}, {"type": "flatten"},
            {"type": "linear", "out_features": 5}
            """, batch: 6),
    ]
    static let softs: [DistillationLoss.Soft] = [
        .klDivergence, .crossEntropy, .squaredError, .reverseKL, .jensenShannon(share: 0.3),
        .decoupled(target: 1, others: 8),
    ]

    static func settings(_ soft: DistillationLoss.Soft) -> Settings {
        Settings(soft: soft, alpha: 0.3, temperature: 2.5, labelSmoothing: 0.1)
    }

    static func reference(_ settings: Settings) -> ReferenceDistillation {
        let soft: ReferenceDistillation.Soft =
            switch settings.soft {
            case .klDivergence: .divergence
            case .crossEntropy: .crossEntropy
            case .squaredError: .squaredError
            case .reverseKL: .reverse
            case .jensenShannon(let share): .mixture(share: Double(share))
            case .decoupled(let target, let others):
                .decoupled(target: Double(target), others: Double(others))
            }
        return ReferenceDistillation(
            soft, alpha: Double(settings.alpha), temperature: Double(settings.temperature),
            smoothing: Double(settings.labelSmoothing))
    }

    /// A teacher's outputs for the whole batch, in an arena.
    private struct Taught {
        let logits: [Float]
        let arena: Arena
        let rowByteCount: Int

        init(_ probe: Subject) throws {
            let count = probe.batch * probe.graph.outputShape.elementCount
            logits = randomFloats(count, seed: 77, low: -2, high: 2)
            rowByteCount = 4 * probe.graph.outputShape.elementCount
            arena = try Arena(byteCount: 4 * count)
            arena.write(logits, to: Slot(offset: 0, byteCount: 4 * count))
        }

        func place(_ samples: Range<Int>) -> Place {
            Place(
                Slot(offset: samples.lowerBound * rowByteCount, byteCount: samples.count * rowByteCount),
                in: arena)
        }
    }

    private static func gradients(
        _ probe: Subject, _ settings: Settings, _ taught: Taught
    ) throws -> (loss: Double, gradients: [Graph.ParameterID: [Float]]) {
        let engine = try DNNEngine()
        let kind = LossKind.distillation(settings, oneHot: true)
        let (plan, store, arena) = try Program.gradientPlan(
            probe.graph, batch: probe.batch, loss: kind, on: engine)
        for (id, values) in zip(probe.graph.parameterIDs, probe.reference.parameters) {
            try store.write(values.map { Float($0) }, to: id, in: arena, on: engine)
        }
        let batch = try probe.delivered(kind)
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        try plan.bind(.teacher, to: taught.place(0..<probe.batch))
        let result = try plan.run(probe.state())
        var gradients: [Graph.ParameterID: [Float]] = [:]
        for id in probe.graph.parameterIDs { gradients[id] = try plan.gradient(of: id, on: engine) }
        return (result.lossSum / Double(result.counted), gradients)
    }

    /// The bound is that of the other losses, for gradients that T and the weights make up to 20 times as
    /// large.
    @Test("has the gradients of central differences", arguments: models, softs)
    func differences(model: ModelCase, soft: DistillationLoss.Soft) throws {
        var probe = try Subject(model.model, batch: model.batch)
        probe.labels[1] = ReferenceLoss.ignored
        let (settings, taught) = (Self.settings(soft), try Taught(probe))
        let run = try Self.gradients(probe, settings, taught)
        let (reference, width) = (Self.reference(settings), probe.graph[probe.graph.output].channels)
        let teacher = taught.logits.map(Double.init)
        func loss(_ model: ReferenceModel) -> Double {
            reference.value(
                model.forward(probe.input, batch: probe.batch), teacher, probe.labels, width: width)
        }
        let expected = loss(probe.reference)
        #expect(abs(run.loss - expected) < 1e-5 * max(1, expected))
        #expect(run.gradients.count == probe.graph.parameters.count)
        for (id, gradient) in run.gradients {
            for place in stride(from: 0, to: gradient.count, by: max(1, gradient.count / 6)) {
                let ends = [1e-6, -1e-6].map { h in
                    var moved = probe.reference
                    moved.parameters[id.index][place] += h
                    return loss(moved)
                }
                let difference = (ends[0] - ends[1]) / 2e-6
                #expect(
                    abs(Double(gradient[place]) - difference) <= GradientTests.tolerance(gradient),
                    "\(probe.graph[id].name)[\(place)]: \(gradient[place]) against \(difference)")
            }
        }
    }

    @Test("agrees on one, two and three threads", arguments: models, softs)
    func threads(model: ModelCase, soft: DistillationLoss.Soft) throws {
        let probe = try Subject(model.model, batch: model.batch)
        let taught = try Taught(probe)
        let runs = try [1, 2, 3].map { count in
            ThreadTeam.use(count)
            return try Self.gradients(probe, Self.settings(soft), taught)
        }
        ThreadTeam.use(1)
        for run in runs {
            #expect(abs(run.loss - runs[0].loss) < 1e-6)
            for (id, gradient) in run.gradients {
                let one = try #require(runs[0].gradients[id])
                let error = zip(gradient, one).map { abs(Double($0 - $1)) }.max() ?? .infinity
                #expect(error <= 2 * GradientTests.tolerance(one))
            }
        }
    }

    private static func program(
        _ probe: Subject, _ settings: Settings, batches: [Int], accumulates: Bool
    ) throws -> Program {
        let optimizer = OptimizerOptions(accumulates: accumulates)
        var options = Program.Options(
            loss: .distillation(settings, oneHot: true), optimizer: optimizer, trainingBatches: batches,
            evaluationBatches: [probe.batch])
        options.evaluationLoss = .crossEntropy(labelSmoothing: 0)
        let program = try Program(probe.graph, options, on: DNNEngine())
        try program.allocate()
        for (id, values) in zip(probe.graph.parameterIDs, probe.reference.parameters) {
            try program.write(values.map { Float($0) }, to: id)
        }
        return program
    }

    /// The gradients differ by the order of their sums.
    @Test("moves parameters alike by a whole batch and by its parts", arguments: softs)
    func accumulation(soft: DistillationLoss.Soft) throws {
        let probe = try Subject(Self.models[0].model, batch: 6)
        let (settings, taught) = (Self.settings(soft), try Taught(probe))
        let batch = try probe.delivered(.distillation(settings, oneHot: true))
        func step(_ program: Program, _ parts: [Int]) throws -> [[Float]] {
            var first = 0
            for (index, count) in parts.enumerated() {
                var state = probe.state(learningRate: 0.05)
                state.microBatch = UInt32(index)
                let plan = try #require(
                    program.trainingPlan(batch: count) ?? program.accumulationPlan(batch: count))
                try plan.bindBatch(
                    input: Slot(offset: first * 24, byteCount: count * 24),
                    target: Slot(offset: batch.target.offset + first * 4, byteCount: count * 4),
                    in: batch.arena)
                try plan.bind(.teacher, to: taught.place(first..<first + count))
                _ = try plan.run(state)
                first += count
            }
            if let update = program.updatePlan { _ = try update.run(probe.state(learningRate: 0.05)) }
            return try program.graph.parameterIDs.map { try program.read($0) }
        }
        let whole = try step(Self.program(probe, settings, batches: [6], accumulates: false), [6])
        for parts in [[6], [3, 3], [4, 2], [1, 1, 1, 1, 1, 1]] {
            let program = try Self.program(
                probe, settings, batches: Array(Set(parts)), accumulates: true)
            for (one, other) in zip(try step(program, parts), whole) {
                let error = zip(one, other).map { abs($0 - $1) }.max() ?? .infinity
                #expect(error <= 1e-6, "\(parts)")
            }
        }
    }

    @Test("is evaluated by the labels alone, without a teacher")
    func evaluation() throws {
        let probe = try Subject(Self.models[2].model, batch: 6)
        let program = try Self.program(
            probe, Self.settings(.klDivergence), batches: [6], accumulates: false)
        let plan = try #require(program.evaluationPlan(batch: 6))
        let batch = try probe.delivered(.crossEntropy(labelSmoothing: 0))
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        let result = try plan.run(probe.state())
        let expected = probe.loss(.crossEntropy(labelSmoothing: 0), probe.reference)
        #expect(abs(result.lossSum / 6 - expected) < 1e-5 * max(1, expected))
        #expect(result.softSum == 0 && result.agreed == 0)
    }

    @Test("of a teacher stops at the output, whose place it tells", arguments: models)
    func inference(model: ModelCase) throws {
        let probe = try Subject(model.model, batch: model.batch)
        var options = Program.Options(
            loss: .crossEntropy(labelSmoothing: 0), optimizer: OptimizerOptions(), trainingBatches: [],
            evaluationBatches: [probe.batch])
        options.evaluatesLoss = false
        let program = try Program(probe.graph, options, on: DNNEngine())
        #expect(program.evaluationPlan(batch: probe.batch)?.outputPlace == nil, "it has no arena yet")
        try program.allocate()
        for (id, values) in zip(probe.graph.parameterIDs, probe.reference.parameters) {
            try program.write(values.map { Float($0) }, to: id)
        }
        let plan = try #require(program.evaluationPlan(batch: probe.batch))
        let batch = try probe.delivered(.crossEntropy(labelSmoothing: 0))
        try plan.bind(.input, to: Place(batch.input, in: batch.arena))
        _ = try plan.run(probe.state())
        #expect(!plan.summary.contains { $0.hasPrefix("loss") })
        let place = try #require(plan.outputPlace)
        #expect(place.arena.read(place.slot, as: Float.self) == plan.output())
        let expected = probe.reference.forward(probe.input, batch: probe.batch)
        let found = logicalOrder(
            plan.output().map { Double($0) }, of: probe.graph[probe.graph.output], batch: probe.batch)
        let error = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
        #expect(found.count == expected.count && error < 1e-5)
    }
}
