import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Group normalisation agrees with the double-precision reference") struct GroupNormTests {
    static let types: [ElementType] = [.float32, .bfloat16]

    static var subjects: [GroupNorm] {
        // Single elements, one group and one per channel, more channels than a span, one and several parts.
        let sizes = [(1, 1, 1, 1), (2, 5, 6, 3), (3, 49, 20, 20), (9, 64, 32, 8), (2, 9, 1040, 2)]
        return sizes.flatMap { batch, area, channels, groups in
            types.flatMap { type in
                [true, false].map { isAffine in
                    var norm = GroupNorm(
                        batch: batch, area: area, channels: channels, groups: groups, epsilon: 1e-3)
                    (norm.type, norm.isAffine) = (type, isAffine)
                    return norm
                }
            }
        }
    }

    /// A normalisation and its operands.
    struct Subject {
        let norm: GroupNorm
        let input: [Float]
        let gradient: [Float]
        let scale: [Float]
        let shift: [Float]
        let reference: ReferenceNorm

        init(_ norm: GroupNorm, mean: Float = 0) {
            self.norm = norm
            let (channels, sample) = (norm.channels, norm.area * norm.channels)
            let count = norm.batch * sample
            input = rounded(randomFloats(count, seed: 1, low: mean - 2, high: mean + 2), to: norm.type)
            gradient = rounded(randomFloats(count, seed: 2), to: norm.type)
            let ones = [Float](repeating: 1, count: channels)
            scale = norm.isAffine ? randomFloats(channels, seed: 3, low: 0.5, high: 3) : ones
            shift = norm.isAffine ? randomFloats(channels, seed: 4) : ones.map { _ in 0 }
            let (groups, members) = (norm.groups, channels / norm.groups)
            reference = ReferenceNorm(
                count: count, epsilon: Double(norm.epsilon),
                set: { $0 / sample * groups + $0 % channels / members }, channel: { $0 % channels })
        }

        var given: [Given] {
            [stored(input, as: norm.type)] + (norm.isAffine ? [.floats(scale), .floats(shift)] : [])
        }
        func backward(_ saved: [Float]) -> [Given] {
            [stored(input, as: norm.type), .floats(saved)] + (norm.isAffine ? [.floats(scale)] : [])
                + [stored(gradient, as: norm.type)]
        }
    }

    private func check(_ subject: Subject) throws {
        let norm = subject.norm
        let (x, scale) = (doubles(subject.input), doubles(subject.scale))
        let run = try KernelRun(norm.forward(), subject.given)
        let output = subject.given.count
        let rounding = roundingError(of: norm.type)
        let expected = subject.reference.forward(x, scale: scale, shift: doubles(subject.shift))
        let terms = expected.map { abs($0) + 16 }
        expectClose(
            run.values(output, as: norm.type), floats(expected),
            within: normBounds(expected, terms: terms, rounding), "output")
        let given = subject.backward(run.floats(output + 1))
        let back = try KernelRun(norm.backward(), given)
        let exact = subject.reference.backward(x, scale: scale, gradient: doubles(subject.gradient))
        expectClose(
            back.values(given.count, as: norm.type), floats(exact.input),
            within: normBounds(exact.input, terms: exact.inputTerms, rounding), "input")
        guard norm.isAffine else { return }
        expectClose(
            back.floats(given.count + 1), floats(exact.scale),
            within: normBounds(exact.scale, terms: exact.scaleTerms), "scale")
        expectClose(
            back.floats(given.count + 2), floats(exact.shift),
            within: normBounds(exact.shift, terms: exact.shiftTerms), "shift")
    }

    @Test("forward and backward", arguments: subjects)
    func agrees(norm: GroupNorm) throws { try check(Subject(norm)) }

    @Test("a mean of 10,000 beside a variance of 1 costs no accuracy")
    func largeMean() throws {
        try check(
            Subject(
                GroupNorm(batch: 3, area: 100, channels: 12, groups: 4, epsilon: 1e-3), mean: 10_000))
    }

    @Test("the same bits in place, and on one to three threads", arguments: types)
    func places(type: ElementType) throws {
        var norm = GroupNorm(batch: 13, area: 100, channels: 24, groups: 6, epsilon: 1e-5)
        norm.type = type
        let subject = Subject(norm)
        ThreadTeam.use(1)
        let ahead = try KernelRun(norm.forward(), subject.given)
        let given = subject.backward(ahead.floats(4))
        let back = try KernelRun(norm.backward(), given)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            #expect(try KernelRun(norm.forward(), subject.given + [.sharing(0)]).bytes(0) == ahead.bytes(3))
            let again = try KernelRun(norm.backward(), given)
            for operand in 4...6 { #expect(again.bytes(operand) == back.bytes(operand)) }
            #expect(try KernelRun(norm.backward(), given + [.sharing(3)]).bytes(3) == back.bytes(4))
        }
    }

    @Test("NaN stays in its sample's group, and stays NaN")
    func nonFinite() throws {
        var norm = GroupNorm(batch: 2, area: 9, channels: 4, groups: 2, epsilon: 1e-5)
        norm.isAffine = false
        var input = randomFloats(72, seed: 1)
        input[40] = .nan  // Sample 1, channel 0, and so group 0.
        let output = try KernelRun(norm.forward(), [.floats(input)]).floats(1)
        for (index, value) in output.enumerated() {
            #expect(value.isNaN == (index / 36 == 1 && index % 4 < 2))
        }
    }
}
