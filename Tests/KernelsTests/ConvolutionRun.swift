import Kernels
import Tensor
import TestSupport
import Testing

/// What one run of a convolution of ours leaves, forward and backward.
struct ConvolutionRun: Equatable {
    let output: [Float]
    let input: [Float]
    /// In PyTorch's order.
    let weight: [Float]
    let bias: [Float]

    /// Runs all three passes by an algorithm of ours, which must be what runs.
    init(
        _ shape: ConvolutionShape, _ algorithm: ConvolutionAlgorithm, _ element: ElementType,
        _ input: [Float], _ weight: [Float], _ bias: [Float]?, _ gradient: [Float],
        fusing: [PostOperation] = []
    ) throws {
        let engine = try DNNEngine()
        let plain = try TensorLayout.rowMajor(shape.weightExtents)
        let forward = try Convolution.forward(
            shape, element: element, fusing: fusing, algorithm: algorithm, on: engine)
        let blocked = forward.layouts[1]
        let packed = Given.floats(try Reorder.convert(weight, from: plain, to: blocked, on: engine))
        let biasGiven = bias.map { [Given.floats($0)] } ?? []
        let data = try Convolution.backwardData(
            shape, element: element, weights: blocked, algorithm: algorithm, on: engine)
        let weights = try Convolution.backwardWeights(
            shape, element: element, weights: blocked, algorithm: algorithm, on: engine)
        for kernel in [forward.implementation, data.implementation, weights.implementation] {
            #expect(kernel.hasPrefix(algorithm == .tiled ? "ck_winograd" : "ck_depthwise"))
        }
        let ahead = try KernelRun(forward, [stored(input, as: element), packed] + biasGiven)
        let back = try KernelRun(data, [stored(gradient, as: element), packed])
        let learned = try KernelRun(weights, [stored(input, as: element), stored(gradient, as: element)])
        output = ahead.values(2 + biasGiven.count, as: element)
        self.input = back.values(2, as: element)
        self.weight = try Reorder.convert(learned.floats(2), from: blocked, to: plain, on: engine)
        self.bias = bias == nil ? [] : learned.floats(3)
    }
}

extension ConvolutionRun {
    /// Checks what a fused activation makes of what the plain pass yields, which goes beyond a ReLU6's limit.
    ///
    /// Clamps are exact. For the others the plain result, of which the activation takes the unrounded number,
    /// may be off by its rounding, times a slope of at most 1.2; the rest as in `ActivationTests`.
    static func expectFused(
        _ operation: PostOperation, _ shape: ConvolutionShape, _ algorithm: ConvolutionAlgorithm,
        _ element: ElementType
    ) throws {
        let reference = ConvolutionReference(shape: shape)
        let input = rounded(randomFloats(reference.inputCount, seed: 1, low: -4, high: 4), to: element)
        let weight = randomFloats(reference.weightCount, seed: 2)
        let gradient = rounded(randomFloats(reference.outputCount, seed: 3), to: element)
        let bias = randomFloats(shape.outChannels, seed: 4)
        let plain = try ConvolutionRun(shape, algorithm, element, input, weight, bias, gradient)
        let fused = try ConvolutionRun(
            shape, algorithm, element, input, weight, bias, gradient, fusing: [operation])
        let kind = try #require(operation.activation)
        let expected = plain.output.map { Float(kind.exact(Double($0))) }
        let isClamp = operation == .relu || operation == .relu6
        expectClose(
            fused.output, expected,
            within: zip(plain.output, expected).map {
                isClamp ? 0 : kind.bound($0, $1, as: element) + 1.2 * roundingError(of: element) * abs($0)
            }, "\(operation)")
        #expect(plain.output.contains { $0 > 6 }, "the limit was never reached")
    }
}

extension ActivationKind {
    /// How far y = kind(x) may be off: x times a share in [0, 1] that is wrong by at most 8 ε
    /// (vector_math.h), GELU's by 2^-11 of itself where it is stored as bfloat16.
    func bound(_ x: Float, _ y: Float, as element: ElementType) -> Float {
        let short: Float = self == .geluErf && element == .bfloat16 ? 0x1p-11 : 0
        return 8 * epsilon * max(abs(x), 1) + (roundingError(of: element) + short) * abs(y)
    }
}
