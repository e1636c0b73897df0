import Graph
import JSON
import Kernels
import Tensor
import TestSupport
import Testing

@testable import Plan

@Suite("Planned runs") struct PlannedRunTests {
    private static func layers(_ kinds: [LayerKind]) -> [LayerSpec] {
        kinds.enumerated().map { LayerSpec($1, name: "layer\($0)") }
    }

    private static let convolution = LayerKind.conv2d(.init(outChannels: 5, kernelSize: Pair(3, 2)))
    private static let head = LayerKind.linear(.init(outFeatures: 3))
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0.1)

    /// Convolution, normalisation, pooling and products over odd sizes, without dropout.
    private static let mixed: [LayerKind] = [
        convolution, .batchNorm(.init()), .relu, .maxPool2d(.init(kernelSize: Pair(2, 2))), .flatten,
        .linear(.init(outFeatures: 17)), .relu, head,
    ]

    private static func subject(_ kinds: [LayerKind] = mixed, batch: Int, seed: UInt64 = 1) throws -> Subject
    {
        try Subject([3, 9, 7], layers(kinds), batch: batch, seed: seed)
    }

    private static func program(
        _ subject: Subject, _ optimizer: OptimizerOptions = .init(), training: [Int] = [],
        evaluation: [Int] = []
    ) throws -> Program {
        let program = try Program(
            subject.graph,
            .init(
                loss: loss, optimizer: optimizer, trainingBatches: training, evaluationBatches: evaluation),
            on: DNNEngine())
        try program.allocate()
        for (id, values) in zip(subject.graph.parameterIDs, subject.reference.parameters) {
            try program.write(values.map { Float($0) }, to: id)
        }
        return program
    }

    @discardableResult
    private static func run(
        _ plan: ExecutionPlan?, _ subject: Subject, step: UInt64 = 0, rate: Float = 0
    ) throws -> LossResult {
        let plan = try #require(plan)
        let batch = try subject.delivered(loss)
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        return try plan.run(
            StepState(
                seed: 3, step: step, learningRate: rate, inverseCount: 1 / Float(subject.batch)))
    }

    private static func gradients(_ subject: Subject, _ parameters: [[Float]]) throws -> [[Float]?] {
        let engine = try DNNEngine()
        let (plan, store, arena) = try Program.gradientPlan(
            subject.graph, batch: subject.batch, loss: loss, on: engine)
        for (id, values) in zip(subject.graph.parameterIDs, parameters) {
            try store.write(values, to: id, in: arena, on: engine)
        }
        try run(plan, subject)
        return try subject.graph.parameterIDs.map { try plan.gradient(of: $0, on: engine) }
    }

    static let optimizers = [
        OptimizerOptions.sgd(), .sgd(momentum: 0.9, weightDecay: 0.01),
        .sgd(momentum: 0.8, nesterov: true, weightDecay: 0.02, decaysBiasAndNorm: true),
    ]

    /// A step rounds a few operations on numbers of the parameters' size; the gradients of the steps behind
    /// the first see those roundings.
    @Test("a training step is a gradient step and SGD, a short batch's too", arguments: optimizers)
    func trainingStep(optimizer: OptimizerOptions) throws {
        let rate: Float = 0.1
        guard case .sgd(let weight, let nesterov) = optimizer.rule else { return }
        let momentum = Float(weight)
        let first = try Self.subject(batch: 4)
        let program = try Self.program(first, optimizer, training: [4, 3])
        var parameters = first.reference.parameters.map { $0.map { Float($0) } }
        var velocities = parameters.map { [Float](repeating: 0, count: $0.count) }
        for (step, batch) in [4, 3, 4].enumerated() {
            let subject = try Self.subject(batch: batch, seed: UInt64(step + 7))
            try Self.run(program.trainingPlan(batch: batch), subject, step: UInt64(step), rate: rate)
            let gradients = try Self.gradients(subject, parameters)
            for (index, gradient) in gradients.enumerated() {
                guard let gradient else { continue }
                let role = first.graph.parameters[index].role
                let decay = optimizer.decaysBiasAndNorm || role == .weight ? optimizer.weightDecay : 0
                for place in gradient.indices {
                    let slope = gradient[place] + decay * parameters[index][place]
                    velocities[index][place] = momentum * velocities[index][place] + slope
                    let velocity = velocities[index][place]
                    parameters[index][place] -=
                        rate * (nesterov ? slope + momentum * velocity : velocity)
                }
            }
        }
        for (index, id) in first.graph.parameterIDs.enumerated() where first.graph[id].role.isLearned {
            let found = try program.read(id)
            let error = zip(found, parameters[index]).map { abs($0 - $1) }.max() ?? 0
            #expect(error < 64 * Float.ulpOfOne, "\(first.graph[id].name)")
            // The gradient of a bias before a batch normalisation is zero but for rounding.
            guard first.graph[id].role == .weight else { continue }
            #expect(found != first.reference.parameters[index].map { Float($0) }, "it did not learn")
        }
    }

    @Test("a fused ReLU computes what a separate one does")
    func fusion() throws {
        let one = LayerKind.maxPool2d(.init(kernelSize: Pair(1, 1)))
        let fused = try Self.subject([Self.convolution, .relu, .flatten, Self.head], batch: 3)
        let apart = try Self.subject([Self.convolution, one, .relu, .flatten, Self.head], batch: 3)
        let programs = try [fused, apart].map { try Self.program($0, training: [3], evaluation: [3]) }
        #expect(programs[0].evaluationPlan(batch: 3)?.summary[0].hasPrefix("layer0 + layer1 forward") == true)
        #expect(programs[1].evaluationPlan(batch: 3)?.summary[0].hasPrefix("layer0 forward") == true)
        let outputs = try zip(programs, [fused, apart]).map { program, subject in
            try Self.run(program.evaluationPlan(batch: 3), subject)
            return program.evaluationPlan(batch: 3)?.output() ?? []
        }
        // Sums of 105 terms below 0.5 at most; a fused pass may order them otherwise.
        let bound = 4 * Float(105).squareRoot() * Float.ulpOfOne * 105 * 0.5
        #expect(outputs[0].count == 9)
        #expect(zip(outputs[0], outputs[1]).allSatisfy { abs($0 - $1) <= bound })
        for (program, subject) in zip(programs, [fused, apart]) {
            try Self.run(program.trainingPlan(batch: 3), subject, rate: 0.1)
        }
        for (left, right) in zip(programs[0].graph.parameterIDs, programs[1].graph.parameterIDs) {
            let (a, b) = (try programs[0].read(left), try programs[1].read(right))
            #expect(zip(a, b).allSatisfy { abs($0 - $1) <= bound })
        }
    }

    @Test("evaluation is the double-precision model with running statistics, dropout left out")
    func evaluation() throws {
        var subject = try Self.subject([.dropout(0.5)] + Self.mixed + [.dropout(0.9)], batch: 5)
        subject.reference.usesRunningStatistics = true
        let program = try Self.program(subject, evaluation: [5])
        let result = try Self.run(program.evaluationPlan(batch: 5), subject)
        let expected = subject.reference.forward(subject.input, batch: 5)
        let scale = expected.map(abs).max() ?? 0
        let output = program.evaluationPlan(batch: 5)?.output() ?? []
        #expect(output.count == expected.count)
        for (found, wanted) in zip(output, expected) {
            #expect(abs(Double(found) - wanted) < 1e-5 * max(scale, 1))
        }
        let loss = subject.loss(Self.loss, subject.reference)
        #expect(abs(result.lossSum / 5 - loss) < 1e-5 * max(1, loss))
    }

    @Test("evaluation changes no parameter")
    func evaluationIsPure() throws {
        let subject = try Self.subject(batch: 4)
        let program = try Self.program(subject, .sgd(momentum: 0.9), training: [4], evaluation: [4])
        try Self.run(program.trainingPlan(batch: 4), subject, rate: 0.1)
        let before = try subject.graph.parameterIDs.map { try program.read($0) }
        try Self.run(program.evaluationPlan(batch: 4), subject, rate: 0.1)
        #expect(try subject.graph.parameterIDs.map { try program.read($0) } == before)
    }

    private static func trained(_ threads: Int) throws -> (losses: [Double], parameters: [[Float]]) {
        ThreadTeam.use(threads)
        let subject = try Self.subject([.dropout(0.2)] + Self.mixed, batch: 6)
        let program = try Self.program(subject, .sgd(momentum: 0.9), training: [6])
        let losses = try (0..<4).map { step in
            try run(program.trainingPlan(batch: 6), subject, step: UInt64(step), rate: 0.05).lossSum
        }
        return (losses, try subject.graph.parameterIDs.map { try program.read($0) })
    }

    @Test("from the same state end with the same bits", arguments: [1, 2, 3])
    func repeatable(threads: Int) throws {
        let (first, second) = (try Self.trained(threads), try Self.trained(threads))
        #expect(first.losses == second.losses)
        #expect(first.parameters == second.parameters)
    }

    /// Large enough that every kernel splits its work.
    @Test("at LeNet's size end with the same bits on two threads")
    func repeatableLeNet() throws {
        let pool = LayerKind.maxPool2d(.init(kernelSize: Pair(2, 2)))
        let kinds: [LayerKind] = [
            .conv2d(.init(outChannels: 20, kernelSize: Pair(5, 5))), pool, .relu,
            .conv2d(.init(outChannels: 50, kernelSize: Pair(5, 5))), pool, .batchNorm(.init()), .flatten,
            .linear(.init(outFeatures: 500)), .relu, .dropout(0.5), .linear(.init(outFeatures: 10)),
        ]
        let subject = try Subject([1, 28, 28], Self.layers(kinds), batch: 64)
        ThreadTeam.use(2)
        let results = try (0..<2).map { _ in
            let program = try Self.program(subject, .sgd(momentum: 0.9), training: [64])
            let losses = try (0..<4).map { step in
                try Self.run(
                    program.trainingPlan(batch: 64), subject, step: UInt64(step), rate: 1e-4
                ).lossSum
            }
            return (losses, try subject.graph.parameterIDs.map { try program.read($0) })
        }
        #expect(results[0].0 == results[1].0)
        #expect(results[0].1 == results[1].1)
        #expect(results[0].0.allSatisfy { $0.isFinite } && Set(results[0].0).count == 4)
    }

    @Test("agree on one and two threads up to rounding")
    func threads() throws {
        let (one, two) = (try Self.trained(1), try Self.trained(2))
        for (a, b) in zip(one.losses, two.losses) { #expect(abs(a / b - 1) < 1e-4) }
    }

    @Test("need the memory that is known before they run, and stay within it", arguments: [1, 4, 33])
    func memory(batch: Int) throws {
        let subject = try Self.subject(batch: batch)
        let program = try Program(
            subject.graph,
            .init(
                loss: Self.loss, optimizer: .sgd(momentum: 0.9), trainingBatches: [batch],
                evaluationBatches: [batch]), on: DNNEngine())
        #expect(program.arena == nil)
        let plans = [program.trainingPlan(batch: batch), program.evaluationPlan(batch: batch)].compactMap {
            $0
        }
        #expect(plans.map(\.end).max() == program.byteCount)
        try program.allocate()
        #expect(program.arena?.byteCount == program.byteCount)
        for plan in plans {
            for step in plan.steps {
                for (id, operand) in zip(step.operands, step.kernel.operands) {
                    let buffer = plan.buffers[id.index]
                    guard case .transient = buffer.home else { continue }
                    let slot = try #require(buffer.slot)
                    #expect(slot.byteCount >= operand.byteCount && slot.end <= plan.end)
                    #expect(slot.offset >= program.store.byteCount, "\(buffer.label) lies on a parameter")
                }
            }
            try checkOverlaps(plan)
        }
    }

    private func checkOverlaps(_ plan: ExecutionPlan) throws {
        let placed = plan.buffers.filter { $0.slot != nil && $0.home == .transient }
        for (index, left) in placed.enumerated() {
            for right in placed[..<index] {
                guard let a = left.lifetime, let b = right.lifetime, a.overlaps(b) else { continue }
                let (p, q) = (try #require(left.slot), try #require(right.slot))
                #expect(p.end <= q.offset || q.end <= p.offset, "\(left.label) and \(right.label) overlap")
            }
        }
    }

    @Test("a program without room says how much it asked for")
    func noRoom() {
        #expect(
            PlanError.noMemory(byteCount: 5).description == "The system refused 5 bytes for the plan.")
    }
}
