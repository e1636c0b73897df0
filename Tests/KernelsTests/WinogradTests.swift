import Kernels
import Tensor
import TestSupport
import Testing

@Suite(
    "oneDNN's Winograd convolutions", .enabled(if: DNNEngine.hasBFloat16, "needs AVX-512")
)
struct WinogradTests {
    static let shapes: [ConvolutionShape] = [
        .of(batch: 4, 32, (8, 8), to: 64, padding: (1, 1)),
        // Neither channels nor tiles come out even.
        .of(batch: 3, 37, (9, 7), to: 50, padding: (1, 1)),
        .of(batch: 2, 48, (10, 6), to: 33, padding: (0, 0), hasBias: false),
    ]

    // Batches of 4, 3 and 2: even slices, uneven ones, and more asked for than there are samples.
    @Test(
        "agree with double precision in every pass and in slices of the batch, again and on other threads",
        arguments: shapes, 1...3)
    func passes(shape: ConvolutionShape, slices: Int) throws {
        let reference = ConvolutionReference(shape: shape)
        let input = randomFloats(reference.inputCount, seed: 1)
        let weight = randomFloats(reference.weightCount, seed: 2)
        let gradient = randomFloats(reference.outputCount, seed: 3)
        let bias = shape.hasBias ? randomFloats(shape.outChannels, seed: 4) : nil
        let expected = [
            reference.output(input, weight, bias), reference.inputGradient(gradient, weight),
            reference.weightGradient(input, gradient),
        ]
        let magnitudes = [
            reference.output(input.map(abs), weight.map(abs), bias?.map(abs)),
            reference.inputGradient(gradient.map(abs), weight.map(abs)),
            reference.weightGradient(input.map(abs), gradient.map(abs)),
        ]
        let terms = [reference.terms.output, reference.terms.input, reference.terms.weight]
        for threads in 1...3 {
            ThreadTeam.use(threads)
            let found = try Self.run(shape, slices, input, weight, gradient, bias)
            for pass in 0..<3 {
                // The direct bound 4 √K ε Σ|terms|, of the largest sum since a tile mixes its values;
                // the transforms amplify by a few times, the bound has more than that to spare.
                let bound = 4 * Float(terms[pass]).squareRoot() * epsilon * Float(magnitudes[pass].max() ?? 0)
                expectClose(
                    found[pass], expected[pass].map { Float($0) }, within: bound, "pass \(pass), \(threads)")
            }
            #expect(
                try Self.run(shape, slices, input, weight, gradient, bias) == found, "a second run differs")
        }
    }

    /// Output, input gradient and weight gradient in PyTorch's order, from one plain set of weights.
    private static func run(
        _ shape: ConvolutionShape, _ slices: Int, _ input: [Float], _ weight: [Float], _ gradient: [Float],
        _ bias: [Float]?
    ) throws -> [[Float]] {
        let engine = try DNNEngine()
        let plain = try TensorLayout.rowMajor(shape.weightExtents)
        let forward = try Convolution.forward(shape, algorithm: .winograd, slices: slices, on: engine)
        #expect(forward.implementation.contains("wino"))
        #expect(forward.implementation.contains("slices") == (slices > 1))
        let packed = try Reorder.convert(weight, from: plain, to: forward.layouts[1], on: engine)
        #expect(
            try Reorder.convert(packed, from: forward.layouts[1], to: plain, on: engine) == weight,
            "the weights can be read back")
        let biasGiven = bias.map { [Given.floats($0)] } ?? []
        let ahead = try KernelRun(forward, [.floats(input), .floats(packed)] + biasGiven)
        let backwardData = try Convolution.backwardData(
            shape, weights: forward.layouts[1], algorithm: .winograd, slices: slices, on: engine)
        let data = try KernelRun(backwardData, [.floats(gradient), .floats(packed)])
        let backwardWeights = try Convolution.backwardWeights(
            shape, weights: forward.layouts[1], algorithm: .winograd, slices: slices, on: engine)
        let back = try KernelRun(backwardWeights, [.floats(input), .floats(gradient)])
        if bias != nil {
            let sums = ConvolutionReference(shape: shape).biasGradient(gradient)
            // At most 256 terms below 1.
            expectClose(back.floats(3), sums.map { Float($0) }, within: 64 * 256 * epsilon, "bias gradient")
        }
        return [
            ahead.floats(2 + biasGiven.count), data.floats(2),
            try Reorder.convert(back.floats(2), from: backwardWeights.layouts[2], to: plain, on: engine),
        ]
    }

    @Test("are chosen where they win, and never for bfloat16 or what oneDNN cannot fuse")
    func choice() throws {
        let engine = try DNNEngine()
        let wide = ConvolutionShape.of(batch: 64, 256, (8, 8), to: 96, padding: (1, 1))
        func isWinograd(_ kernel: any LayerKernel) -> Bool {
            kernel.implementation.contains("wino") && !kernel.implementation.hasPrefix("ck_")
        }
        #expect(isWinograd(try Convolution.forward(wide, fusing: [.relu], on: engine)))
        #expect(isWinograd(try Convolution.forward(wide, training: false, on: engine)))
        #expect(isWinograd(try Convolution.backwardData(wide, on: engine)))
        #expect(isWinograd(try Convolution.backwardWeights(wide, on: engine)))
        #expect(!isWinograd(try Convolution.forward(wide, algorithm: .direct, on: engine)))
        #expect(!isWinograd(try Convolution.forward(wide, fusing: [.addToDestination], on: engine)))
        #expect(!isWinograd(try Convolution.forward(wide, element: .bfloat16, on: engine)))
        var narrow = wide
        narrow.inChannels = 16
        #expect(!isWinograd(try Convolution.forward(narrow, on: engine)))
        narrow = wide
        narrow.strideHeight = 2
        #expect(!isWinograd(try Convolution.forward(narrow, on: engine)))
        narrow = wide
        narrow.batch = 1
        #expect(!isWinograd(try Convolution.forward(narrow, on: engine)))
    }

    @Test("take a batch in slices where their scratch would be large")
    func slices() throws {
        let engine = try DNNEngine()
        let large = ConvolutionShape.of(batch: 64, 96, (20, 20), to: 192, padding: (1, 1))
        func scratch(_ slices: Int?) throws -> [Int] {
            let passes = [
                try Convolution.forward(large, slices: slices, on: engine),
                try Convolution.backwardData(large, slices: slices, on: engine),
                try Convolution.backwardWeights(large, slices: slices, on: engine),
            ]
            return passes.map { pass in pass.scratchpad.map { pass.operands[$0].byteCount } ?? 0 }
        }
        // Half of the copies of 96 + 192 channels of 64 images is saved at least.
        let saved = 32 * (96 + 192) * 20 * 20 * 4
        for (chosen, whole) in zip(try scratch(nil), try scratch(1)) { #expect(chosen <= whole - saved) }
        let small = ConvolutionShape.of(batch: 64, 96, (8, 8), to: 192, padding: (1, 1))
        #expect(try !Convolution.forward(small, on: engine).implementation.contains("slices"))
    }

    @Test("run what is fused behind them", arguments: PostOperationTests.operations)
    func fused(operation: PostOperation) throws {
        let shape = ConvolutionShape.of(batch: 32, 96, (8, 8), to: 192, padding: (1, 1))
        let reference = ConvolutionReference(shape: shape)
        let input = randomFloats(reference.inputCount, seed: 1)
        let weight = randomFloats(reference.weightCount, seed: 2)
        let engine = try DNNEngine()
        let outputs = try [[], [operation]].map { fusing in
            let kernel = try Convolution.forward(shape, fusing: fusing, on: engine)
            let packed = try Reorder.convert(
                weight, from: .rowMajor(shape.weightExtents), to: kernel.layouts[1], on: engine)
            let bias = randomFloats(192, seed: 3)
            return try KernelRun(kernel, [.floats(input), .floats(packed), .floats(bias)]).floats(3)
        }
        let expected = outputs[0].map { Float(PostOperationTests.apply(operation, Double($0))) }
        // Where the direct algorithm had to step in: 4 √865 ε of about 865 / 4, slope 1.2, and 1e-5 as there.
        expectClose(outputs[1], expected, within: 1.2 * 4 * 30 * epsilon * 217 + 1e-5, "\(operation)")
    }
}
