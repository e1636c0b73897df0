import Graph
import JSON
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("However gradients come together, the update is the same") struct UpdateTests {
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0.1)
    private static let rules: [OptimizerOptions.Rule] = [
        .sgd(momentum: 0.9, nesterov: true), .adam(beta1: 0.9, beta2: 0.99, epsilon: 1e-8),
        .adamW(beta1: 0.9, beta2: 0.999, epsilon: 1e-8), .lion(beta1: 0.9, beta2: 0.99),
        .rmsProp(alpha: 0.9, epsilon: 1e-6, momentum: 0.5),
    ]

    /// A convolution, a bias, a product: what has a layout of its own, and what has none.
    private static func graph() throws -> Graph {
        var conv = LayerKind.Conv2d(outChannels: 5, kernelSize: Pair(3, 3))
        conv.padding = Pair(1, 1)
        let kinds: [LayerKind] = [.conv2d(conv), .relu, .flatten, .linear(.init(outFeatures: 3))]
        let layers = kinds.enumerated().map { LayerSpec($1, name: "layer\($0)") }
        return try ModelSpec(input: Shape([1, 6, 5]), layers: layers).graph
    }

    private static func program(
        _ optimizer: OptimizerOptions, batches: [Int], loss: LossKind = loss,
        precision: ElementType = .float32
    ) throws -> Program {
        var lowering = LoweringOptions()
        lowering.precision = precision
        let program = try Program(
            graph(),
            .init(
                loss: loss, optimizer: optimizer, trainingBatches: batches, evaluationBatches: [6],
                lowering: lowering),
            on: DNNEngine())
        try program.allocate()
        for (index, id) in program.graph.parameterIDs.enumerated() {
            let values = randomFloats(
                program.graph[id].shape.elementCount, seed: UInt64(index + 1), low: -0.3, high: 0.3)
            for part in [ParameterStore.Part.value, .average] { try program.write(values, to: id, part) }
        }
        return program
    }

    /// Samples and labels in an arena.
    private struct Samples {
        static let count = 6
        let arena: Arena

        init(step: Int) throws {
            arena = try Arena(byteCount: Self.count * 30 * 4 + 64)
            arena.write(randomFloats(Self.count * 30, seed: UInt64(100 + step)), to: images(0, Self.count))
            arena.write((0..<Self.count).map { Int32(($0 + step) % 3) }, to: labels(0, Self.count))
        }

        func images(_ first: Int, _ count: Int) -> Slot {
            Slot(offset: first * 120, byteCount: count * 120)
        }

        func labels(_ first: Int, _ count: Int) -> Slot {
            Slot(offset: Self.count * 120 + first * 4, byteCount: count * 4)
        }
    }

    /// Three steps over six samples each, in parts of the program's batch size.
    private static func train(
        _ program: Program, _ rule: OptimizerOptions.Rule, parts: [Int]
    ) throws -> [[Float]] {
        for step in 0..<3 {
            let samples = try Samples(step: step)
            var state = StepState(
                seed: 1, step: UInt64(step), learningRate: 0.01, inverseCount: 1 / Float(Samples.count))
            state.correctBias(of: rule, update: step + 1)
            var first = 0
            for (index, count) in parts.enumerated() {
                state.microBatch = UInt32(index)
                let plan = try #require(
                    program.trainingPlan(batch: count) ?? program.accumulationPlan(batch: count))
                try plan.bindBatch(
                    input: samples.images(first, count), target: samples.labels(first, count),
                    in: samples.arena)
                _ = try plan.run(state)
                first += count
            }
            if let update = program.updatePlan { _ = try update.run(state) }
        }
        return try program.graph.parameterIDs.flatMap { id in
            try program.store.parts.map { try program.read(id, $0) }
        }
    }

    @Test(
        "all at once, parameter by parameter, or with the gradient, to the last bit", arguments: rules,
        [ElementType.float32, .bfloat16])
    func onePass(rule: OptimizerOptions.Rule, precision: ElementType) throws {
        var optimizer = OptimizerOptions(rule, weightDecay: 0.01, averageDecay: 0.9)
        let first = try Self.program(optimizer, batches: [6], precision: precision)
        let apart = try Self.train(first, rule, parts: [6])
        optimizer.clipNorm = 1e9
        let program = try Self.program(optimizer, batches: [6], precision: precision)
        #expect(try Self.train(program, rule, parts: [6]) == apart)
        #expect(program.gradientNorm?.scale == 1)
        #expect((program.gradientNorm?.norm ?? 0) > 0.01)
    }

    /// The gradients differ by the order of their sums, some 1e-7 of themselves; SGD passes that on.
    @Test("as a whole or in micro-batches of several sizes")
    func accumulation() throws {
        let rule = Self.rules[0]
        var optimizer = OptimizerOptions(rule, weightDecay: 0.01)
        let whole = try Self.train(Self.program(optimizer, batches: [6]), rule, parts: [6])
        optimizer.accumulates = true
        for parts in [[6], [3, 3], [4, 2], [1, 1, 1, 1, 1, 1]] {
            let program = try Self.program(optimizer, batches: Array(Set(parts)))
            let found = try Self.train(program, rule, parts: parts)
            for (one, other) in zip(found, whole) {
                let error = zip(one, other).map { abs($0 - $1) }.max() ?? 0
                let size = other.map(abs).max() ?? 0
                #expect(error <= 1e-6 * max(size, 1e-3), "\(parts)")
            }
        }
    }

    @Test("a clipped step is no longer than its bound allows")
    func clipping() throws {
        let rule = OptimizerOptions.Rule.sgd(momentum: 0, nesterov: false)
        let program = try Self.program(OptimizerOptions(rule, clipNorm: 1e-3), batches: [6])
        let before = try program.graph.parameterIDs.flatMap { try program.read($0) }
        let after = try Self.train(program, rule, parts: [6]).flatMap { $0 }
        // Three steps of 0.01 times a gradient of 1e-3; the weights round by 2^-24 of at most 0.3 each.
        let length = zip(before, after).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
        #expect(length.squareRoot() < 3 * 1e-5 * 1.01 + 1e-6)
        #expect(length > 0 && (program.gradientNorm?.norm ?? 0) > 1e-3)
    }

    /// In bfloat16, products read a copy of the weights; it has to follow in every way of changing them.
    @Test("an evaluation sees the weights as they are", arguments: [ElementType.float32, .bfloat16])
    func evaluation(precision: ElementType) throws {
        let rule = Self.rules[1]
        func outputs(_ program: Program) throws -> [Float] {
            let samples = try Samples(step: 9)
            let plan = try #require(program.evaluationPlan(batch: 6))
            try plan.bindBatch(
                input: samples.images(0, 6), target: samples.labels(0, 6), in: samples.arena)
            _ = try plan.run(StepState(seed: 1, step: 0, learningRate: 0, inverseCount: 1))
            return plan.output()
        }
        for optimizer in [
            OptimizerOptions(rule, averageDecay: 0.5), OptimizerOptions(rule, clipNorm: 1, averageDecay: 0.5),
            OptimizerOptions(rule, averageDecay: 0.5, accumulates: true),
        ] {
            let program = try Self.program(optimizer, batches: [6], precision: precision)
            let start = try outputs(program)
            _ = try Self.train(program, rule, parts: [6])
            var found = [try outputs(program)]
            program.swapAverages()
            found.append(try outputs(program))
            program.swapAverages()
            var expected: [[Float]] = []
            for part in [ParameterStore.Part.value, .average] {
                let other = try Self.program(optimizer, batches: [6], precision: precision)
                for id in program.graph.parameterIDs { try other.write(program.read(id, part), to: id) }
                expected.append(try outputs(other))
            }
            #expect(found == expected)
            #expect(found[0] != start && found[1] != start && found[0] != found[1])
        }
    }

    @Test("averages are exchanged with the parameters, and back")
    func swap() throws {
        let program = try Self.program(OptimizerOptions(averageDecay: 0.5), batches: [6])
        _ = try Self.train(program, .sgd(momentum: 0, nesterov: false), parts: [6])
        let ids = program.graph.parameterIDs
        let values = try ids.map { try program.read($0) }
        let averages = try ids.map { try program.read($0, .average) }
        #expect(values != averages)
        program.swapAverages()
        #expect(try ids.map { try program.read($0) } == averages)
        program.swapAverages()
        #expect(try ids.map { try program.read($0) } == values)
        #expect(try ids.map { try program.read($0, .average) } == averages)
    }
}
