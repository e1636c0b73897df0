import Graph
import JSON
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Masks hold through every way of updating") struct MaskTests {
    private static let rules: [OptimizerOptions.Rule] = [
        .sgd(momentum: 0.9, nesterov: false), .adam(beta1: 0.9, beta2: 0.99, epsilon: 1e-8),
        .adamW(beta1: 0.9, beta2: 0.999, epsilon: 1e-8), .lion(beta1: 0.9, beta2: 0.99),
        .rmsProp(alpha: 0.9, epsilon: 1e-6, momentum: 0.5),
    ]
    private static let batch = 6

    /// At once, all together, through an accumulator.
    private static let ways: [@Sendable (OptimizerOptions) -> OptimizerOptions] = [
        { $0 }, { with($0, clip: 0.05, accumulates: false) }, { with($0, clip: nil, accumulates: true) },
        { with($0, clip: 0.05, accumulates: true) },
    ]

    private static func with(_ options: OptimizerOptions, clip: Double?, accumulates: Bool)
        -> OptimizerOptions
    {
        var options = options
        (options.clipNorm, options.accumulates) = (clip, accumulates)
        return options
    }

    /// A convolution, a norm, a product behind a flatten: every kind of layout, biases too.
    private static func graph() throws -> Graph {
        var conv = LayerKind.Conv2d(outChannels: 5, kernelSize: Pair(3, 3))
        conv.padding = Pair(1, 1)
        let kinds: [LayerKind] = [
            .conv2d(conv), .batchNorm(.init()), .relu, .flatten, .linear(.init(outFeatures: 33)), .relu,
            .linear(.init(outFeatures: 3)),
        ]
        let layers = kinds.enumerated().map { LayerSpec($1, name: "layer\($0)") }
        return try ModelSpec(input: Shape([1, 6, 5]), layers: layers).graph
    }

    private static func program(
        _ optimizer: OptimizerOptions, _ precision: ElementType = .float32, readsGradients: Bool = false
    ) throws -> Program {
        var options = Program.Options(
            loss: .crossEntropy(labelSmoothing: 0), optimizer: optimizer, trainingBatches: [batch],
            evaluationBatches: [batch])
        options.lowering.precision = precision
        options.readsGradients = readsGradients
        let program = try Program(graph(), options, on: DNNEngine())
        try program.allocate()
        for (index, id) in program.graph.parameterIDs.enumerated() {
            let values = randomFloats(
                program.graph[id].shape.elementCount, seed: UInt64(index + 1), low: 0.01, high: 0.3)
            for part in [ParameterStore.Part.value, .average] { try program.write(values, to: id, part) }
        }
        return program
    }

    private static func run(_ program: Program, _ plan: ExecutionPlan, _ step: Int, gathers: Bool = false)
        throws
    {
        let arena = try Arena(byteCount: batch * 31 * 4)
        let input = Slot(offset: 0, byteCount: batch * 120)
        let target = Slot(offset: batch * 120, byteCount: batch * 4)
        arena.write(randomFloats(batch * 30, seed: UInt64(100 + step)), to: input)
        arena.write((0..<batch).map { Int32(($0 + step) % 3) }, to: target)
        var state = StepState(
            seed: 1, step: UInt64(step), learningRate: 0.01, inverseCount: 1 / Float(batch))
        state.gathersScores = gathers ? 1 : 0
        try plan.bindBatch(input: input, target: target, in: arena)
        _ = try plan.run(state)
        if case .accumulation = plan.mode, let update = program.updatePlan { _ = try update.run(state) }
    }

    private static func step(_ program: Program, _ step: Int, gathers: Bool = false) throws {
        let plan = try #require(
            program.trainingPlan(batch: batch) ?? program.accumulationPlan(batch: batch))
        try run(program, plan, step, gathers: gathers)
    }

    private static func mask(_ count: Int, _ index: Int) -> [UInt8] {
        randomFloats(count, seed: UInt64(50 + index)).map { $0 < 0 ? 0 : 1 }
    }

    @Test(
        "what is masked is zero in values, states and averages, at every step; the rest moves",
        arguments: rules, [ElementType.float32, .bfloat16])
    func holds(rule: OptimizerOptions.Rule, precision: ElementType) throws {
        for way in Self.ways {
            let optimizer = way(
                OptimizerOptions(rule, weightDecay: 0.01, averageDecay: 0.9, isMasked: true))
            let program = try Self.program(optimizer, precision)
            let ids = program.graph.parameterIDs.filter { program.graph[$0].isTrained }
            // Momentum first, so that there is something to be held.
            try Self.step(program, 0)
            var masks: [[UInt8]] = []
            for (index, id) in ids.enumerated() {
                masks.append(Self.mask(program.graph[id].shape.elementCount, index))
                try program.setMask(masks[index], of: id)
                #expect(try program.mask(of: id) == masks[index])
            }
            let before = try ids.map { try program.read($0) }
            for step in 1...3 {
                try Self.step(program, step)
                for (id, mask) in zip(ids, masks) {
                    for part in program.store.parts {
                        let values = try program.read(id, part)
                        #expect(zip(values, mask).allSatisfy { $1 == 1 || $0.bitPattern == 0 }, "\(part)")
                    }
                }
            }
            // A bias in front of a normalisation has no gradient but what rounding leaves.
            let moved = try zip(ids, before).filter { id, before in try program.read(id) != before }
            #expect(moved.count >= masks.count { $0.contains(1) } - 1)
        }
    }

    /// An evaluation reads what else was made of the parameters: copies in bfloat16, folded norms.
    @Test("an evaluation sees the masked weights", arguments: [ElementType.float32, .bfloat16])
    func evaluation(precision: ElementType) throws {
        let program = try Self.program(OptimizerOptions(Self.rules[0], isMasked: true), precision)
        let plain = try Self.program(OptimizerOptions(Self.rules[0]), precision)
        func output(_ program: Program) throws -> [Float] {
            let plan = try #require(program.evaluationPlan(batch: Self.batch))
            try Self.run(program, plan, 7)
            return plan.output()
        }
        let first = try output(program)
        #expect(try first == output(plain))
        for (index, id) in program.graph.parameterIDs.enumerated() where program.graph[id].isTrained {
            try program.setMask(Self.mask(program.graph[id].shape.elementCount, index), of: id)
        }
        let second = try output(program)
        #expect(first != second)
        for id in program.graph.parameterIDs { try plain.write(program.read(id), to: id) }
        #expect(try second == output(plain))
    }

    @Test("without a zero in them, masks change no bit", arguments: rules)
    func ones(rule: OptimizerOptions.Rule) throws {
        for way in Self.ways {
            var found: [[[Float]]] = []
            for isMasked in [false, true] {
                let program = try Self.program(
                    way(OptimizerOptions(rule, weightDecay: 0.01, isMasked: isMasked)))
                for step in 0..<3 { try Self.step(program, step) }
                found.append(
                    try program.graph.parameterIDs.flatMap { id in
                        try program.store.parts.map { try program.read(id, $0) }
                    })
            }
            #expect(found[0] == found[1])
        }
    }

    /// The norm of what stays alone: everything masked leaves nothing to clip.
    @Test("a gradient that is masked counts for nothing in the norm")
    func norm() throws {
        let program = try Self.program(OptimizerOptions(Self.rules[0], clipNorm: 1, isMasked: true))
        for id in program.graph.parameterIDs where program.graph[id].isTrained {
            try program.setMask([UInt8](repeating: 0, count: program.graph[id].shape.elementCount), of: id)
        }
        try Self.step(program, 0)
        #expect(program.gradientNorm?.norm == 0)
    }

    /// Both plans sum gradients in the same order; a product and a sum round once each.
    @Test("scores are the sum of gradient times weight, from steps that gather")
    func scores() throws {
        for way in Self.ways {
            let program = try Self.program(
                way(OptimizerOptions(Self.rules[0], isMasked: true, gathersScores: true)),
                readsGradients: true)
            let ids = program.graph.parameterIDs.filter { program.graph[$0].isTrained }
            var expected = ids.map { [Float](repeating: 0, count: program.graph[$0].shape.elementCount) }
            for step in 0..<4 {
                let gathers = step % 2 == 1
                let plan = try #require(program.gradientPlan(batch: Self.batch))
                try Self.run(program, plan, step)
                for (index, id) in ids.enumerated() where gathers {
                    let gradient = try #require(try plan.gradient(of: id, on: program.engine))
                    let weight = try program.read(id)
                    for place in weight.indices { expected[index][place] += gradient[place] * weight[place] }
                }
                try Self.step(program, step, gathers: gathers)
            }
            for (id, expected) in zip(ids, expected) {
                let found = try program.read(id, .score)
                let size = expected.map(abs).max() ?? 0
                let error = zip(found, expected).map { abs($0 - $1) }.max() ?? 0
                #expect(error <= 1e-5 * max(size, 1e-3), "\(program.graph[id].name)")
            }
        }
    }

    @Test("without masks there is no room for them, and no call")
    func absent() throws {
        let (plain, masked) = (
            try Self.program(OptimizerOptions(Self.rules[0])),
            try Self.program(OptimizerOptions(Self.rules[0], isMasked: true))
        )
        #expect(!plain.isMasked && masked.isMasked)
        #expect(try plain.mask(of: plain.graph.parameterIDs[0]) == nil)
        let summaries = [plain, masked].map { $0.trainingPlan(batch: Self.batch)?.summary ?? [] }
        #expect(summaries[0] == summaries[1])
        let bytes = [plain, masked].map { $0.store.byteCount }
        // A byte beside the value and the velocity, of four bytes each, up to the next line.
        #expect(bytes[0] < bytes[1] && bytes[1] < bytes[0] + bytes[0] / 8 + Arena.alignment)
    }
}
