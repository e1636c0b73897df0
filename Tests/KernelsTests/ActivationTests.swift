import Glibc
import Kernels
import Tensor
import TestSupport
import Testing

extension ActivationKind {
    static let all: [ActivationKind] = [
        .relu, .relu6, .leakyReLU(slope: 0.01), .leakyReLU(slope: -0.5), .geluErf, .geluTanh, .silu, .sigmoid,
        .tanh, .hardSwish,
    ]

    /// The definition, in double precision.
    func exact(_ x: Double) -> Double {
        switch self {
        case .relu: max(x, 0)
        case .relu6: min(max(x, 0), 6)
        case .leakyReLU(let slope): x > 0 ? x : Double(slope) * x
        case .geluErf: x * (1 + erf(x * 0.5.squareRoot())) / 2
        case .geluTanh: x * (1 + Glibc.tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x))) / 2
        case .silu: x / (1 + exp(-x))
        case .sigmoid: 1 / (1 + exp(-x))
        case .tanh: Glibc.tanh(x)
        case .hardSwish: x * min(max(x + 3, 0), 6) / 6
        }
    }

    /// The slope of the definition by central differences: with h = 1e-5 wrong by 1e-10, and meaningless at a
    /// kink.
    func exactSlope(_ x: Double) -> Double { (exact(x + 1e-5) - exact(x - 1e-5)) / 2e-5 }
}

@Suite("Activations agree with their definitions") struct ActivationTests {
    static let types: [ElementType] = [.float32, .bfloat16]

    /// Beyond the size below which kernels stay on one thread, and not a multiple of a cache line.
    static let large = 20_011

    /// Inputs of all magnitudes that matter, none within 1e-4 of a kink.
    private static func inputs(_ count: Int, seed: UInt64, _ type: ElementType) -> [Float] {
        let wide = randomFloats(count, seed: seed, low: -9, high: 9)
        let drawn = wide.enumerated().map { $0 % 3 == 0 ? $1 : $1 / 4 }
        let kinks: [Float] = [-3, 0, 3, 6]
        return rounded(drawn, to: type).map { value in
            kinks.contains { abs($0 - value) < 1e-4 } ? value + 0.25 : value
        }
    }

    @Test("forward", arguments: ActivationKind.all, types)
    func forward(kind: ActivationKind, type: ElementType) throws {
        for count in [1, 37, Self.large] {
            let input = Self.inputs(count, seed: 1, type)
            let run = try KernelRun(
                Activation.forward(kind, count: count, type: type), [stored(input, as: type)])
            let exact = input.map { kind.exact(Double($0)) }
            let bounds = zip(input, exact).map { kind.bound($0, Float($1), as: type) }
            expectClose(run.values(1, as: type), exact.map(Float.init), within: bounds, "\(kind)")
        }
    }

    @Test("backward, from what is said to be saved", arguments: ActivationKind.all, types)
    func backward(kind: ActivationKind, type: ElementType) throws {
        for count in [1, 37, Self.large] {
            let input = Self.inputs(count, seed: 2, type)
            let output = rounded(input.map { Float(kind.exact(Double($0))) }, to: type)
            let saved = kind.backwardReads == .input ? input : output
            let gradient = rounded(randomFloats(count, seed: 3), to: type)
            let run = try KernelRun(
                Activation.backward(kind, count: count, type: type),
                [stored(saved, as: type), stored(gradient, as: type)])
            let exact = zip(input, gradient).map { kind.exactSlope(Double($0)) * Double($1) }
            // As forward, the share multiplied by slopes of at most 1.2 |x|. A saved output's own rounding
            // enters where the gradient depends on its value: y (1 - y) and 1 - y² have slopes of at most 2.
            let fromValue = kind == .sigmoid || kind == .tanh
            let bounds = exact.indices.map { index in
                let size = max(abs(input[index]), 1) * abs(gradient[index])
                let rounding = roundingError(of: type)
                // Of a share of at most 1 only the smaller side's is wrong by 2^-11 of itself.
                let short: Float = kind == .geluErf && type == .bfloat16 ? 0x1p-12 * abs(gradient[index]) : 0
                return 16 * epsilon * size + rounding * Float(abs(exact[index])) + short
                    + (fromValue ? 2 * rounding * abs(gradient[index] * output[index]) : 0)
            }
            expectClose(run.values(2, as: type), exact.map(Float.init), within: bounds, "\(kind)")
        }
    }

    @Test("have PyTorch's gradients at the kinks")
    func kinks() throws {
        func gradients(_ kind: ActivationKind, _ inputs: [Float]) throws -> [Float] {
            let saved = kind.backwardReads == .input ? inputs : inputs.map { Float(kind.exact(Double($0))) }
            let ones = [Float](repeating: 1, count: inputs.count)
            return try KernelRun(
                Activation.backward(kind, count: inputs.count), [.floats(saved), .floats(ones)]
            ).floats(2)
        }
        #expect(try gradients(.relu, [0, -1, 1]) == [0, 0, 1])
        #expect(try gradients(.relu6, [0, 6, 7, 4]) == [0, 0, 0, 1])
        #expect(try gradients(.leakyReLU(slope: 0.25), [0, -1, 1]) == [0.25, 0.25, 1])
        #expect(try gradients(.hardSwish, [-4, -3, 3, 4, 0]) == [0, 0, 1, 1, 0.5])
    }

    @Test("pass NaN on", arguments: ActivationKind.all, types)
    func nonFinite(kind: ActivationKind, type: ElementType) throws {
        let run = try KernelRun(
            Activation.forward(kind, count: 2, type: type), [stored([.nan, 1], as: type)])
        let output = run.values(1, as: type)
        #expect(output[0].isNaN && !output[1].isNaN)
        let smooth: Set<ActivationKind> = [.geluErf, .geluTanh, .silu, .sigmoid, .tanh]
        let back = try KernelRun(
            Activation.backward(kind, count: 2, type: type),
            [stored(smooth.contains(kind) ? [.nan, 0.5] : [1, 1], as: type), stored([.nan, 1], as: type)])
        #expect(back.values(2, as: type)[0].isNaN && !back.values(2, as: type)[1].isNaN)
    }

    @Test("give the same bits in place, and on one to three threads", arguments: ActivationKind.all, types)
    func places(kind: ActivationKind, type: ElementType) throws {
        let input = stored(Self.inputs(Self.large, seed: 4, type), as: type)
        let gradient = stored(rounded(randomFloats(Self.large, seed: 5), to: type), as: type)
        let forward = Activation.forward(kind, count: Self.large, type: type)
        let backward = Activation.backward(kind, count: Self.large, type: type)
        ThreadTeam.use(1)
        let output = try KernelRun(forward, [input]).bytes(1)
        let gradientIn = try KernelRun(backward, [input, gradient]).bytes(2)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            #expect(try KernelRun(forward, [input]).bytes(1) == output)
            #expect(try KernelRun(forward, [input, .sharing(0)]).bytes(0) == output)
            #expect(try KernelRun(backward, [input, gradient]).bytes(2) == gradientIn)
            #expect(try KernelRun(backward, [input, gradient, .sharing(1)]).bytes(1) == gradientIn)
            #expect(try KernelRun(backward, [input, gradient, .sharing(0)]).bytes(0) == gradientIn)
        }
    }
}

@Suite("Element-wise kernels store what they compute") struct StoredElementwiseTests {
    private let count = ActivationTests.large
    private func values(_ seed: UInt64) -> [Float] { rounded(randomFloats(count, seed: seed), to: .bfloat16) }

    @Test("a sum in bfloat16 is the rounded float32 sum") func add() throws {
        let (left, right) = (values(1), values(2))
        let run = try KernelRun(
            Elementwise.add(count: count, type: .bfloat16),
            [stored(left, as: .bfloat16), stored(right, as: .bfloat16)])
        #expect(run.values(2, as: .bfloat16) == rounded(zip(left, right).map(+), to: .bfloat16))
    }

    @Test("dropout in bfloat16 keeps the same elements as in float32") func dropout() throws {
        let input = values(3)
        let state = Given.state(StepState(seed: 5, step: 9, learningRate: 0, inverseCount: 1))
        func run(_ type: ElementType) throws -> [Float] {
            let kernel = Elementwise.dropout(count: count, probability: 0.4, layer: 1, purpose: 5, type: type)
            return try KernelRun(kernel, [state, stored(input, as: type)]).values(2, as: type)
        }
        #expect(try run(.bfloat16) == rounded(try run(.float32), to: .bfloat16))
    }

    @Test("two branches' gradients are added and cut at once", arguments: ActivationTests.types)
    func addReLUBackward(type: ElementType) throws {
        let (left, right, output) = (values(1), values(2), values(3))
        let kernel = Elementwise.addReLUBackward(count: count, type: type)
        let given = [left, right, output].map { stored($0, as: type) }
        let expected = zip(zip(left, right).map(+), output).map { $1 > 0 ? $0 : 0 }
        #expect(try KernelRun(kernel, given).values(3, as: type) == rounded(expected, to: type))
        for place in 0..<3 {
            let shared = try KernelRun(kernel, given + [.sharing(place)])
            #expect(shared.values(place, as: type) == rounded(expected, to: type))
        }
    }
}
