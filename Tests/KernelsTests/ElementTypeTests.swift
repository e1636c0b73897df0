import Glibc
import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Convolutions and products in both element types") struct ElementTypeTests {
    static let shapes: [ConvolutionShape] = [
        .of(batch: 2, 3, (7, 9), to: 5, padding: (1, 1)),
        .of(batch: 3, 1, (12, 11), to: 20, kernel: (5, 5)),
        .of(batch: 2, 16, (6, 5), to: 33, stride: (2, 1), padding: (1, 0), hasBias: false),
        .of(batch: 1, 12, (9, 8), to: 8, padding: (2, 2), dilation: (2, 2), groups: 4),
        .of(batch: 2, 40, (5, 5), to: 17, kernel: (1, 1)),
        // Where a kernel of oneDNN's in bfloat16 has to be passed over.
        .of(batch: 2, 6, (5, 6), to: 5, kernel: (1, 1)),
        // One-dimensional: PyTorch's conv1d is this with a height of 1.
        .of(batch: 3, 6, (1, 31), to: 10, kernel: (1, 5), stride: (1, 2), padding: (0, 2)),
    ]

    @Test("convolutions agree with double precision", arguments: shapes, Arithmetic.allCases)
    func convolutions(shape: ConvolutionShape, arithmetic: Arithmetic) throws {
        for threads in 1...3 {
            ThreadTeam.use(threads)
            try Self.checkConvolution(shape, arithmetic.element, on: arithmetic.engine())
        }
    }

    private static func checkConvolution(
        _ shape: ConvolutionShape, _ element: ElementType, on engine: DNNEngine
    ) throws {
        let reference = ConvolutionReference(shape: shape)
        let input = rounded(randomFloats(reference.inputCount, seed: 1), to: element)
        let weight = rounded(randomFloats(reference.weightCount, seed: 2), to: element)
        let gradient = rounded(randomFloats(reference.outputCount, seed: 3), to: element)
        let bias = shape.hasBias ? randomFloats(shape.outChannels, seed: 4) : nil
        let terms = reference.terms

        let forward = try Convolution.forward(shape, element: element, on: engine)
        let packed = try pack(weight, shape.weightExtents, for: forward.layouts[1], on: engine)
        let biasGiven = bias.map { [Given.floats($0)] } ?? []
        let ahead = try KernelRun(forward, [stored(input, as: element), packed] + biasGiven)
        let expected = reference.output(input, weight, bias)
        let sums = reference.output(input.map(abs), weight.map(abs), bias?.map(abs))
        expectClose(
            ahead.values(2 + biasGiven.count, as: element), expected.map { Float($0) },
            within: bounds(expected, sums: sums, terms: terms.output, as: element), "output")

        let backwardData = try Convolution.backwardData(shape, element: element, on: engine)
        let packedBack = try pack(weight, shape.weightExtents, for: backwardData.layouts[1], on: engine)
        let data = try KernelRun(backwardData, [stored(gradient, as: element), packedBack])
        let expectedData = reference.inputGradient(gradient, weight)
        let sumsData = reference.inputGradient(gradient.map(abs), weight.map(abs))
        expectClose(
            data.values(2, as: element), expectedData.map { Float($0) },
            within: bounds(expectedData, sums: sumsData, terms: terms.input, as: element), "input gradient")

        let backwardWeights = try Convolution.backwardWeights(shape, element: element, on: engine)
        let back = try KernelRun(
            backwardWeights, [stored(input, as: element), stored(gradient, as: element)])
        #expect(backwardWeights.layouts[2].element == .float32)
        let found = try Reorder.convert(
            back.floats(2), from: backwardWeights.layouts[2], to: .rowMajor(shape.weightExtents), on: engine)
        let expectedWeight = reference.weightGradient(input, gradient)
        let sumsWeight = reference.weightGradient(input.map(abs), gradient.map(abs))
        expectClose(
            found, expectedWeight.map { Float($0) },
            within: bounds(expectedWeight, sums: sumsWeight, terms: terms.weight, as: .float32),
            "weight gradient")
        guard bias != nil else { return }
        let expectedBias = reference.biasGradient(gradient)
        expectClose(
            back.floats(3), expectedBias.map { Float($0) },
            within: bounds(
                expectedBias, sums: reference.biasGradient(gradient.map(abs)), terms: terms.weight,
                as: .float32), "bias gradient")
    }

    /// Float32 weights in PyTorch's order, brought into a primitive's layout and type as a plan does.
    private static func pack(
        _ weight: [Float], _ extents: [Int], for layout: TensorLayout, on engine: DNNEngine
    ) throws -> Given {
        let reorder = try Reorder.prepare(from: .rowMajor(extents), to: layout, on: engine)
        return .bytes(try KernelRun(reorder, [.floats(weight)]).bytes(1))
    }

    @Test("products agree with double precision", arguments: Arithmetic.allCases, [1, 2, 3])
    func products(arithmetic: Arithmetic, threads: Int) throws {
        let element = arithmetic.element
        ThreadTeam.use(threads)
        let (batch, inputs, outputs) = (7, 45, 19)
        let shape = InnerProductShape(batch: batch, inputs: inputs, outputs: outputs)
        // A product is a convolution of one pixel.
        let reference = ConvolutionReference(
            shape: .of(batch: batch, inputs, (1, 1), to: outputs, kernel: (1, 1)))
        let input = rounded(randomFloats(batch * inputs, seed: 1), to: element)
        let weight = rounded(randomFloats(outputs * inputs, seed: 2), to: element)
        let gradient = rounded(randomFloats(batch * outputs, seed: 3), to: element)
        let bias = randomFloats(outputs, seed: 4)
        let engine = try arithmetic.engine()
        let terms = reference.terms

        let forward = try InnerProduct.forward(shape, element: element, on: engine)
        let packed = try Self.pack(weight, [outputs, inputs], for: forward.layouts[1], on: engine)
        let ahead = try KernelRun(forward, [stored(input, as: element), packed, .floats(bias)])
        let expected = reference.output(input, weight, bias)
        let sums = reference.output(input.map(abs), weight.map(abs), bias.map(abs))
        expectClose(
            ahead.values(3, as: element), expected.map { Float($0) },
            within: bounds(expected, sums: sums, terms: terms.output, as: element), "output")

        let backwardData = try InnerProduct.backwardData(shape, element: element, on: engine)
        let packedBack = try Self.pack(weight, [outputs, inputs], for: backwardData.layouts[1], on: engine)
        let data = try KernelRun(backwardData, [stored(gradient, as: element), packedBack])
        let expectedData = reference.inputGradient(gradient, weight)
        let sumsData = reference.inputGradient(gradient.map(abs), weight.map(abs))
        expectClose(
            data.values(2, as: element), expectedData.map { Float($0) },
            within: bounds(expectedData, sums: sumsData, terms: terms.input, as: element), "input gradient")

        let backwardWeights = try InnerProduct.backwardWeights(shape, element: element, on: engine)
        let back = try KernelRun(
            backwardWeights, [stored(input, as: element), stored(gradient, as: element)])
        let found = try Reorder.convert(
            back.floats(2), from: backwardWeights.layouts[2], to: .rowMajor([outputs, inputs]), on: engine)
        let expectedWeight = reference.weightGradient(input, gradient)
        let sumsWeight = reference.weightGradient(input.map(abs), gradient.map(abs))
        expectClose(
            found, expectedWeight.map { Float($0) },
            within: bounds(expectedWeight, sums: sumsWeight, terms: terms.weight, as: .float32),
            "weight gradient")
    }

    @Test("a layout keeps its order in another element type")
    func storing() throws {
        let layout = try TensorLayout.channelsLast(batch: 2, channels: 3, height: 4, width: 5)
        #expect(layout.element == .float32 && layout.paddedCount == 120 && layout.byteCount == 480)
        let narrow = layout.storing(.bfloat16)
        #expect(narrow.element == .bfloat16 && narrow.paddedCount == 120 && narrow.byteCount == 240)
        #expect(narrow != layout && narrow.storing(.float32) == layout)
    }

    @Test("pooling takes the exact maximum and a rounded mean", arguments: Arithmetic.allCases)
    func pooling(arithmetic: Arithmetic) throws {
        let element = arithmetic.element
        let shape = PoolingShape(
            batch: 2, channels: 5, inHeight: 6, inWidth: 8, kernelHeight: 2, kernelWidth: 2, strideHeight: 2,
            strideWidth: 2)
        let engine = try arithmetic.engine()
        let input = rounded(randomFloats(2 * 6 * 8 * 5, seed: 6), to: element)
        func window(_ index: Int) -> [Float] {
            let (c, x, y, n) = (index % 5, index / 5 % 4, index / 20 % 3, index / 60)
            return [(0, 0), (0, 1), (1, 0), (1, 1)].map { row, column in
                input[((n * 6 + 2 * y + row) * 8 + 2 * x + column) * 5 + c]
            }
        }
        let highest = try KernelRun(
            Pooling.forward(shape, .maximum, element: element, on: engine), [stored(input, as: element)])
        #expect(highest.values(1, as: element) == (0..<120).map { window($0).max() ?? .nan })
        let mean = try KernelRun(
            Pooling.forward(shape, .average(countsPadding: false), element: element, on: engine),
            [stored(input, as: element)])
        let expected = (0..<120).map { window($0).reduce(0, +) / 4 }
        // Four terms below 1, and the rounding of a mean below 1.
        expectClose(
            mean.values(1, as: element), expected, within: 4 * epsilon + roundingError(of: element), "mean")
        let gradient = rounded(randomFloats(120, seed: 7), to: element)
        let back = try KernelRun(
            Pooling.backward(shape, .average(countsPadding: false), element: element, on: engine),
            [stored(gradient, as: element)])
        let spread = (0..<(2 * 6 * 8 * 5)).map { index in
            let (c, x, y, n) = (index % 5, index / 5 % 8, index / 40 % 6, index / 240)
            return gradient[((n * 3 + y / 2) * 4 + x / 2) * 5 + c] / 4
        }
        expectClose(back.values(1, as: element), spread, within: epsilon, "gradient of the mean")
    }
}

@Suite("What runs inside a convolution or product") struct PostOperationTests {
    static let operations: [PostOperation] = [
        .relu, .relu6, .leakyReLU(0.1), .geluErf, .geluTanh, .silu, .sigmoid, .tanh, .hardSwish,
        .scaled(0.375), .bounded(1.5), .shifted(-0.25), .clipped(-0.5, 0.75),
    ]

    static func apply(_ operation: PostOperation, _ x: Double) -> Double {
        switch operation {
        case .relu: max(x, 0)
        case .relu6: min(max(x, 0), 6)
        case .leakyReLU(let slope): x > 0 ? x : Double(slope) * x
        case .geluErf: 0.5 * x * (1 + erf(x / 2.0.squareRoot()))
        case .geluTanh: 0.5 * x * (1 + Glibc.tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
        case .silu: x / (1 + exp(-x))
        case .sigmoid: 1 / (1 + exp(-x))
        case .tanh: Glibc.tanh(x)
        case .hardSwish: x * min(max(x + 3, 0), 6) / 6
        case .scaled(let factor): x * Double(factor)
        case .bounded(let bound): min(max(x, 0), Double(bound))
        case .shifted(let constant): x + Double(constant)
        case .clipped(let low, let high): min(max(x, Double(low)), Double(high))
        case .addToDestination: x
        }
    }

    @Test("is what it is called", arguments: operations, Arithmetic.allCases)
    func operation(_ operation: PostOperation, arithmetic: Arithmetic) throws {
        let element = arithmetic.element
        let shape = ConvolutionShape.of(batch: 2, 3, (6, 7), to: 18, padding: (1, 1))
        let reference = ConvolutionReference(shape: shape)
        let input = rounded(randomFloats(reference.inputCount, seed: 1, low: -2, high: 2), to: element)
        let weight = rounded(randomFloats(reference.weightCount, seed: 2), to: element)
        let bias = randomFloats(18, seed: 3)
        let residual = rounded(randomFloats(reference.outputCount, seed: 4), to: element)
        let engine = try arithmetic.engine()
        for fusing in [[operation], [.addToDestination, operation]] {
            let kernel = try Convolution.forward(
                shape, element: element, fusing: fusing, training: false, on: engine)
            #expect(!kernel.isReference, "\(kernel.implementation)")
            let reorder = try Reorder.prepare(
                from: .rowMajor(shape.weightExtents), to: kernel.layouts[1], on: engine)
            let packed = try KernelRun(reorder, [.floats(weight)]).bytes(1)
            let run = try KernelRun(
                kernel,
                [stored(input, as: element), .bytes(packed), .floats(bias), stored(residual, as: element)])
            let isSum = fusing.count == 2
            let expected = reference.output(input, weight, bias).enumerated().map {
                Self.apply(operation, $1 + (isSum ? Double(residual[$0]) : 0))
            }
            // The sum errs by 4 √28 ε of at most 55, no slope exceeds 1.2; oneDNN's polynomials add 1e-5.
            let bound = expected.map {
                1.2 * 4 * Float(28).squareRoot() * epsilon * 55 + 1e-5 + roundingError(of: element)
                    * Float(abs($0))
            }
            expectClose(run.values(3, as: element), expected.map { Float($0) }, within: bound, "\(fusing)")
            #expect(kernel.operands[3].access == (isSum ? .readWrite : .write))
        }
    }

    @Test("works in products too", arguments: operations)
    func products(_ operation: PostOperation) throws {
        let shape = InnerProductShape(batch: 5, inputs: 20, outputs: 33)
        let input = randomFloats(100, seed: 1, low: -2, high: 2)
        let (weight, bias) = (randomFloats(660, seed: 2), randomFloats(33, seed: 3))
        let engine = try DNNEngine()
        let kernel = try InnerProduct.forward(shape, fusing: [operation], on: engine)
        let packed = try Reorder.convert(
            weight, from: .rowMajor([33, 20]), to: kernel.layouts[1], on: engine)
        let run = try KernelRun(kernel, [.floats(input), .floats(packed), .floats(bias)])
        let reference = ConvolutionReference(shape: .of(batch: 5, 20, (1, 1), to: 33, kernel: (1, 1)))
        let expected = reference.output(input, weight, bias).map { Self.apply(operation, $0) }
        // As above, with 21 terms of at most 41.
        let bound = 1.2 * 4 * Float(21).squareRoot() * epsilon * 41 + 1e-5
        expectClose(run.floats(3), expected.map { Float($0) }, within: bound, "\(operation)")
    }
}
