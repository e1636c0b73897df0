import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Layer and RMS normalisation agree with the double-precision reference") struct RowNormTests {
    static let types: [ElementType] = [.float32, .bfloat16]

    static var subjects: [RowNorm] {
        // Single elements, fewer and more than the lanes of a row, tails, one and several parts.
        let sizes = [(1, 1), (3, 7), (5, 33), (190, 100), (70, 384)]
        return sizes.flatMap { rows, width in
            [RowNorm.Kind.layer, .rms].flatMap { kind in
                [RowNorm.Affine.none, .scale, .scaleAndShift].flatMap { affine in
                    types.map { type in
                        var norm = RowNorm(kind, rows: rows, width: width, epsilon: 1e-3)
                        (norm.affine, norm.type, norm.addsResidual) = (affine, type, affine == .scale)
                        return norm
                    }
                }
            }
        }
    }

    /// A normalisation and its operands.
    struct Subject {
        let norm: RowNorm
        let input: [Float]
        let residual: [Float]
        let gradient: [Float]
        let addend: [Float]
        let scale: [Float]
        let shift: [Float]
        let reference: ReferenceNorm

        init(_ norm: RowNorm, mean: Float = 0) {
            self.norm = norm
            let (count, width) = (norm.rows * norm.width, norm.width)
            func draw(_ seed: UInt64, _ middle: Float = 0) -> [Float] {
                rounded(randomFloats(count, seed: seed, low: middle - 1, high: middle + 1), to: norm.type)
            }
            (input, residual, gradient, addend) = (draw(1, mean), draw(2), draw(3), draw(4))
            let hasShift = norm.kind == .layer && norm.affine == .scaleAndShift
            let ones = [Float](repeating: 1, count: width)
            scale = norm.affine == .none ? ones : randomFloats(width, seed: 5, low: 0.5, high: 3)
            shift = hasShift ? randomFloats(width, seed: 6) : ones.map { _ in 0 }
            reference = ReferenceNorm(
                count: count, epsilon: Double(norm.epsilon), isCentered: norm.kind == .layer,
                set: { $0 / width }, channel: { $0 % width })
        }

        var parameters: [Given] {
            switch norm.affine {
            case .none: []
            case .scale: [.floats(scale)]
            case .scaleAndShift: norm.kind == .layer ? [.floats(scale), .floats(shift)] : [.floats(scale)]
            }
        }
        /// What is normalised: rounded as it is stored.
        var sum: [Float] {
            norm.addsResidual ? rounded(zip(input, residual).map(+), to: norm.type) : input
        }
        var given: [Given] {
            [stored(input, as: norm.type)]
                + (norm.addsResidual ? [stored(residual, as: norm.type), .unwritten] : []) + parameters
        }
        /// The backward pass's operands up to `gradient_in`, given what the forward pass saved.
        func backward(_ saved: [Float]) -> [Given] {
            [stored(sum, as: norm.type), .floats(saved)] + parameters.prefix(1)
                + [stored(gradient, as: norm.type)]
                + (norm.addsResidual ? [stored(addend, as: norm.type)] : [])
        }
    }

    @Test("forward and backward", arguments: subjects)
    func agrees(norm: RowNorm) throws {
        let subject = Subject(norm)
        let run = try KernelRun(norm.forward(), subject.given)
        let output = subject.given.count
        let (scale, shift) = (doubles(subject.scale), doubles(subject.shift))
        let expected = subject.reference.forward(doubles(subject.sum), scale: scale, shift: shift)
        let rounding = roundingError(of: norm.type)
        // y is made of x, the mean and the shift, times a deviation of at most 1 / sqrt(epsilon).
        let terms = expected.map { abs($0) + (norm.width == 1 ? 200 : 16) }
        expectClose(
            run.values(output, as: norm.type), floats(expected),
            within: normBounds(expected, terms: terms, rounding), "output")
        if norm.addsResidual { #expect(run.values(2, as: norm.type) == subject.sum) }

        let given = subject.backward(run.floats(output + 1))
        let back = try KernelRun(norm.backward(), given)
        let exact = subject.reference.backward(
            doubles(subject.sum), scale: scale, gradient: doubles(subject.gradient))
        let whole = zip(exact.input, subject.addend).map { norm.addsResidual ? $0 + Double($1) : $0 }
        let wholeTerms = exact.inputTerms.map { $0 + 1 }
        expectClose(
            back.values(given.count, as: norm.type), floats(whole),
            within: normBounds(whole, terms: wholeTerms, rounding), "input")
        guard norm.affine != .none else { return }
        // A row's normalised values are wrong by what its saved mean lost in rounding, 16 epsilon of 1.
        let scaleTerms = zip(exact.scaleTerms, exact.shiftTerms).map { $0 + $1 }
        expectClose(
            back.floats(given.count + 1), floats(exact.scale),
            within: normBounds(exact.scale, terms: scaleTerms), "scale")
        guard subject.parameters.count == 2 else { return }
        expectClose(
            back.floats(given.count + 2), floats(exact.shift),
            within: normBounds(exact.shift, terms: exact.shiftTerms), "shift")
    }

    @Test("a mean of 10,000 beside a variance of 1/3 costs the output no accuracy")
    func largeMean() throws {
        let subject = Subject(RowNorm(.layer, rows: 9, width: 300, epsilon: 1e-5), mean: 10_000)
        let run = try KernelRun(subject.norm.forward(), subject.given)
        let expected = subject.reference.forward(
            doubles(subject.input), scale: doubles(subject.scale), shift: doubles(subject.shift))
        let bounds = normBounds(expected, terms: expected.map { abs($0) + 16 })
        expectClose(run.floats(3), floats(expected), within: bounds, "output")
    }

    @Test("the same bits in place, and on one to three threads", arguments: types)
    func places(type: ElementType) throws {
        var norm = RowNorm(.layer, rows: 300, width: 130, epsilon: 1e-5)
        norm.type = type
        let subject = Subject(norm)
        ThreadTeam.use(1)
        let ahead = try KernelRun(norm.forward(), subject.given)
        let given = subject.backward(ahead.floats(4))
        let back = try KernelRun(norm.backward(), given)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            #expect(try KernelRun(norm.forward(), subject.given).bytes(3) == ahead.bytes(3))
            #expect(try KernelRun(norm.forward(), subject.given + [.sharing(0)]).bytes(0) == ahead.bytes(3))
            let again = try KernelRun(norm.backward(), given)
            for operand in 4...6 { #expect(again.bytes(operand) == back.bytes(operand)) }
            #expect(try KernelRun(norm.backward(), given + [.sharing(3)]).bytes(3) == back.bytes(4))
        }
    }

    @Test("NaN stays in its row, and stays NaN", arguments: [RowNorm.Kind.layer, .rms])
    func nonFinite(kind: RowNorm.Kind) throws {
        var norm = RowNorm(kind, rows: 3, width: 40, epsilon: 1e-5)
        norm.affine = .none
        var input = randomFloats(120, seed: 1)
        input[50] = .nan
        let output = try KernelRun(norm.forward(), [.floats(input)]).floats(1)
        for (index, value) in output.enumerated() { #expect(value.isNaN == (index / 40 == 1)) }
    }
}
