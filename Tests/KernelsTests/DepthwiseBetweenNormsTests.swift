import Kernels
import Tensor
import TestSupport
import Testing

@Suite("A depthwise convolution's backward pass between two batch normalisations")
struct DepthwiseBetweenNormsTests {
    private typealias Activation = FusedBatchNorm.Activation

    /// Both strides, odd sides, channels that fill no block, one image and more than there are parts.
    static let shapes: [ConvolutionShape] = [
        .depthwise(batch: 2, 16, (8, 8)), .depthwise(batch: 3, 37, (5, 13)),
        .depthwise(batch: 1, 32, (1, 1), hasBias: false), .depthwise(batch: 27, 19, (2, 3)),
        .depthwise(batch: 2, 48, (9, 7), stride: 2), .depthwise(batch: 1, 21, (6, 18), stride: 2),
        .depthwise(batch: 26, 16, (1, 2), stride: 2, hasBias: false),
        .depthwise(batch: 3, 33, (16, 31), stride: 2),
    ]

    private static func low(_ activation: FusedBatchNorm.Activation) -> Float {
        activation == .none ? -.infinity : 0
    }
    private static func high(_ activation: FusedBatchNorm.Activation) -> Float {
        activation == .relu6 ? 6 : .infinity
    }

    /// What goes in, and what double precision makes of the steps that the kernel joins.
    private struct Subject {
        let reference: ConvolutionReference
        let input: [Float]
        let front: [Float]
        let weight: [Float]
        let output: [Float]
        let gradient: [Float]
        let behind: [Float]
        /// What the convolution read, and its distances from the mean.
        let normalized: [Float]
        let distances: [Double]
        /// The gradient between, and the sizes of what it is summed from.
        let between: [Float]
        let sizes: [Float]

        init(_ shape: ConvolutionShape, _ element: ElementType, front: Activation, behind: Activation) {
            let (reference, channels) = (ConvolutionReference(shape: shape), shape.inChannels)
            self.reference = reference
            input = rounded(randomFloats(reference.inputCount, seed: 1, low: -4, high: 4), to: element)
            output = rounded(randomFloats(reference.outputCount, seed: 2, low: -4, high: 4), to: element)
            gradient = rounded(randomFloats(reference.outputCount, seed: 3), to: element)
            weight = randomFloats(reference.weightCount, seed: 4)
            func coefficients(_ seed: UInt64) -> [Float] {
                randomFloats(channels, seed: seed) + randomFloats(channels, seed: seed + 1, low: 0.5, high: 3)
                    + randomFloats(channels, seed: seed + 2)
            }
            let (ahead, back) = (coefficients(5), coefficients(8) + randomFloats(2 * channels, seed: 11))
            (self.front, self.behind) = (ahead, back)
            func value(_ x: Float, _ c: Int, _ coefficients: [Float]) -> Float {
                (x - coefficients[c]) * coefficients[channels + c] + coefficients[2 * channels + c]
            }
            normalized = input.enumerated().map { index, x in
                min(max(value(x, index % channels, ahead), low(front)), high(front))
            }
            distances = input.enumerated().map { Double($1) - Double(ahead[$0 % channels]) }
            let terms = zip(output, gradient).enumerated().map { index, pair -> [Double] in
                let c = index % channels
                let raw = value(pair.0, c, back)
                let passes = raw > low(behind) && raw < high(behind)
                return [
                    passes ? Double(back[channels + c]) * Double(pair.1) : 0,
                    (Double(pair.0) - Double(back[c])) * Double(back[3 * channels + c]),
                    Double(back[4 * channels + c]),
                ]
            }
            between = terms.map { Float($0.reduce(0, +)) }
            sizes = terms.map { Float($0.map(abs).reduce(0, +)) }
        }

        /// Sums for each channel of an input gradient behind the activation, alone and times the distances.
        func sums(_ gradient: [Double], _ activation: Activation, distances: [Double]) -> [Double] {
            let channels = reference.shape.inChannels
            var sums = [Double](repeating: 0, count: 2 * channels)
            for (index, value) in gradient.enumerated()
            where normalized[index] > low(activation) && normalized[index] < high(activation) {
                sums[index % channels] += value
                sums[channels + index % channels] += value * distances[index]
            }
            return sums
        }
    }

    /// The gradient between has three rounded terms and each pixel three roundings more, which the bounds'
    /// factor of four covers; no element of these seeds is so near a limit that a rounding could decide.
    @Test(
        "agrees with double precision, to the same bits on any number of threads", arguments: shapes,
        [ElementType.float32, .bfloat16].flatMap { element in
            [FusedBatchNorm.Activation.none, .relu, .relu6].map { (element, $0) }
        })
    func backward(
        shape: ConvolutionShape, choice: (element: ElementType, activation: FusedBatchNorm.Activation)
    ) throws {
        let (element, front) = choice
        // Each of them behind another one in front.
        let behind: FusedBatchNorm.Activation = front == .none ? .relu : front == .relu ? .relu6 : .none
        let subject = Subject(shape, element, front: front, behind: behind)
        let reference = subject.reference
        let engine = try DNNEngine()
        let plain = try TensorLayout.rowMajor(shape.weightExtents)
        let biases = shape.hasBias ? 1 : 0
        let runs = try (1...3).map { threads in
            ThreadTeam.use(threads)
            let kernel = try Convolution.backwardBetweenNorms(
                shape, element: element, front: front, behind: behind)
            let packed = try Reorder.convert(subject.weight, from: plain, to: kernel.layouts[2], on: engine)
            let run = try KernelRun(
                kernel,
                [
                    stored(subject.input, as: element), .floats(subject.front), .floats(packed),
                    stored(subject.output, as: element), stored(subject.gradient, as: element),
                    .floats(subject.behind),
                ])
            let weight = try Reorder.convert(run.floats(7), from: kernel.layouts[7], to: plain, on: engine)
            let parts = run.doubles(8 + biases)
            let sums = (0..<(2 * shape.inChannels)).map { index in
                stride(from: index, to: parts.count, by: 2 * shape.inChannels).reduce(0) { $0 + parts[$1] }
            }
            return (run.values(6, as: element), weight, biases == 1 ? run.floats(8) : [], sums)
        }
        #expect(runs[0] == runs[1] && runs[0] == runs[2], "not the same bits")
        let found = runs[0]
        let input = reference.inputGradient(subject.between, subject.weight)
        let inputSizes = reference.inputGradient(subject.sizes, subject.weight.map(abs))
        expectClose(
            found.0, floats(input), within: bounds(input, sums: inputSizes, terms: 9, as: element), "input")
        let weight = reference.weightGradient(subject.normalized, subject.between)
        let terms = reference.terms.weight
        // What was subtracted to get a pixel rounds too.
        let weightSizes = reference.weightGradient(subject.normalized.map { abs($0) + 16 }, subject.sizes)
        expectClose(
            found.1, floats(weight), within: bounds(weight, sums: weightSizes, terms: terms, as: .float32),
            "weight")
        if shape.hasBias {
            let bias = reference.biasGradient(subject.between)
            let sizes = reference.biasGradient(subject.sizes)
            expectClose(
                found.2, floats(bias), within: bounds(bias, sums: sizes, terms: terms, as: .float32), "bias")
        }
        let sums = subject.sums(input, front, distances: subject.distances)
        let sumSizes = subject.sums(inputSizes, front, distances: subject.distances.map(abs))
        let pixels = shape.batch * shape.inHeight * shape.inWidth
        expectClose(
            floats(found.3), floats(sums),
            within: bounds(sums, sums: sumSizes, terms: 9 * pixels, as: .float32), "sums")
    }

    /// The passes on their own and joined differ by nothing but where the sums come from.
    @Test("is what the normalisations' passes do on their own", arguments: [ElementType.float32, .bfloat16])
    func passes(element: ElementType) throws {
        var norm = FusedBatchNorm(rows: 1700, channels: 10, epsilon: 1e-3)
        (norm.type, norm.activation) = (element, .relu)
        let input = rounded(randomFloats(17000, seed: 1, low: -2, high: 2), to: element)
        let gradient = rounded(randomFloats(17000, seed: 2), to: element)
        let ones = [Float](repeating: 1, count: 10), shift = randomFloats(10, seed: 3)
        let head: [Given] = [stored(input, as: element), .floats(ones), .floats(shift)]
        let saved = try KernelRun(
            norm.training(momentum: 0), head + [.unwritten, .unwritten, .floats(ones), .floats(ones)]
        ).floats(4)
        let read: [Given] = [
            stored(input, as: element), .floats(saved), .floats(ones), .floats(shift),
            stored(gradient, as: element),
        ]
        let whole = try KernelRun(norm.backward(), read)
        let first = try KernelRun(norm.backwardSums(), read)
        #expect(bits(first.floats(5)) == bits(whole.floats(6)))
        #expect(bits(first.floats(6)) == bits(whole.floats(7)))
        // The scratch holds the sums of all parts in its first; the other parts are read as they are.
        let sums = Array(first.doubles(7).prefix(20))
        let second = try KernelRun(
            norm.backwardInput(sumParts: 1),
            read + [.unwritten, .unwritten, .unwritten, .bytes(sums.flatMap(bytes))])
        for operand in 5...7 { #expect(second.bytes(operand) == whole.bytes(operand)) }
        let coefficients = first.floats(8)
        let made = zip(input, gradient).enumerated().map { index, pair in
            let c = index % 10
            let distance = Double(pair.0) - Double(coefficients[c])
            let raw = distance * Double(coefficients[10 + c]) + Double(coefficients[20 + c])
            return Double(coefficients[10 + c]) * (raw > 0 ? Double(pair.1) : 0)
                + distance * Double(coefficients[30 + c]) + Double(coefficients[40 + c])
        }
        // Terms of at most 4, a handful of roundings.
        let bound = made.map { 16 * epsilon * 4 + roundingError(of: element) * Float(abs($0)) }
        expectClose(whole.values(5, as: element), floats(made), within: bound, "by the coefficients")
    }

    private func bytes(_ value: Double) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * UInt64($0))) }
    }
}
