import JSON
import Kernels
import TestSupport
import Testing

@Suite("SGD agrees with PyTorch") struct SGDTests {
    @Test("over five steps", arguments: Fixture.cases("optimizers", op: "sgd"))
    func fiveSteps(name: String) throws {
        let fixture = try Fixture("optimizers")
        let momentum = fixture.number(name, "momentum")
        var weight = try fixture.floats("\(name)/parameter_0")
        let kernel = OptimizerUpdates.sgd(
            count: weight.count, momentum: momentum, weightDecay: fixture.number(name, "weight_decay"),
            nesterov: fixture.cases[name]?["nesterov"]?.boolValue ?? false)
        let state = StepState(
            seed: 0, step: 0, learningRate: fixture.number(name, "lr"), inverseCount: 1)
        var velocity = [Float](repeating: 0, count: weight.count)
        for step in 1...5 {
            let gradient = try fixture.floats("\(name)/grad_\(step)")
            let operands: [Given] = [.state(state), .floats(weight), .floats(gradient)]
            let run = try KernelRun(kernel, momentum == 0 ? operands : operands + [.floats(velocity)])
            weight = run.floats(1)
            // Each step rounds four operations on numbers of the results' size.
            let expected = try fixture.floats("\(name)/parameter_\(step)")
            let scale = 4 * epsilon * Float(step)
            expectClose(weight, expected, within: scale * max(1, magnitude(expected)), "weight \(step)")
            guard momentum != 0 else { continue }
            velocity = run.floats(3)
            let moving = try fixture.floats("\(name)/momentum_\(step)")
            expectClose(velocity, moving, within: scale * max(1, magnitude(moving)), "velocity \(step)")
        }
    }
}

@Suite("One pass over all parameters agrees with PyTorch") struct OptimizerUpdatesTests {
    /// Two parameters of 35 and 19 floats, with a gap between them that nobody may touch.
    struct Regions {
        static let counts = [35, 19]
        static let offsets = [0, 48]
        static let gap: Float = 123

        static func join(_ parts: [[Float]]) -> [Float] {
            parts[0] + [Float](repeating: gap, count: offsets[1] - counts[0]) + parts[1]
        }

        static func split(_ region: [Float]) -> [[Float]] {
            #expect(region[counts[0]..<offsets[1]].allSatisfy { $0 == gap }, "the gap was written")
            return [Array(region[..<counts[0]]), Array(region[offsets[1]...])]
        }

        static func segments(decay: Float) -> [OptimizerUpdates.Segment] {
            [
                .init(offset: offsets[0], count: counts[0], weightDecay: decay),
                .init(offset: offsets[1], count: counts[1]),
            ]
        }
    }

    static let names = ["sgd", "adam", "adamw", "lion", "rmsprop"].flatMap {
        Fixture.cases("updates", op: $0)
    }

    static func rule(_ parameters: JSONValue) throws -> OptimizerUpdates.Rule {
        func number(_ key: String) -> Double { parameters[key]?.doubleValue ?? 0 }
        let betas = parameters["betas"]?.arrayValue?.compactMap(\.doubleValue) ?? [0, 0]
        return switch try #require(parameters["op"]?.stringValue) {
        case "sgd": .sgd(momentum: number("momentum"), nesterov: parameters["nesterov"] == true)
        case "adam": .adam(beta1: betas[0], beta2: betas[1], epsilon: number("eps"))
        case "adamw": .adamW(beta1: betas[0], beta2: betas[1], epsilon: number("eps"))
        case "lion": .lion(beta1: betas[0], beta2: betas[1])
        default:
            .rmsProp(alpha: number("alpha"), epsilon: number("eps"), momentum: number("momentum"))
        }
    }

    /// Each step rounds some eight operations on numbers of the weights' and gradients' size, which are
    /// about 3; a rule that divides by the gradient's size turns their relative errors into those of a step
    /// of lr, which is below 0.1.
    @Test("with clipping and averaging too", arguments: names)
    func fiveSteps(name: String) throws {
        let fixture = try Fixture("updates")
        let parameters = try #require(fixture.cases[name])
        let rule = try Self.rule(parameters)
        let segments = Regions.segments(decay: fixture.number(name, "weight_decay"))
        let (clip, average) = (parameters["clip"]?.doubleValue, parameters["average"]?.doubleValue)
        let update = OptimizerUpdates.update(
            rule, segments: segments, averagingDecay: average, clipped: clip != nil)
        let measure = OptimizerUpdates.gradientNorm(segments: segments, normMax: clip)
        func region(_ role: String, _ step: Int) throws -> [Float] {
            Regions.join(try (0..<2).map { try fixture.floats("\(name)/\(role)_\($0)_\(step)") })
        }
        var weights = try region("parameter", 0)
        var averages = weights
        var states = [[Float]](
            repeating: Regions.join(Regions.counts.map { [Float](repeating: 0, count: $0) }),
            count: rule.stateNames.count)
        for step in 1...5 {
            let gradients = Given.floats(try region("grad", step))
            let norm = try KernelRun(measure, [gradients])
            var state = StepState(
                seed: 0, step: 0, learningRate: fixture.number(name, "lr"), inverseCount: 1)
            state.correctBias(of: rule, update: step)
            var operands: [Given] = [.state(state), .floats(weights), gradients]
            operands += states.map { .floats($0) }
            if average != nil { operands.append(.floats(averages)) }
            if clip != nil {
                operands.append(.bytes(norm.bytes(1)))
                let expected = try fixture.floats("\(name)/norm_\(step)")
                expectClose([Float(norm.norm(1).norm)], expected, within: epsilon * expected[0], "norm")
            }
            let run = try KernelRun(update, operands)
            weights = run.floats(1)
            for place in states.indices { states[place] = run.floats(3 + place) }
            if average != nil { averages = run.floats(3 + states.count) }
            let found = Regions.split(weights)
            for index in 0..<2 {
                let expected = try fixture.floats("\(name)/parameter_\(index)_\(step)")
                expectClose(found[index], expected, within: 24 * epsilon * Float(step), "step \(step)")
            }
        }
        for (place, key) in rule.stateNames.enumerated() {
            for (index, found) in Regions.split(states[place]).enumerated() {
                let expected = try fixture.floats("\(name)/\(key)_\(index)")
                expectClose(found, expected, within: 40 * epsilon * max(1, magnitude(expected)), key)
            }
        }
        guard average != nil else { return }
        for (index, found) in Regions.split(averages).enumerated() {
            let expected = try fixture.floats("\(name)/average_\(index)")
            expectClose(found, expected, within: 24 * epsilon * 5, "average")
        }
    }

    @Test(
        "with the same bits on one, two and three threads, all at once or one by one",
        arguments: [
            OptimizerUpdates.Rule.sgd(momentum: 0.9, nesterov: true),
            .adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-8), .adamW(beta1: 0.9, beta2: 0.95, epsilon: 1e-8),
            .lion(beta1: 0.9, beta2: 0.99), .rmsProp(alpha: 0.99, epsilon: 1e-8, momentum: 0.9),
        ])
    func threads(rule: OptimizerUpdates.Rule) throws {
        let counts = [30_003, 7, 10_001]
        let total = counts.reduce(0, +)
        var state = StepState(seed: 0, step: 0, learningRate: 0.1, inverseCount: 1)
        state.correctBias(of: rule, update: 3)
        let regions = (0..<2 + rule.stateNames.count).map {
            randomFloats(total, seed: UInt64($0 + 1), low: 0.01)
        }
        func run(_ segments: [OptimizerUpdates.Segment], _ part: Range<Int>) throws -> [[UInt32]] {
            let found = try KernelRun(
                OptimizerUpdates.update(rule, segments: segments),
                [.state(state)] + regions.map { .floats(Array($0[part])) })
            return ([1] + rule.stateNames.indices.map { $0 + 3 }).map { bits(found.floats($0)) }
        }
        var offset = 0
        let segments = counts.map { count in
            defer { offset += count }
            return OptimizerUpdates.Segment(offset: offset, count: count, weightDecay: 0.01)
        }
        let results = try [1, 2, 3].map { threads in
            ThreadTeam.use(threads)
            return try run(segments, 0..<total)
        }
        #expect(results[1] == results[0] && results[2] == results[0])
        for segment in segments {
            let part = segment.offset..<segment.offset + segment.count
            let alone = try run([.init(offset: 0, count: segment.count, weightDecay: 0.01)], part)
            #expect(alone == results[0].map { Array($0[part]) })
        }
    }

    @Test("a factor of the rate acts on its segment alone")
    func rateFactor() throws {
        let segments: [OptimizerUpdates.Segment] = [
            .init(offset: 0, count: 1), .init(offset: 1, count: 1, rateFactor: 0.5),
        ]
        let run = try KernelRun(
            OptimizerUpdates.update(.sgd(momentum: 0, nesterov: false), segments: segments),
            [
                .state(StepState(seed: 0, step: 0, learningRate: 0.5, inverseCount: 1)), .floats([1, 1]),
                .floats([1, 1]),
            ])
        #expect(run.floats(1) == [0.5, 0.75])
    }
}

@Suite("What happens to gradients before an update") struct GradientTests {
    private func norm(_ values: [Float], limit: Double?) throws -> GradientNorm {
        let kernel = OptimizerUpdates.gradientNorm(
            segments: [.init(offset: 0, count: values.count)], normMax: limit)
        return try KernelRun(kernel, [.floats(values)]).norm(1)
    }

    /// Squares of floats are exact in a double; 60,000 sums of them round by 2^-53 each.
    @Test("their norm is that of a sum in double, on any number of threads", arguments: [1, 2, 3])
    func norm(threads: Int) throws {
        ThreadTeam.use(threads)
        let values = randomFloats(60_007, seed: 4, low: -3, high: 2)
        let expected = values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        let found = try norm(values, limit: 2)
        #expect(abs(found.norm - expected) < expected * 60_007 * 0x1p-53)
        #expect(abs(found.scale - Float(2 / (expected + 1e-6))) <= epsilon * found.scale)
        #expect(try norm(values, limit: 2) == found, "repeated")
    }

    @Test("squares beyond float32 do not overflow")
    func hugeNorm() throws {
        let found = try norm([3e30, 4e30], limit: 1)
        #expect(abs(found.norm / 5e30 - 1) < 1e-6 && found.scale > 0)
    }

    @Test("a norm within bounds, or without any, scales by 1; no number stays none")
    func bounds() throws {
        #expect(try norm([3, 4], limit: 6).scale == 1)
        #expect(try norm([3, 4], limit: nil) == GradientNorm(norm: 5, scale: 1))
        #expect(try norm([0], limit: 1).scale == 1)
        #expect(try norm([.nan, 4], limit: 1).scale.isNaN)
    }

    @Test("the first micro-batch's are stored, the others' added")
    func accumulation() throws {
        let count = 20_003
        let parts = (1...3).map { randomFloats(count, seed: $0) }
        var sum = [Float](repeating: .nan, count: count)
        for (index, part) in parts.enumerated() {
            var state = StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1)
            state.microBatch = UInt32(index)
            sum = try KernelRun(
                OptimizerUpdates.accumulate(count: count),
                [.state(state), .floats(part), .floats(sum)]
            ).floats(2)
        }
        let expected = (0..<count).map { place in parts.dropFirst().reduce(parts[0][place]) { $0 + $1[place] }
        }
        #expect(sum == expected)
    }

    @Test("an average follows its value")
    func averaging() throws {
        let run = try KernelRun(
            OptimizerUpdates.average(count: 3, decay: 0.75), [.floats([4, 0, -8]), .floats([0, 4, 8])])
        #expect(run.floats(1) == [1, 3, 4])
    }

    /// The exact value is 1 - 0.999^t; Float rounds it once.
    @Test("bias corrections keep their digits", arguments: [1, 7, 1000, 100_000_000])
    func biasCorrection(update: Int) {
        var state = StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1)
        state.correctBias(of: .adam(beta1: 0.5, beta2: 0.999, epsilon: 0), update: update)
        var power = 1.0
        for _ in 0..<min(update, 100_000) { power *= 0.999 }
        #expect(abs(state.biasCorrection2Root - Float((1 - power).squareRoot())) <= 2 * epsilon)
        #expect(state.biasCorrection1 == (update == 1 ? 0.5 : update == 7 ? 1 - 0x1p-7 : 1))
        state.correctBias(of: .lion(beta1: 0.9, beta2: 0.99), update: update)
        #expect(StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1).biasCorrection1 == 1)
    }
}
