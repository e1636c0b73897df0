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
