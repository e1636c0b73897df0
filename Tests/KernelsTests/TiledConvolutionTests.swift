import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Our tiled convolutions", .enabled(if: DNNEngine.hasBFloat16, "needs AVX-512"))
struct TiledConvolutionTests {
    static let shapes: [ConvolutionShape] = [
        // LeNet's second layer; several blocks of tiles for each of three threads.
        .of(batch: 14, 20, (12, 12), to: 50, kernel: (5, 5)),
        .of(batch: 9, 18, (16, 15), to: 17, padding: (1, 1)),
        // Neither rows nor columns nor channels come out even.
        .of(batch: 3, 37, (9, 7), to: 19, kernel: (5, 5), padding: (2, 2)),
        .of(batch: 2, 21, (10, 13), to: 33, hasBias: false),
        // Fewer channels than a vector has lanes, fewer tiles than threads, outputs of the padding alone.
        .of(batch: 1, 3, (5, 5), to: 6, kernel: (5, 5)),
        .of(batch: 2, 6, (11, 5), to: 16, padding: (0, 1)),
        .of(batch: 2, 16, (3, 2), to: 5, kernel: (5, 5), padding: (4, 7), hasBias: false),
    ]

    /// The direct bound 4 √K ε Σ|terms|, of the largest sum, and four times that for the transforms.
    ///
    /// A tile mixes its 64 values, so that K is at least that. Measured: with a 5x5 kernel and 20 channels
    /// errors of 4e-6 of the largest value, with a 3x3 kernel 7e-7. What is stored is rounded besides.
    private static func bounds(
        _ expected: [Double], _ sums: [Double], _ terms: Int, _ element: ElementType
    ) -> [Float] {
        let largest = 16 * Float(max(terms, 64)).squareRoot() * epsilon * Float(sums.max() ?? 0)
        return expected.map { largest + roundingError(of: element) * (Float(abs($0)) + largest) }
    }

    @Test(
        "agree with double precision in every pass, again and on other threads", arguments: shapes,
        [ElementType.float32, .bfloat16])
    func passes(shape: ConvolutionShape, element: ElementType) throws {
        let reference = ConvolutionReference(shape: shape)
        let terms = reference.terms
        let input = rounded(randomFloats(reference.inputCount, seed: 1), to: element)
        let weight = randomFloats(reference.weightCount, seed: 2)
        let gradient = rounded(randomFloats(reference.outputCount, seed: 3), to: element)
        let bias = shape.hasBias ? randomFloats(shape.outChannels, seed: 4) : nil
        let (inputs, weights, gradients) = (input.map(abs), weight.map(abs), gradient.map(abs))
        let output = reference.output(input, weight, bias)
        let outputs = Self.bounds(
            output, reference.output(inputs, weights, bias?.map(abs)), terms.output, element)
        let data = reference.inputGradient(gradient, weight)
        let datas = Self.bounds(data, reference.inputGradient(gradients, weights), terms.input, element)
        let taps = reference.weightGradient(input, gradient)
        let tapses = Self.bounds(
            taps, reference.weightGradient(inputs, gradients), terms.weight, .float32)
        let sums = reference.biasGradient(gradient)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            let found = try ConvolutionRun(shape, .tiled, element, input, weight, bias, gradient)
            #expect(
                try ConvolutionRun(shape, .tiled, element, input, weight, bias, gradient) == found,
                "not repeatable")
            expectClose(found.output, output.map { Float($0) }, within: outputs, "output")
            expectClose(found.input, data.map { Float($0) }, within: datas, "input gradient")
            expectClose(found.weight, taps.map { Float($0) }, within: tapses, "weight gradient")
            guard bias != nil else { continue }
            // As many terms below 1 as there are pixels.
            let bound = 4 * Float(terms.weight).squareRoot() * epsilon * Float(terms.weight)
            expectClose(found.bias, sums.map { Float($0) }, within: bound, "bias gradient")
        }
    }

    @Test("yield the same output and input gradient to the bit on any number of threads")
    func threads() throws {
        let shape = Self.shapes[0]
        let reference = ConvolutionReference(shape: shape)
        let (input, weight) = (randomFloats(reference.inputCount, seed: 1), randomFloats(25_000, seed: 2))
        let (gradient, bias) = (randomFloats(reference.outputCount, seed: 3), randomFloats(50, seed: 4))
        let found = try (1...3).map { threads in
            ThreadTeam.use(threads)
            let results = try ConvolutionRun(shape, .tiled, .float32, input, weight, bias, gradient)
            return bits(results.output) + bits(results.input)
        }
        #expect(found[0] == found[1] && found[0] == found[2])
    }

    @Test(
        "cut what they yield where a ReLU is fused", arguments: [PostOperation.relu, .relu6],
        [ElementType.float32, .bfloat16])
    func fused(operation: PostOperation, element: ElementType) throws {
        let shape = ConvolutionShape.of(batch: 2, 24, (7, 10), to: 16, padding: (1, 1))
        try ConvolutionRun.expectFused(operation, shape, .tiled, element)
    }

    @Test("pass NaN on through a fused ReLU6, to the tiles around it alone")
    func nan() throws {
        let shape = ConvolutionShape.of(batch: 2, 16, (12, 12), to: 16, padding: (1, 1), hasBias: false)
        let reference = ConvolutionReference(shape: shape)
        var input = [Float](repeating: 1, count: reference.inputCount)
        input[(1 * 12 + 2) * 16 + 3] = .nan
        let ones = [Float](repeating: 1, count: reference.outputCount)
        let output = try ConvolutionRun(
            shape, .tiled, .float32, input, [Float](repeating: 1, count: reference.weightCount), nil, ones,
            fusing: [.relu6]
        ).output
        for (index, value) in output.enumerated() {
            let (x, y, n) = (index / 16 % 12, index / 192 % 12, index / 2304)
            // The first tile's outputs, all of which its inputs enter; column 2 enters no other tile.
            let isFirst = n == 0 && x < 4 && y < 4
            #expect(value.isNaN == isFirst, "(\(n), \(y), \(x)): \(value)")
        }
    }

    @Test(
        "agree with double precision in the weight gradient of one channel, again and on other threads",
        arguments: [
            ConvolutionShape.of(batch: 4, 1, (28, 28), to: 20, kernel: (5, 5)),
            // Remaining channels in groups of 4, 8 and 16 lanes, none, and no whole vector; rows that no
            // group's pixels divide; fewer images than threads.
            .of(batch: 3, 1, (9, 9), to: 6, kernel: (5, 5), padding: (2, 1)),
            .of(batch: 2, 1, (5, 11), to: 29, padding: (1, 1), hasBias: false),
            .of(batch: 1, 1, (7, 6), to: 32, padding: (3, 0)),
            .of(batch: 2, 1, (6, 3), to: 4),
        ], [ElementType.float32, .bfloat16])
    func singleChannel(shape: ConvolutionShape, element: ElementType) throws {
        let reference = ConvolutionReference(shape: shape)
        let input = rounded(randomFloats(reference.inputCount, seed: 1), to: element)
        let gradient = rounded(randomFloats(reference.outputCount, seed: 3), to: element)
        let engine = try DNNEngine()
        let plain = try TensorLayout.rowMajor(shape.weightExtents)
        let (taps, terms) = (reference.weightGradient(input, gradient), reference.terms.weight)
        // No transforms here, so the direct bound.
        let tapses = KernelsTests.bounds(
            taps, sums: reference.weightGradient(input.map(abs), gradient.map(abs)), terms: terms,
            as: .float32)
        let sums = reference.biasGradient(gradient)
        let sumses = KernelsTests.bounds(
            sums, sums: reference.biasGradient(gradient.map(abs)), terms: terms, as: .float32)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            let kernel = try Convolution.backwardWeights(shape, element: element, on: engine)
            #expect(kernel.implementation == "ck_single_channel_backward_weights")
            let given = [stored(input, as: element), stored(gradient, as: element)]
            let run = try KernelRun(kernel, given)
            #expect(bits(try KernelRun(kernel, given).floats(2)) == bits(run.floats(2)), "not repeatable")
            expectClose(
                try Reorder.convert(run.floats(2), from: kernel.layouts[2], to: plain, on: engine),
                taps.map { Float($0) }, within: tapses, "weight gradient")
            guard shape.hasBias else { continue }
            expectClose(run.floats(3), sums.map { Float($0) }, within: sumses, "bias gradient")
        }
    }

    @Test("are chosen where they win, and never for what they do not cover")
    func choice() throws {
        let engine = try DNNEngine()
        func isOurs(_ shape: ConvolutionShape, _ fusing: [PostOperation] = []) throws -> Bool {
            try Convolution.forward(shape, fusing: fusing, on: engine).implementation == "ck_winograd"
        }
        let covered = ConvolutionShape.of(batch: 64, 20, (12, 12), to: 50, kernel: (5, 5))
        #expect(try isOurs(covered))
        #expect(try isOurs(covered, [.relu]))
        let narrow = ConvolutionShape.of(batch: 64, 16, (32, 32), to: 16, padding: (1, 1))
        #expect(try isOurs(narrow))
        let half = try Convolution.forward(narrow, element: .bfloat16, on: engine)
        #expect(half.implementation != "ck_winograd")
        #expect(try !isOurs(covered, [.geluErf]))
        #expect(try !isOurs(covered, [.addToDestination, .relu]))
        #expect(!Convolution.addsToDestination(covered, .float32))
        for change: (inout ConvolutionShape) -> Void in [
            { $0.strideWidth = 2 }, { $0.dilationHeight = 2 }, { $0.kernelWidth = 3 }, { $0.groups = 2 },
            { $0.inChannels = 1 }, { $0.outChannels = 4 }, { $0.batch = 1 },
            { ($0.kernelHeight, $0.kernelWidth) = (7, 7) },
            // Tiles of which three quarters would be thrown away.
            { ($0.inHeight, $0.inWidth) = (6, 6) },
        ] {
            var other = covered
            change(&other)
            #expect(try !isOurs(other), "\(other)")
        }
        let direct = try Convolution.forward(covered, algorithm: .direct, on: engine)
        #expect(direct.implementation != "ck_winograd")
        #expect(throws: KernelError.self) {
            try Convolution.forward(covered, weights: direct.layouts[1], algorithm: .tiled, on: engine)
        }
    }
}
