import Tensor
import TestSupport
import Testing

@testable import Kernels

/// A linear layer's shape, and how many outputs its weights' blocks have.
struct LinearCase: Sendable, CustomTestStringConvertible {
    let rows: Int
    let inputs: Int
    let outputs: Int
    let block: Int

    var shape: InnerProductShape { InnerProductShape(batch: rows, inputs: inputs, outputs: outputs) }
    var testDescription: String { "\(rows) rows of \(inputs) to \(outputs) in blocks of \(block)" }

    func weights(_ element: ElementType = .float32) throws -> TensorLayout {
        try .weightBlocks([outputs, inputs], outputs: block, element: element)
    }

    func plain() throws -> TensorLayout { try .rowMajor([outputs, inputs]) }

    static let all = [
        LinearCase(rows: 1, inputs: 1, outputs: 1, block: 16),
        LinearCase(rows: 7, inputs: 33, outputs: 10, block: 16),
        LinearCase(rows: 64, inputs: 50, outputs: 40, block: 32),
        LinearCase(rows: 65, inputs: 100, outputs: 70, block: 64),
        LinearCase(rows: 64, inputs: 300, outputs: 100, block: 64),
        LinearCase(rows: 256, inputs: 17, outputs: 130, block: 64),
    ]
}

/// What a float64 loop makes of a linear layer's gradients, the weight's in PyTorch's order.
struct LinearReference {
    private let layer: LinearCase
    private var weight, bias: [Double]
    private var weightSums, biasSums: [Double]

    init(_ layer: LinearCase, _ input: [Float], _ gradient: [Float]) {
        self.layer = layer
        weight = [Double](repeating: 0, count: layer.inputs * layer.outputs)
        bias = [Double](repeating: 0, count: layer.outputs)
        (weightSums, biasSums) = (weight, bias)
        for row in 0..<layer.rows {
            for output in 0..<layer.outputs {
                let factor = Double(gradient[row * layer.outputs + output])
                bias[output] += factor
                biasSums[output] += abs(factor)
                for i in 0..<layer.inputs {
                    let term = factor * Double(input[row * layer.inputs + i])
                    weight[output * layer.inputs + i] += term
                    weightSums[output * layer.inputs + i] += abs(term)
                }
            }
        }
    }

    /// Checks gradients within what float32 sums of so many rows may round.
    func expect(_ found: [Float], _ foundBias: [Float]) {
        expectClose(
            found, weight.map { Float($0) },
            within: bounds(weight, sums: weightSums, terms: layer.rows, as: .float32), "weight")
        expectClose(
            foundBias, bias.map { Float($0) },
            within: bounds(bias, sums: biasSums, terms: layer.rows, as: .float32), "bias")
    }
}

@Suite("A linear layer's gradient and the update by it") struct LinearGradientTests {
    static let rules: [OptimizerUpdates.Rule] = [
        .sgd(momentum: 0, nesterov: false), .sgd(momentum: 0.9, nesterov: false),
        .sgd(momentum: 0.9, nesterov: true), .adam(beta1: 0.9, beta2: 0.99, epsilon: 1e-8),
        .adamW(beta1: 0.9, beta2: 0.999, epsilon: 1e-8), .lion(beta1: 0.9, beta2: 0.99),
        .rmsProp(alpha: 0.9, epsilon: 1e-6, momentum: 0), .rmsProp(alpha: 0.9, epsilon: 1e-6, momentum: 0.5),
    ]

    /// Input and output gradient, exact in the element type.
    private static func operands(_ layer: LinearCase, _ element: ElementType) -> ([Float], [Float]) {
        (
            rounded(randomFloats(layer.rows * layer.inputs, seed: 1), to: element),
            rounded(randomFloats(layer.rows * layer.outputs, seed: 2), to: element)
        )
    }

    private static func gradients(
        _ layer: LinearCase, _ element: ElementType
    ) throws -> (weight: [Float], bias: [Float]) {
        let (input, gradient) = operands(layer, element)
        let kernel = try #require(
            try LinearGradient.gradients(layer.shape, element, weights: layer.weights()))
        let run = try KernelRun(
            kernel, [stored(input, as: element), stored(gradient, as: element), .unwritten, .unwritten])
        return (run.floats(2), run.floats(3))
    }

    @Test("is that of a float64 loop", arguments: LinearCase.all, activationElements)
    func oracle(layer: LinearCase, element: ElementType) throws {
        let engine = try DNNEngine()
        let (input, gradient) = Self.operands(layer, element)
        let reference = LinearReference(layer, input, gradient)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            let found = try Self.gradients(layer, element)
            let plain = try Reorder.convert(
                found.weight, from: layer.weights(), to: layer.plain(), on: engine)
            reference.expect(plain, found.bias)
            // What reaches beyond the matrix would otherwise be updated.
            let padded = try Reorder.convert(plain, from: layer.plain(), to: layer.weights(), on: engine)
            #expect(bits(found.weight) == bits(padded))
        }
    }

    @Test("are to the last bit what they are one after the other", arguments: LinearCase.all, rules)
    func fused(layer: LinearCase, rule: OptimizerUpdates.Rule) throws {
        let engine = try DNNEngine()
        ThreadTeam.use(2)
        for element in activationElements {
            let (input, gradient) = Self.operands(layer, element)
            let found = try Self.gradients(layer, element)
            var state = StepState(seed: 0, step: 0, learningRate: 0.01, inverseCount: 1)
            state.correctBias(of: rule, update: 2)
            let layout = try layer.weights()
            func start(_ seed: UInt64, low: Float) throws -> Given {
                .floats(
                    try Reorder.convert(
                        randomFloats(layer.inputs * layer.outputs, seed: seed, low: low, high: 1),
                        from: layer.plain(), to: layout, on: engine))
            }
            // The second moments are not negative.
            let states = rule.stateNames.count
            let weights = try [start(3, low: -1)] + (0..<states).map { try start(UInt64(4 + $0), low: 0) }
            let average = try start(9, low: -1)
            let biases = (0...states + 1).map { seed in
                Given.floats(randomFloats(layer.outputs, seed: UInt64(20 + seed), low: 0, high: 1))
            }
            func apart(_ gradient: [Float], _ decay: Float, _ given: [Given]) throws -> [[UInt32]] {
                let kernel = OptimizerUpdates.update(
                    rule, segments: [.init(offset: 0, count: gradient.count, weightDecay: decay)],
                    averagingDecay: 0.9)
                let operands = [.state(state), given[0], .floats(gradient)] + given.dropFirst()
                let run = try KernelRun(kernel, operands)
                return [bits(run.floats(1))] + given.indices.dropFirst().map { bits(run.floats($0 + 2)) }
            }
            let expected = try apart(found.weight, 0.1, weights + [average]) + apart(found.bias, 0, biases)
            let kernel = try #require(
                LinearGradient.update(
                    layer.shape, element, weights: layout,
                    by: .init(
                        rule, weightDecay: 0.1, biasDecay: 0, averagingDecay: 0.9,
                        copies: element == .bfloat16)))
            let run = try KernelRun(
                kernel,
                [.state(state), stored(input, as: element), stored(gradient, as: element)] + weights
                    + [average] + biases)
            #expect(expected.indices.map { bits(run.floats($0 + 3)) } == expected, "\(element)")
            guard element == .bfloat16 else { continue }
            try Self.checkCopy(
                run.values(3 + expected.count, as: .bfloat16), of: run.floats(3), layer, on: engine)
        }
    }

    /// A copy in oneDNN's layout for products in bfloat16.
    private static func checkCopy(
        _ copy: [Float], of weights: [Float], _ layer: LinearCase, on engine: DNNEngine
    ) throws {
        let layout = try layer.weights(.bfloat16)
        #expect(WeightCopy.master(of: layout) == (try layer.weights()))
        // The same order of elements as float32.
        let expected = try Reorder.convert(
            weights, from: layer.weights(), to: layout.storing(.float32), on: engine)
        #expect(bits(copy) == bits(rounded(expected, to: .bfloat16)))
    }

    @Test("are left to others where weights lie otherwise, or rows are many")
    func others() throws {
        let layer = LinearCase.all[1]
        let update = LinearGradient.Update(
            Self.rules[0], weightDecay: 0, biasDecay: nil, averagingDecay: nil, copies: false)
        #expect(
            LinearGradient.update(layer.shape, .float32, weights: try layer.plain(), by: update) == nil)
        var shape = layer.shape
        shape.batch = LinearGradient.rowsMax + 1
        #expect(LinearGradient.update(shape, .float32, weights: try layer.weights(), by: update) == nil)
    }
}
