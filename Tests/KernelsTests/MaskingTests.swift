import Tensor
import TestSupport
import Testing

@testable import Kernels

@Suite("Masks hold numbers at zero") struct MaskingTests {
    /// Odd sizes leave tails behind every vector; the last is shared by several threads.
    static let counts = [1, 15, 16, 33, 70_001]

    static func mask(_ count: Int, seed: UInt64 = 7) -> [UInt8] {
        randomFloats(count, seed: seed).map { $0 < 0 ? 0 : 1 }
    }

    @Test("where a mask is 0 there are zeros, whatever was there", arguments: counts)
    func apply(count: Int) throws {
        ThreadTeam.use(3)
        var values = randomFloats(count, seed: 1)
        let mask = Self.mask(count)
        for index in stride(from: 0, to: count, by: 5) { values[index] = index % 2 == 0 ? .nan : .infinity }
        let run = try KernelRun(Masking.apply(count: count), [.floats(values), .bytes(mask)])
        #expect(bits(run.floats(0)) == zip(values, mask).map { $1 == 0 ? 0 : $0.bitPattern })
    }

    /// Rounded once a product and once a sum, or once in all where both are one instruction.
    @Test("gradient times weight is summed up where the step says so", arguments: counts)
    func score(count: Int) throws {
        ThreadTeam.use(2)
        let (weight, gradient) = (randomFloats(count, seed: 1), randomFloats(count, seed: 2))
        let before = randomFloats(count, seed: 3)
        for gathers: UInt32 in [0, 1] {
            var state = StepState(seed: 0, step: 0, learningRate: 1, inverseCount: 1)
            state.gathersScores = gathers
            let run = try KernelRun(
                Masking.score(count: count),
                [.state(state), .floats(weight), .floats(gradient), .floats(before)])
            let expected = before.indices.map { before[$0] + Float(gathers) * weight[$0] * gradient[$0] }
            expectClose(run.floats(3), expected, within: 2 * epsilon, "score")
            if gathers == 0 { #expect(bits(run.floats(3)) == bits(before)) }
        }
    }

    /// What stays moves as if it were alone; what does not is 0 through three steps of every rule, momentum
    /// and decay included.
    @Test("an update leaves them at zero", arguments: LinearGradientTests.rules, [nil, 0.9])
    func update(rule: OptimizerUpdates.Rule, average: Double?) throws {
        let count = 333
        let mask = Self.mask(count)
        let segment = OptimizerUpdates.Segment(offset: 0, count: count, weightDecay: 0.1)
        func kernel(_ masked: Bool) -> any PreparedKernel {
            OptimizerUpdates.update(rule, segments: [segment], averagingDecay: average, masked: masked)
        }
        let regions = 1 + rule.stateNames.count + (average == nil ? 0 : 1)
        let start = (0..<regions).map { randomFloats(count, seed: UInt64(10 + $0), low: 0, high: 1) }
        var held = start.map { zip($0, mask).map { $0 * Float($1) } }
        var free = start
        for step in 1...3 {
            var state = StepState(seed: 0, step: 0, learningRate: 0.01, inverseCount: 1)
            state.correctBias(of: rule, update: step)
            var gradient = randomFloats(count, seed: UInt64(step))
            func run(_ values: [[Float]], masked: Bool) throws -> [[Float]] {
                let rest: [Given] = values.dropFirst().map { .floats($0) } + (masked ? [.bytes(mask)] : [])
                let run = try KernelRun(
                    kernel(masked), [.state(state), .floats(values[0]), .floats(gradient)] + rest)
                return [run.floats(1)] + (1..<regions).map { run.floats($0 + 2) }
            }
            free = try run(free, masked: false)
            // A gradient that is no number is none of a weight that does not stay.
            if let place = mask.firstIndex(of: 0) { gradient[place] = .nan }
            held = try run(held, masked: true)
            for (one, other) in zip(held, free) {
                #expect(bits(one) == zip(other, mask).map { $1 == 0 ? 0 : $0.bitPattern })
            }
        }
    }

    @Test("also where it comes with the gradient", arguments: LinearCase.all, LinearGradientTests.rules)
    func fused(layer: LinearCase, rule: OptimizerUpdates.Rule) throws {
        ThreadTeam.use(2)
        let layout = try layer.weights()
        let count = layout.paddedCount
        var state = StepState(seed: 0, step: 0, learningRate: 0.01, inverseCount: 1)
        state.correctBias(of: rule, update: 2)
        let input = randomFloats(layer.rows * layer.inputs, seed: 1)
        let gradient = randomFloats(layer.rows * layer.outputs, seed: 2)
        let (mask, biasMask) = (Self.mask(count), Self.mask(layer.outputs, seed: 8))
        func regions(_ count: Int, _ mask: [UInt8], seed: UInt64) -> [Given] {
            (0...UInt64(rule.stateNames.count)).map { index in
                let values = randomFloats(count, seed: seed + index, low: 0, high: 1)
                return .floats(zip(values, mask).map { $0 * Float($1) })
            } + [.bytes(mask)]
        }
        let (weights, biases) = (regions(count, mask, seed: 20), regions(layer.outputs, biasMask, seed: 30))
        let found = try #require(
            try LinearGradient.gradients(layer.shape, .float32, weights: layout))
        let gradients = try KernelRun(found, [.floats(input), .floats(gradient), .unwritten, .unwritten])
        func apart(_ gradient: [Float], _ given: [Given]) throws -> [[UInt32]] {
            let kernel = OptimizerUpdates.update(
                rule, segments: [.init(offset: 0, count: gradient.count, weightDecay: 0.1)], masked: true)
            let run = try KernelRun(
                kernel, [.state(state), given[0], .floats(gradient)] + given.dropFirst())
            return [bits(run.floats(1))]
                + given.indices.dropFirst().dropLast().map { bits(run.floats($0 + 2)) }
        }
        let kernel = try #require(
            LinearGradient.update(
                layer.shape, .float32, weights: layout,
                by: .init(
                    rule, weightDecay: 0.1, biasDecay: 0.1, averagingDecay: nil, copies: false,
                    isMasked: true)))
        let run = try KernelRun(
            kernel, [.state(state), .floats(input), .floats(gradient)] + weights + biases)
        let places = 3..<3 + weights.count - 1
        #expect(places.map { bits(run.floats($0)) } == (try apart(gradients.floats(2), weights)))
        let behind = places.upperBound + 1
        let biasPlaces = behind..<behind + biases.count - 1
        #expect(biasPlaces.map { bits(run.floats($0)) } == (try apart(gradients.floats(3), biases)))
        #expect(zip(run.floats(3), mask).allSatisfy { $1 == 1 || $0.bitPattern == 0 })
    }
}
