import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Products over weights that are not zero") struct SparseProductTests {
    static let formats = SparseLayout.Format.allCases

    /// Weights of which an output has none, another all, and the others some, in tiles of `rows` outputs.
    private static func pattern(outputs: Int, width: Int, rows: Int) -> [Float] {
        let values = randomFloats(outputs * width, seed: 7)
        let choices = randomFloats((outputs / rows + 1) * width, seed: 8)
        return values.indices.map { index in
            let (row, column) = (index / width, index % width)
            if row / rows == 1 { return 0 }
            return row / rows == 0 || choices[row / rows * width + column] > 0.4 ? values[index] : 0
        }
    }

    /// Runs a product on one to three threads, which must agree in every bit.
    private static func run(
        _ given: (input: [Float], weight: [Float], bias: [Float]?), fusing: [PostOperation] = [],
        _ product: () -> SparseProduct?
    ) throws -> [Float] {
        let results = try [1, 2, 3].map { threads in
            ThreadTeam.use(threads)
            let product = try #require(product())
            let packed = try KernelRun(product.packing(), [.floats(given.weight)]).bytes(1)
            let bias = given.bias.map { [Given.floats($0)] } ?? []
            let run = try KernelRun(
                product.forward(fusing: fusing), [.floats(given.input), .bytes(packed)] + bias)
            return run.floats(2 + bias.count)
        }
        ThreadTeam.use(1)
        #expect(bits(results[0]) == bits(results[1]) && bits(results[0]) == bits(results[2]))
        return results[0]
    }

    /// A float32 sum of K terms errs by a few √K ε Σ|terms|, and its rounding when it is stored.
    private static func check(
        _ shape: ConvolutionShape, _ format: SparseLayout.Format, rows: Int,
        _ product:
            (SparseLayout) -> SparseProduct?
    ) throws {
        let reference = ConvolutionReference(shape: shape)
        let width = reference.weightCount / shape.outChannels
        let weight = pattern(outputs: shape.outChannels, width: width, rows: rows)
        let input = randomFloats(reference.inputCount, seed: 9)
        let bias = shape.hasBias ? randomFloats(shape.outChannels, seed: 10) : nil
        let layout = SparseLayout(format, of: weight, outputs: shape.outChannels)
        let found = try run((input, weight, bias), fusing: [.relu]) { product(layout) }
        let expected = reference.output(input, weight, bias)
        let sums = reference.output(input.map(abs), weight.map(abs), bias?.map(abs))
        expectClose(
            found, expected.map { Float(max($0, 0)) },
            within: bounds(expected, sums: sums, terms: width + 1, as: .float32), "\(format) of \(shape)")
    }

    @Test(
        "a linear layer is what float64 sums give, with any number of samples and threads",
        arguments: [1, 3, 4, 16, 33, 130], formats)
    func linear(batch: Int, format: SparseLayout.Format) throws {
        for (inputs, outputs, hasBias) in [(1, 1, true), (67, 19, true), (150, 37, false), (784, 300, true)] {
            if inputs * batch > 20_000 { continue }
            var shape = ConvolutionShape.of(batch: batch, inputs, (1, 1), to: outputs, kernel: (1, 1))
            shape.hasBias = hasBias
            let product = InnerProductShape(
                batch: batch, inputs: inputs, outputs: outputs, hasBias: hasBias)
            // Tiles that the format's blocks fill, and some that they do not.
            for rows in [1, 4] {
                try Self.check(shape, format, rows: rows) { SparseProduct(product, $0) }
            }
        }
    }

    static let windows: [ConvolutionShape] = [1, 3, 20].flatMap { batch -> [ConvolutionShape] in
        var padded = ConvolutionShape.of(batch: batch, 3, (7, 9), to: 18)
        (padded.paddingHeight, padded.paddingWidth) = (1, 2)
        var dilated = ConvolutionShape.of(batch: batch, 5, (8, 6), to: 5, kernel: (2, 3))
        (dilated.dilationHeight, dilated.dilationWidth, dilated.hasBias) = (3, 2, false)
        var strided = padded
        (strided.strideHeight, strided.strideWidth) = (2, 3)
        let plain = ConvolutionShape.of(batch: batch, 20, (12, 12), to: 50, kernel: (5, 5))
        return [padded, dilated] + (batch == 20 ? [strided] : [plain])
    }

    @Test("a convolution is what float64 sums give", arguments: windows, formats)
    func convolution(shape: ConvolutionShape, format: SparseLayout.Format) throws {
        try Self.check(shape, format, rows: format == .block ? 4 : 1) { SparseProduct(shape, $0) }
    }

    @Test("weights that are all zero leave the bias", arguments: [1, 20], formats)
    func nothing(batch: Int, format: SparseLayout.Format) throws {
        let shape = InnerProductShape(batch: batch, inputs: 30, outputs: 21)
        let weight = [Float](repeating: 0, count: 630)
        let bias = randomFloats(21, seed: 1)
        let layout = SparseLayout(format, of: weight, outputs: 21)
        #expect(layout.columnCount == 0)
        let given = (randomFloats(batch * 30, seed: 2), weight, Optional(bias))
        let found = try Self.run(given) { SparseProduct(shape, layout) }
        #expect(found == (0..<batch).flatMap { _ in bias })
    }

    /// The kernel's polynomials are those of the activation on its own; contractions may differ.
    @Test(
        "an activation behind it is the activation of its sums",
        arguments: zip(
            [
                PostOperation.relu6, .leakyReLU(0.1), .geluErf, .geluTanh, .silu, .sigmoid, .tanh,
                .hardSwish,
            ],
            [
                ActivationKind.relu6, .leakyReLU(slope: 0.1), .geluErf, .geluTanh, .silu, .sigmoid, .tanh,
                .hardSwish,
            ]))
    func activations(operation: PostOperation, kind: ActivationKind) throws {
        for batch in [2, 17] {
            let shape = InnerProductShape(batch: batch, inputs: 40, outputs: 23)
            let weight = Self.pattern(outputs: 23, width: 40, rows: 1).map { 3 * $0 }
            let layout = SparseLayout(.csr, of: weight, outputs: 23)
            let given = (
                randomFloats(batch * 40, seed: 3), weight, Optional(randomFloats(23, seed: 4))
            )
            let sums = try Self.run(given) { SparseProduct(shape, layout) }
            let kernel = Activation.forward(kind, count: sums.count)
            let expected = try KernelRun(kernel, [.floats(sums)]).floats(1)
            let found = try Self.run(given, fusing: [operation]) { SparseProduct(shape, layout) }
            expectClose(
                found, expected, within: sums.map { 8 * epsilon * max(1, abs($0)) }, "\(operation)")
            #expect(found != sums)
        }
    }

    @Test("layouts count what they keep")
    func layouts() {
        // Five outputs of three inputs: the last stands in a block of its own.
        let weights: [Float] = [
            1, 0, 0,
            0, 0, 0,
            2, 3, 0,
            0, 0, 0,
            0, 0, 4,
        ]
        let (rows, blocks) = (
            SparseLayout(.csr, of: weights, outputs: 5), SparseLayout(.block, of: weights, outputs: 5)
        )
        #expect(rows.columnCount == 4 && rows.weightCount == 4)
        #expect(blocks.columnCount == 3 && blocks.weightCount == 12)
    }

    @Test("what the kernels do not cover is refused")
    func refused() {
        let layout = SparseLayout(.csr, columnCount: 1)
        var grouped = ConvolutionShape.of(batch: 16, 4, (5, 5), to: 4)
        grouped.groups = 2
        var strided = ConvolutionShape.of(batch: 1, 4, (5, 5), to: 4)
        strided.strideHeight = 2
        let endless = ConvolutionShape.of(batch: 16, 1 << 20, (1 << 20, 1 << 20), to: 4)
        for shape in [grouped, strided, endless] { #expect(SparseProduct(shape, layout) == nil) }
        #expect(!SparseProduct.fuses([.addToDestination, .relu]) && !SparseProduct.fuses([.scaled(2)]))
    }
}
