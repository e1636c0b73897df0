import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Fused batch normalisation agrees with the double-precision reference") struct FusedBatchNormTests {
    /// A normalisation, its operands, and what the reference makes of them.
    struct Subject {
        let norm: FusedBatchNorm
        let input: [Float]
        let residual: [Float]
        let scale: [Float]
        let shift: [Float]
        let reference: ReferenceNorm

        init(_ norm: FusedBatchNorm, mean: Float = 0) {
            self.norm = norm
            let (rows, channels) = (norm.rows, norm.channels)
            let drawn = randomFloats(rows * channels, seed: 1, low: mean - 2, high: mean + 2)
            input = rounded(drawn, to: norm.type)
            residual = rounded(randomFloats(rows * channels, seed: 2), to: norm.type)
            scale = randomFloats(channels, seed: 3, low: 0.5, high: 4)
            shift = randomFloats(channels, seed: 4)
            reference = ReferenceNorm(
                count: rows * channels, epsilon: Double(norm.epsilon), set: { $0 % channels },
                channel: { $0 % channels })
        }

        var head: [Given] {
            [stored(input, as: norm.type), .floats(scale), .floats(shift)]
                + (norm.addsResidual ? [stored(residual, as: norm.type)] : [])
        }
        var channel: [Float] { [Float](repeating: 1, count: norm.channels) }
        func train(_ outputIn: Given = .unwritten) throws -> KernelRun {
            try KernelRun(
                norm.training(momentum: 0.25),
                head + [outputIn, .unwritten, .floats(channel), .floats(channel)])
        }
        /// Where training's output lies.
        var output: Int { norm.addsResidual ? 4 : 3 }

        /// What enters the activation.
        var raw: [Double] {
            let plain = reference.forward(doubles(input), scale: doubles(scale), shift: doubles(shift))
            return norm.addsResidual ? zip(plain, residual).map { $0 + Double($1) } : plain
        }
        func activated(_ x: Double) -> Double {
            switch norm.activation {
            case .none: x
            case .relu: max(x, 0)
            case .relu6: min(max(x, 0), 6)
            }
        }
        func passes(_ x: Double) -> Bool {
            switch norm.activation {
            case .none: true
            case .relu: x > 0
            case .relu6: x > 0 && x < 6
            }
        }
        /// Gradients that are 0 where rounding could decide on which side of a kink an element lies.
        var gradient: [Float] {
            let drawn = rounded(randomFloats(norm.rows * norm.channels, seed: 5), to: norm.type)
            return zip(drawn, raw).map { min(abs($1), abs($1 - 6)) < 0.05 ? 0 : $0 }
        }
        /// y is made of (x - mean) factor, the offset and the residual, each below 16.
        func outputBounds(_ values: [Double]) -> [Float] {
            normBounds(values, terms: values.map { abs($0) + 16 }, roundingError(of: norm.type))
        }
    }

    /// Rows and channels: single ones, fewer and more than a span, tails, one and several parts.
    static let sizes = [(1, 3), (7, 5), (37, 16), (1700, 10), (300, 64), (30, 600)]
    static let types: [ElementType] = [.float32, .bfloat16]
    static let activations: [FusedBatchNorm.Activation] = [.none, .relu, .relu6]

    static var subjects: [FusedBatchNorm] {
        sizes.flatMap { rows, channels in
            types.flatMap { type in
                activations.flatMap { activation in
                    [false, true].map { residual in
                        var norm = FusedBatchNorm(rows: rows, channels: channels, epsilon: 1e-3)
                        (norm.type, norm.activation, norm.addsResidual) = (type, activation, residual)
                        return norm
                    }
                }
            }
        }
    }

    @Test("by the batch's statistics, which move the running ones", arguments: subjects)
    func training(norm: FusedBatchNorm) throws {
        let subject = Subject(norm)
        let run = try subject.train()
        let expected = subject.raw.map(subject.activated)
        let output = run.values(subject.output, as: norm.type)
        expectClose(output, floats(expected), within: subject.outputBounds(expected), "output")
        let found = subject.reference.statistics(doubles(subject.input))
        let count = Double(norm.rows)
        let means = found.mean.map { 0.75 + 0.25 * $0 }
        let correction = count > 1 ? count / (count - 1) : 1
        let variances = found.variance.map { 0.75 + 0.25 * $0 * correction }
        let unit = [Double](repeating: 4, count: norm.channels)
        expectClose(
            run.floats(subject.output + 2), floats(means), within: normBounds(means, terms: unit), "mean")
        expectClose(
            run.floats(subject.output + 3), floats(variances), within: normBounds(variances, terms: unit),
            "variance")
    }

    /// The same statistics, and coefficients that make the very output.
    @Test("by coefficients that a reader takes", arguments: subjects.filter { !$0.addsResidual })
    func statistics(norm: FusedBatchNorm) throws {
        let subject = Subject(norm)
        let whole = try subject.train()
        let run = try KernelRun(
            norm.statistics(momentum: 0.25),
            subject.head + [.unwritten, .floats(subject.channel), .floats(subject.channel)])
        for operand in 0..<3 {
            #expect(bits(run.floats(3 + operand)) == bits(whole.floats(subject.output + 1 + operand)))
        }
        let coefficients = run.floats(7)
        let channels = norm.channels
        let expected = subject.raw
        let output = subject.input.enumerated().map { index, x in
            let c = index % channels
            return (x - coefficients[c]) * coefficients[channels + c] + coefficients[2 * channels + c]
        }
        // Nothing is rounded to bfloat16 here.
        let bounds = normBounds(expected, terms: expected.map { abs($0) + 16 })
        expectClose(output, floats(expected), within: bounds, "output")
    }

    @Test("backward", arguments: subjects)
    func backward(norm: FusedBatchNorm) throws {
        let subject = Subject(norm)
        let ahead = try subject.train()
        let gradient = subject.gradient
        let behind = zip(subject.raw, gradient).map { subject.passes($0) ? Double($1) : 0 }
        let expected = subject.reference.backward(
            doubles(subject.input), scale: doubles(subject.scale), gradient: behind)
        let run = try KernelRun(
            norm.backward(), Self.operands(of: subject, ahead, gradient))
        expectClose(
            run.values(5, as: norm.type), floats(expected.input),
            within: normBounds(expected.input, terms: expected.inputTerms, roundingError(of: norm.type)),
            "input")
        expectClose(
            run.floats(6), floats(expected.scale),
            within: normBounds(expected.scale, terms: expected.scaleTerms), "scale")
        expectClose(
            run.floats(7), floats(expected.shift),
            within: normBounds(expected.shift, terms: expected.shiftTerms), "shift")
        if norm.backwardSplitsResidual {
            #expect(run.values(10, as: norm.type) == floats(behind))
        }
    }

    /// The backward pass's operands; the output in front of an unwritten residual gradient.
    static func operands(of subject: Subject, _ ahead: KernelRun, _ gradient: [Float]) -> [Given] {
        let output = ahead.values(subject.output, as: subject.norm.type)
        return [
            stored(subject.input, as: subject.norm.type), .floats(ahead.floats(subject.output + 1)),
            .floats(subject.scale), .floats(subject.shift), stored(gradient, as: subject.norm.type),
            .unwritten, .unwritten, .unwritten, .unwritten, stored(output, as: subject.norm.type),
        ]
    }

    @Test("by the running statistics", arguments: subjects)
    func inference(norm: FusedBatchNorm) throws {
        let subject = Subject(norm)
        let mean = randomFloats(norm.channels, seed: 6)
        let variance = randomFloats(norm.channels, seed: 7, low: 0.25, high: 2)
        let run = try KernelRun(
            norm.inference(), subject.head + [.unwritten, .floats(mean), .floats(variance)])
        let expected = subject.input.indices.map { i in
            let c = i % norm.channels
            let root = (Double(variance[c]) + Double(norm.epsilon)).squareRoot()
            let plain =
                (Double(subject.input[i]) - Double(mean[c])) / root * Double(subject.scale[c])
                + Double(subject.shift[c])
            return subject.activated(plain + (norm.addsResidual ? Double(subject.residual[i]) : 0))
        }
        let output = run.values(subject.output, as: norm.type)
        // Within the factor: up to 3 / 0.5 * 4.
        let bounds = normBounds(
            expected, terms: expected.map { abs($0) + 32 }, roundingError(of: norm.type))
        expectClose(output, floats(expected), within: bounds, "output")
    }

    @Test("a mean of 10,000 beside a variance of 1 costs no accuracy")
    func largeMean() throws {
        let norm = FusedBatchNorm(rows: 3000, channels: 8, epsilon: 1e-3)
        let subject = Subject(norm, mean: 10_000)
        let run = try subject.train()
        let expected = subject.raw
        expectClose(run.floats(3), floats(expected), within: subject.outputBounds(expected), "output")
        let gradient = subject.gradient
        let exact = subject.reference.backward(
            doubles(subject.input), scale: doubles(subject.scale), gradient: doubles(gradient))
        let back = try KernelRun(norm.backward(), Self.operands(of: subject, run, gradient).dropLast())
        expectClose(
            back.floats(6), floats(exact.scale),
            within: normBounds(exact.scale, terms: exact.scaleTerms), "scale")
        expectClose(
            back.floats(5), floats(exact.input),
            within: normBounds(exact.input, terms: exact.inputTerms), "input")
    }

    @Test("the same bits in place, and on one to three threads", arguments: types)
    func places(type: ElementType) throws {
        var norm = FusedBatchNorm(rows: 1100, channels: 40, epsilon: 1e-5)
        (norm.type, norm.activation, norm.addsResidual) = (type, .relu, true)
        let subject = Subject(norm)
        ThreadTeam.use(1)
        let ahead = try subject.train()
        let given = Self.operands(of: subject, ahead, subject.gradient)
        let back = try KernelRun(norm.backward(), given)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            #expect(try subject.train().bytes(4) == ahead.bytes(4))
            #expect(try subject.train(.sharing(3)).bytes(3) == ahead.bytes(4))
            let again = try KernelRun(norm.backward(), given)
            for operand in [5, 6, 7, 10] { #expect(again.bytes(operand) == back.bytes(operand)) }
            var inPlace = given
            inPlace[5] = .sharing(4)
            #expect(try KernelRun(norm.backward(), inPlace).bytes(4) == back.bytes(5))
            let split = try KernelRun(norm.backward(), given + [.sharing(4)])
            #expect(split.bytes(4) == back.bytes(10) && split.bytes(5) == back.bytes(5))
        }
    }

    @Test("NaN stays in its channel, and stays NaN", arguments: activations)
    func nonFinite(activation: FusedBatchNorm.Activation) throws {
        var norm = FusedBatchNorm(rows: 50, channels: 3, epsilon: 1e-5)
        norm.activation = activation
        var input = randomFloats(150, seed: 1)
        input[61] = .nan
        let ones: [Float] = [1, 1, 1]
        let run = try KernelRun(
            norm.training(momentum: 0.1),
            [
                .floats(input), .floats(ones), .floats(ones), .unwritten, .unwritten, .floats(ones),
                .floats(ones),
            ])
        for (index, value) in run.floats(3).enumerated() { #expect(value.isNaN == (index % 3 == 1)) }
        #expect(run.floats(6)[1].isNaN && !run.floats(6)[0].isNaN)
    }
}
