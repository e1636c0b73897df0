import Kernels
import Tensor
import Testing

@Suite("Numbers take the values of their codes") struct RoundingTests {
    private static func random(_ count: Int, from low: Float, to high: Float, seed: UInt64 = 1) -> [Float] {
        var random = CounterRandom(seed: seed, purpose: .test)
        return (0..<count).map { _ in low + (high - low) * random.uniform() }
    }

    /// A range as kernels have it.
    private static func range(_ low: Float, _ high: Float, _ scale: ActivationScale) -> [Float] {
        [low, high, scale.scale, Float(scale.zeroPoint)]
    }

    /// Around the sizes at which the team shares.
    static let counts = [1, 37, 40_000]

    @Test("activations are those that codes stand for, bit for bit", arguments: counts, [UInt8(127), 255])
    func activations(count: Int, codeMax: UInt8) throws {
        var input = Self.random(count, from: -3, to: 4)
        if count > 30 { (input[3], input[7], input[11]) = (.nan, .infinity, -1e30) }
        let scale = try #require(ActivationScale(low: -1, high: 2, codeMax: codeMax))
        let given: [Given] = [.floats(input), .floats(Self.range(-1, 2, scale))]
        let run = try KernelRun(Rounding.activations(count: count, codeMax: codeMax), given)
        let expected = input.map { $0.isNaN ? $0 : scale.value(of: scale.code(of: $0)) }
        #expect(zip(run.floats(2), expected).allSatisfy { $0 == $1 || $0.isNaN && $1.isNaN })
        // Nothing is known of the range: nothing changes.
        let unknown = try KernelRun(
            Rounding.activations(count: count, codeMax: codeMax), [.floats(input), .floats([0, 0, 0, 0])])
        #expect(zip(unknown.floats(2), input).allSatisfy { $0 == $1 || $0.isNaN && $1.isNaN })
    }

    /// 1 / 0.75 has no exact float32: both sides round by 2^-24 of the value and of the step.
    @Test("what dropout has made larger has the codes of what it was")
    func factor() throws {
        let input = Self.random(1000, from: -1, to: 2)
        let scale = try #require(ActivationScale(low: -1, high: 2))
        let (range, factor) = (Self.range(-1, 2, scale), Float(1 / 0.75))
        let plain = try KernelRun(
            Rounding.activations(count: 1000, codeMax: 255), [.floats(input), .floats(range)]
        ).floats(2)
        let grown = try KernelRun(
            Rounding.activations(count: 1000, factor: factor, codeMax: 255),
            [.floats(input.map { $0 * factor }), .floats(range)]
        ).floats(2)
        let errors = zip(plain, grown).map { abs($0 * factor - $1) }
        // Where the code lies between two by a rounding error, it may be the neighbour's.
        #expect(errors.count { $0 > 1e-6 } <= 2 && errors.allSatisfy { $0 <= 1.01 * factor * scale.scale })
    }

    /// What lies inside the codes, half a step beyond the outermost included, is differentiated as if nothing
    /// were rounded; what is cut off does not change with the input.
    @Test("gradients pass where the nearest code is one, and nowhere else", arguments: counts)
    func straightThrough(count: Int) throws {
        var input = Self.random(count, from: -3, to: 4)
        if count > 30 { (input[3], input[7]) = (.nan, .infinity) }
        let gradient = Self.random(count, from: -1, to: 1, seed: 2)
        let scale = try #require(ActivationScale(low: -1, high: 2, codeMax: 200))
        let run = try KernelRun(
            Rounding.activationsBackward(count: count, codeMax: 200),
            [.floats(input), .floats(Self.range(-1, 2, scale)), .floats(gradient)])
        let (zero, step) = (Double(scale.zeroPoint), Double(scale.scale))
        let found = run.floats(2)
        var wrong = 0
        for (index, x) in input.enumerated() {
            let place = Double(x) / step + zero
            // The float32 place of a value errs by a few 2^-24 of 200 steps.
            if abs(place + 0.5) < 1e-4 || abs(place - 200.5) < 1e-4 { continue }
            let passes = place > -0.5 && place < 200.5
            if found[index] != (passes ? gradient[index] : 0) { wrong += 1 }
        }
        #expect(wrong == 0)
    }

    @Test("the slope is that of a clamp, by central differences away from its corners")
    func differences() throws {
        let input = Self.random(400, from: -3, to: 4)
        let scale = try #require(ActivationScale(low: -1, high: 2))
        let run = try KernelRun(
            Rounding.activationsBackward(count: 400, codeMax: 255),
            [.floats(input), .floats(Self.range(-1, 2, scale)), .floats([Float](repeating: 1, count: 400))])
        let (low, high) = (Double(scale.value(of: 0)), Double(scale.value(of: 255)))
        let margin = Double(scale.scale)
        for (x, slope) in zip(input.map { Double($0) }, run.floats(2))
        where abs(x - low) > margin && abs(x - high) > margin {
            func clamp(_ x: Double) -> Double { min(max(x, low), high) }
            let difference = (clamp(x + 1e-6) - clamp(x - 1e-6)) / 2e-6
            #expect(abs(Double(slope) - difference) < 1e-6)
        }
    }

    private static func followed(
        _ range: [Float], by batch: [Float], moves: Bool = true, isSymmetric: Bool = false,
        codeMax: UInt8 = 255
    ) throws -> [Float] {
        var state = StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1)
        state.movesRanges = moves ? 1 : 0
        let kernel = Rounding.follow(
            count: batch.count, rate: 0.25, isSymmetric: isSymmetric, codeMax: codeMax)
        return try KernelRun(kernel, [.state(state), .floats(batch), .floats(range)]).floats(2)
    }

    @Test(
        "ranges begin with the first batch, follow the next, and stay once they are frozen", arguments: counts
    )
    func ranges(count: Int) throws {
        let batch = Self.random(count, from: -1, to: 3)
        let (low, high) = (batch.min() ?? 0, batch.max() ?? 0)
        let first = try Self.followed([0, 0, 0, 0], by: batch)
        let scale = try #require(ActivationScale(low: low, high: high))
        #expect(first == Self.range(low, high, scale))
        // A frozen range that is not there yet has to come from somewhere.
        #expect(try Self.followed([0, 0, 0, 0], by: batch, moves: false) == first)
        let second = try Self.followed(first, by: batch.map { 2 * $0 })
        let moved = [Float(Double(low) * 1.25), Float(Double(high) * 1.25)]
        #expect(zip(second, moved).allSatisfy { abs($0 - $1) <= abs($1).ulp })
        let wider = try #require(ActivationScale(low: second[0], high: second[1]))
        #expect(second == Self.range(second[0], second[1], wider))
        #expect(try Self.followed(first, by: batch.map { 2 * $0 }, moves: false) == first)
        for wrong in [Float.nan, .infinity, -.infinity] {
            let bad = [Float](repeating: wrong, count: count)
            #expect(try Self.followed(first, by: bad) == first)
        }
    }

    @Test(
        "scales and zeros are those that the model is stored with", arguments: [false, true],
        [UInt8(127), 255])
    func scales(isSymmetric: Bool, codeMax: UInt8) throws {
        let ends: [(Float, Float)] = [
            (-1, 2), (0, 5), (-3, 0), (0.5, 0.75), (-2, -1), (0, 0), (-0.1, 1000), (1e-30, 2e-30), (-7e20, 3),
        ]
        for (low, high) in ends {
            let range = try Self.followed(
                [0, 0, 0, 0], by: [low, high], isSymmetric: isSymmetric, codeMax: codeMax)
            let scale = ActivationScale(low: low, high: high, isSymmetric: isSymmetric, codeMax: codeMax)
            let expected = try #require(scale)
            #expect(range == Self.range(low, high, expected), "\(low)...\(high)")
        }
        // No float32 scale covers it.
        #expect(try Self.followed([0, 0, 0, 0], by: [0, Float.leastNonzeroMagnitude])[2] == 0)
    }

    @Test("weights are those that codes stand for, bit for bit", arguments: [false, true], [false, true])
    func weights(isShared: Bool, hasBias: Bool) throws {
        let (rows, width) = (37, 45)
        var weights = Self.random(rows * width, from: -1, to: 1, seed: 3)
        for index in weights.indices where index % 3 == 0 { weights[index] = 0 }
        for index in 2 * width..<3 * width { weights[index] = 0 }
        let bias = Self.random(rows, from: -1e6, to: 1e6, seed: 4)
        let scale = try #require(ActivationScale(low: 0, high: 1))
        let kernel = Rounding.weights(rows: rows, width: width, hasBias: hasBias, isShared: isShared)
        let given: [Given] =
            [.floats(weights)] + (hasBias ? [.floats(bias)] : []) + [.floats(Self.range(0, 1, scale))]
        let run = try KernelRun(kernel, given)
        // As `Quantizer` has it.
        let least = bias.map { bias in
            hasBias ? Float(max(abs(Double(bias)) / (Double(scale.scale) * Double(1 << 23)), 1e-30)) : 1e-30
        }
        let (codes, scales) = Quantization.weights(
            weights, factors: [Float](repeating: 1, count: rows), least: least, isShared: isShared)
        #expect(run.floats(given.count) == scales)
        let expected = codes.enumerated().map { Float($1) * scales[$0 / width] }
        #expect(run.floats(given.count + 1) == expected)
        #expect(zip(weights, expected).allSatisfy { $0 != 0 || $1 == 0 })
    }
}
