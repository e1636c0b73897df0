import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Transposed convolutions") struct TransposedConvolutionTests {
    /// A case, and what is added at the far edge.
    struct Case: CustomStringConvertible, Sendable {
        let settings: ConvolutionShape
        let extra: (Int, Int)
        /// PyTorch's size of the output.
        let size: (Int, Int)

        var description: String {
            "\(settings.inChannels)->\(settings.outChannels) to \(size.0)x\(size.1)"
        }
    }

    /// Sizes by PyTorch's formula (n - 1) · stride - 2 · padding + dilation · (kernel - 1) + extra + 1.
    static let cases = [
        Case(settings: .of(batch: 2, 5, (4, 6), to: 7), extra: (0, 0), size: (6, 8)),
        Case(
            settings: .of(batch: 3, 16, (5, 4), to: 33, stride: (2, 2), padding: (1, 1)), extra: (1, 1),
            size: (10, 8)),
        Case(
            settings: .of(batch: 1, 8, (3, 5), to: 12, kernel: (2, 4), stride: (2, 3), hasBias: false),
            extra: (0, 2), size: (6, 18)),
        Case(
            settings: .of(batch: 2, 6, (5, 5), to: 4, padding: (2, 1), dilation: (2, 1), groups: 2),
            extra: (0, 0), size: (5, 5)),
        Case(
            settings: .of(batch: 2, 6, (1, 9), to: 3, kernel: (1, 4), stride: (1, 2), padding: (0, 1)),
            extra: (0, 0), size: (1, 18)),
        // Where a kernel of oneDNN's in bfloat16 has to be passed over.
        Case(settings: .of(batch: 2, 5, (5, 6), to: 6, kernel: (1, 1)), extra: (0, 0), size: (5, 6)),
    ]

    @Test("agree with double precision in every pass", arguments: cases, Arithmetic.allCases)
    func passes(_ tested: Case, arithmetic: Arithmetic) throws {
        for threads in 1...3 {
            ThreadTeam.use(threads)
            try Self.check(tested, arithmetic.element, on: arithmetic.engine())
        }
    }

    private static func check(_ tested: Case, _ element: ElementType, on engine: DNNEngine) throws {
        let shape = TransposedConvolutionShape(
            tested.settings, outputPaddingHeight: tested.extra.0, outputPaddingWidth: tested.extra.1)
        #expect(shape.outHeight == tested.size.0 && shape.outWidth == tested.size.1)
        #expect(shape.outChannels == tested.settings.outChannels)
        // Its output is the other convolution's input, and so on: the roles are exchanged.
        let reference = ConvolutionReference(shape: shape.transposed)
        let terms = reference.terms
        let input = rounded(randomFloats(reference.outputCount, seed: 1), to: element)
        let weight = rounded(randomFloats(reference.weightCount, seed: 2), to: element)
        let gradient = rounded(randomFloats(reference.inputCount, seed: 3), to: element)
        let bias = tested.settings.hasBias ? randomFloats(shape.outChannels, seed: 4) : nil
        func packed(_ layout: TensorLayout) throws -> Given {
            let reorder = try Reorder.prepare(
                from: TransposedConvolution.plainWeights(shape), to: layout, on: engine)
            return .bytes(try KernelRun(reorder, [.floats(weight)]).bytes(1))
        }
        func biased(_ values: [Double], _ bias: [Float]?) -> [Double] {
            values.enumerated().map { $1 + Double(bias?[$0 % shape.outChannels] ?? 0) }
        }

        let forward = try TransposedConvolution.forward(shape, element: element, on: engine)
        let biasGiven = bias.map { [Given.floats($0)] } ?? []
        let ahead = try KernelRun(
            forward, [stored(input, as: element), packed(forward.layouts[1])] + biasGiven)
        let expected = biased(reference.inputGradient(input, weight), bias)
        let sums = biased(reference.inputGradient(input.map(abs), weight.map(abs)), bias?.map(abs))
        // Where oneDNN adds the bias in a second pass, it rounds twice.
        expectClose(
            ahead.values(2 + biasGiven.count, as: element), expected.map { Float($0) },
            within: bounds(sums, sums: sums, terms: terms.input + 1, as: element).map { 2 * $0 }, "output")

        let backwardData = try TransposedConvolution.backwardData(shape, element: element, on: engine)
        let data = try KernelRun(
            backwardData, [stored(gradient, as: element), packed(backwardData.layouts[1])])
        let expectedData = reference.output(gradient, weight, nil)
        expectClose(
            data.values(2, as: element), expectedData.map { Float($0) },
            within: bounds(
                expectedData, sums: reference.output(gradient.map(abs), weight.map(abs), nil),
                terms: terms.output, as: element), "input gradient")

        let backwardWeights = try TransposedConvolution.backwardWeights(shape, element: element, on: engine)
        let given = [stored(input, as: element), stored(gradient, as: element)]
        let back = try KernelRun(backwardWeights, given)
        #expect(try KernelRun(backwardWeights, given).bytes(2) == back.bytes(2), "a second run differs")
        let found = try Reorder.convert(
            back.floats(2), from: backwardWeights.layouts[2],
            to: TransposedConvolution.plainWeights(shape), on: engine)
        let expectedWeight = reference.weightGradient(gradient, input)
        expectClose(
            found, expectedWeight.map { Float($0) },
            within: bounds(
                expectedWeight, sums: reference.weightGradient(gradient.map(abs), input.map(abs)),
                terms: terms.weight, as: .float32), "weight gradient")
        guard bias != nil else { return }
        var sum = [Double](repeating: 0, count: shape.outChannels)
        var magnitudes = sum
        for (index, value) in gradient.enumerated() {
            sum[index % shape.outChannels] += Double(value)
            magnitudes[index % shape.outChannels] += Double(abs(value))
        }
        expectClose(
            back.floats(3), sum.map { Float($0) },
            within: bounds(
                sum, sums: magnitudes, terms: gradient.count / shape.outChannels, as: .float32),
            "bias gradient")
    }

    @Test("never fall back to plain loops", arguments: Arithmetic.allCases)
    func areFast(arithmetic: Arithmetic) throws {
        let element = arithmetic.element
        // The upward step of a U-Net.
        let shape = TransposedConvolutionShape(
            .of(batch: 8, 64, (16, 16), to: 32, kernel: (2, 2), stride: (2, 2)))
        let engine = try arithmetic.engine()
        for kernel in [
            try TransposedConvolution.forward(shape, element: element, on: engine),
            try TransposedConvolution.backwardData(shape, element: element, on: engine),
            try TransposedConvolution.backwardWeights(shape, element: element, on: engine),
        ] {
            #expect(
                kernel.implementation.contains("jit") || kernel.implementation.contains("brg"),
                "\(kernel.implementation)")
        }
    }
}
