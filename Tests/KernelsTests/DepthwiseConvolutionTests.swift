import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Our depthwise convolutions") struct DepthwiseConvolutionTests {
    static let shapes: [ConvolutionShape] = [
        .depthwise(batch: 2, 16, (8, 8)), .depthwise(batch: 3, 37, (5, 13)),
        .depthwise(batch: 1, 32, (1, 1), hasBias: false), .depthwise(batch: 2, 19, (2, 3)),
        .depthwise(batch: 2, 48, (9, 7), stride: 2), .depthwise(batch: 1, 21, (6, 18), stride: 2),
        .depthwise(batch: 3, 16, (1, 2), stride: 2, hasBias: false),
        .depthwise(batch: 2, 33, (16, 31), stride: 2),
    ]

    @Test(
        "agree with double precision in every pass", arguments: shapes, [ElementType.float32, .bfloat16])
    func passes(shape: ConvolutionShape, element: ElementType) throws {
        let reference = ConvolutionReference(shape: shape)
        let terms = reference.terms
        let input = rounded(randomFloats(reference.inputCount, seed: 1), to: element)
        let weight = randomFloats(reference.weightCount, seed: 2)
        let gradient = rounded(randomFloats(reference.outputCount, seed: 3), to: element)
        let bias = shape.hasBias ? randomFloats(shape.outChannels, seed: 4) : nil
        let output = reference.output(input, weight, bias)
        let outputSums = reference.output(input.map(abs), weight.map(abs), bias?.map(abs))
        let inputGradient = reference.inputGradient(gradient, weight)
        let inputSums = reference.inputGradient(gradient.map(abs), weight.map(abs))
        let weightGradient = reference.weightGradient(input, gradient)
        let weightSums = reference.weightGradient(input.map(abs), gradient.map(abs))
        let biasGradient = reference.biasGradient(gradient)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            let found = try ConvolutionRun(shape, .depthwise, element, input, weight, bias, gradient)
            #expect(
                try ConvolutionRun(shape, .depthwise, element, input, weight, bias, gradient) == found,
                "not repeatable")
            expectClose(
                found.output, output.map { Float($0) },
                within: bounds(output, sums: outputSums, terms: terms.output, as: element), "output")
            expectClose(
                found.input, inputGradient.map { Float($0) },
                within: bounds(inputGradient, sums: inputSums, terms: terms.input, as: element), "input")
            expectClose(
                found.weight, weightGradient.map { Float($0) },
                within: bounds(weightGradient, sums: weightSums, terms: terms.weight, as: .float32), "weight")
            guard bias != nil else { continue }
            expectClose(
                found.bias, biasGradient.map { Float($0) },
                within: bounds(
                    biasGradient, sums: reference.biasGradient(gradient.map(abs)), terms: terms.weight,
                    as: .float32), "bias")
        }
    }

    /// Every element that is read is rounded three times first, which is less than what nine products more
    /// would add to the bounds; limits are far from where a rounding could decide.
    @Test(
        "normalise what they read as double precision does", arguments: shapes,
        [ElementType.float32, .bfloat16].flatMap { element in
            [FusedBatchNorm.Activation.none, .relu, .relu6].map { (element, $0) }
        })
    func normalizing(
        shape: ConvolutionShape, choice: (element: ElementType, activation: FusedBatchNorm.Activation)
    ) throws {
        let (element, activation) = choice
        let (reference, channels) = (ConvolutionReference(shape: shape), shape.inChannels)
        let input = rounded(randomFloats(reference.inputCount, seed: 1, low: -4, high: 4), to: element)
        let coefficients =
            randomFloats(channels, seed: 5) + randomFloats(channels, seed: 6, low: 0.5, high: 3)
            + randomFloats(channels, seed: 7)
        let normalized = input.enumerated().map { index, x in
            let c = index % channels
            let y = (x - coefficients[c]) * coefficients[channels + c] + coefficients[2 * channels + c]
            return switch activation {
            case .none: y
            case .relu: max(y, 0)
            case .relu6: min(max(y, 0), 6)
            }
        }
        let weight = randomFloats(reference.weightCount, seed: 2)
        let gradient = rounded(randomFloats(reference.outputCount, seed: 3), to: element)
        let bias = shape.hasBias ? randomFloats(channels, seed: 4) : nil
        let output = reference.output(normalized, weight, bias)
        // What was subtracted to get there rounds too.
        let sizes = normalized.map { abs($0) + 16 }
        let outputSums = reference.output(sizes, weight.map(abs), bias?.map(abs))
        let weightGradient = reference.weightGradient(normalized, gradient)
        let weightSums = reference.weightGradient(sizes, gradient.map(abs))
        let engine = try DNNEngine()
        let plain = try TensorLayout.rowMajor(shape.weightExtents)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            let forward = try Convolution.forward(
                shape, element: element, normalizing: activation, on: engine)
            let packed = try Reorder.convert(weight, from: plain, to: forward.layouts[1], on: engine)
            let given = [stored(input, as: element), .floats(packed)] + (bias.map { [.floats($0)] } ?? [])
            let ahead = try KernelRun(forward, given + [.unwritten, .floats(coefficients)])
            expectClose(
                ahead.values(given.count, as: element), output.map { Float($0) },
                within: bounds(output, sums: outputSums, terms: reference.terms.output, as: element), "output"
            )
            let backward = try Convolution.backwardWeights(
                shape, element: element, normalizing: activation, on: engine)
            let unwritten = [Given](repeating: .unwritten, count: bias == nil ? 1 : 2)
            let run = try KernelRun(
                backward,
                [stored(input, as: element), stored(gradient, as: element)] + unwritten
                    + [.floats(coefficients)])
            expectClose(
                try Reorder.convert(run.floats(2), from: forward.layouts[1], to: plain, on: engine),
                weightGradient.map { Float($0) },
                within: bounds(
                    weightGradient, sums: weightSums, terms: reference.terms.weight, as: .float32), "weight")
        }
    }

    @Test("normalise rows as large as a thread's share on any number of threads, to the same bits")
    func normalizingThreads() throws {
        let shape = ConvolutionShape.depthwise(batch: 5, 40, (11, 9))
        let input = randomFloats(5 * 99 * 40, seed: 1), weight = randomFloats(360, seed: 2)
        let coefficients = randomFloats(120, seed: 3), bias = randomFloats(40, seed: 4)
        let outputs = try (1...3).map { threads in
            ThreadTeam.use(threads)
            let forward = try Convolution.forward(shape, normalizing: .relu, on: DNNEngine())
            let given: [Given] = [.floats(input), .floats(weight), .floats(bias)]
            return bits(try KernelRun(forward, given + [.unwritten, .floats(coefficients)]).floats(3))
        }
        #expect(outputs[0] == outputs[1] && outputs[0] == outputs[2])
    }

    @Test(
        "cut what they yield where a ReLU is fused", arguments: [PostOperation.relu, .relu6],
        [ElementType.float32, .bfloat16])
    func fused(operation: PostOperation, element: ElementType) throws {
        let shape = ConvolutionShape.depthwise(batch: 2, 24, (7, 10))
        try ConvolutionRun.expectFused(operation, shape, .depthwise, element)
    }

    @Test("pass NaN on through a fused ReLU6, to the pixels around it alone")
    func nan() throws {
        let shape = ConvolutionShape.depthwise(batch: 1, 16, (5, 5), hasBias: false)
        var input = [Float](repeating: 1, count: 400)
        input[(2 * 5 + 1) * 16 + 3] = .nan
        let ones = [Float](repeating: 1, count: 400)
        let output = try ConvolutionRun(
            shape, .depthwise, .float32, input, [Float](repeating: 1, count: 144), nil, ones, fusing: [.relu6]
        ).output
        for (index, value) in output.enumerated() {
            let (c, x, y) = (index % 16, index / 16 % 5, index / 80)
            #expect(value.isNaN == (c == 3 && (1...3).contains(y) && (0...2).contains(x)))
        }
    }

    @Test("leave other shapes and operations to oneDNN")
    func choice() throws {
        let engine = try DNNEngine()
        let covered = ConvolutionShape.depthwise(batch: 2, 32, (8, 8))
        func isOurs(_ shape: ConvolutionShape, _ fusing: [PostOperation] = []) throws -> Bool {
            try Convolution.forward(shape, fusing: fusing, on: engine).implementation == "ck_depthwise"
        }
        #expect(try isOurs(covered))
        #expect(try !isOurs(covered, [.geluErf]))
        #expect(try !isOurs(covered, [.addToDestination, .relu]))
        for change: (inout ConvolutionShape) -> Void in [
            { $0.paddingHeight = 0 }, { $0.strideWidth = 2 }, { $0.dilationHeight = 2 },
            { $0.kernelWidth = 5 },
            { $0.groups = 16 }, { $0.outChannels = 64 },
        ] {
            var other = covered
            change(&other)
            #expect(try !isOurs(other), "\(other)")
        }
        #expect(try !isOurs(ConvolutionShape.depthwise(batch: 2, 8, (8, 8))))
        let direct = try Convolution.forward(covered, algorithm: .direct, on: engine)
        #expect(direct.implementation != "ck_depthwise")
        #expect(throws: KernelError.self) {
            try Convolution.forward(covered, weights: direct.layouts[1], algorithm: .depthwise, on: engine)
        }
    }
}
