import Kernels
import Tensor
import TestSupport
import Testing

/// The parts have float64 oracles of their own.
@Suite("A normalisation and the activation behind it give the bits of one after the other")
struct NormActivationTests {
    static let types: [ElementType] = [.float32, .bfloat16]

    /// The activation apart, of what a normalisation yielded.
    private static func forward(
        _ kind: ActivationKind, _ type: ElementType, _ values: [Float]
    ) throws -> [Float] {
        try KernelRun(
            Activation.forward(kind, count: values.count, type: type), [stored(values, as: type)]
        ).values(1, as: type)
    }

    private static func backward(
        _ kind: ActivationKind, _ type: ElementType, input: [Float], gradient: [Float]
    ) throws -> [Float] {
        let saved = kind.backwardReads == .input ? input : try forward(kind, type, input)
        return try KernelRun(
            Activation.backward(kind, count: input.count, type: type),
            [stored(saved, as: type), stored(gradient, as: type)]
        ).values(2, as: type)
    }

    /// Inputs that reach all parts of an activation.
    private static func input(_ count: Int, _ type: ElementType, _ seed: UInt64 = 1) -> [Float] {
        rounded(randomFloats(count, seed: seed, low: -5, high: 5), to: type)
    }

    @Test("of rows", arguments: ActivationKind.all, types)
    func rows(kind: ActivationKind, type: ElementType) throws {
        for (norm, affine) in [RowNorm.Kind.layer, .rms].flatMap({ norm in
            [RowNorm.Affine.none, .scale, .scaleAndShift].map { (norm, $0) }
        }) {
            let (rows, width) = (190, 100)
            var apart = RowNorm(norm, rows: rows, width: width, epsilon: 1e-3)
            (apart.affine, apart.type, apart.addsResidual) = (affine, type, affine == .scale)
            var whole = apart
            whole.activation = kind
            let (count, hasShift) = (rows * width, norm == .layer && affine == .scaleAndShift)
            let scale = Given.floats(randomFloats(width, seed: 2, low: 0.5, high: 4))
            let parameters =
                (affine == .none ? [] : [scale]) + (hasShift ? [.floats(randomFloats(width, seed: 3))] : [])
            let (x, residual) = (Self.input(count, type), Self.input(count, type, 4))
            let given =
                [stored(x, as: type)] + (apart.addsResidual ? [stored(residual, as: type), .unwritten] : [])
                + parameters
            let first = try KernelRun(apart.forward(), given), both = try KernelRun(whole.forward(), given)
            let output = given.count
            let plain = first.values(output, as: type)
            #expect(try Self.forward(kind, type, plain) == both.values(output, as: type))
            #expect(first.bytes(output + 1) == both.bytes(output + 1))

            let gradient = Self.input(count, type, 5)
            let behind = try Self.backward(kind, type, input: plain, gradient: gradient)
            let sum = apart.addsResidual ? first.values(2, as: type) : x
            let addend = apart.addsResidual ? [stored(residual, as: type)] : []
            let head = [stored(sum, as: type), .floats(first.floats(output + 1))]
            let one = head + parameters.prefix(1) + [stored(behind, as: type)] + addend
            let two = head + parameters + [stored(gradient, as: type)] + addend
            let expected = try KernelRun(apart.backward(), one), found = try KernelRun(whole.backward(), two)
            for operand in 0...parameters.count {
                #expect(found.bytes(two.count + operand) == expected.bytes(one.count + operand))
            }
            let inPlace = try KernelRun(whole.backward(), two + [.sharing(head.count + parameters.count)])
            #expect(inPlace.bytes(head.count + parameters.count) == expected.bytes(one.count))
        }
    }

    @Test("of groups", arguments: ActivationKind.all, types)
    func groups(kind: ActivationKind, type: ElementType) throws {
        // More channels than a span, and rows that fill none.
        for (area, channels, groups) in [(49, 20, 5), (3, 1040, 2)] {
            for isAffine in [true, false] {
                var apart = GroupNorm(batch: 3, area: area, channels: channels, groups: groups, epsilon: 1e-3)
                (apart.type, apart.isAffine) = (type, isAffine)
                var whole = apart
                whole.activation = kind
                let count = 3 * area * channels
                let drawn = [
                    Given.floats(randomFloats(channels, seed: 2, low: 0.5, high: 4)),
                    .floats(randomFloats(channels, seed: 3)),
                ]
                let parameters = isAffine ? drawn : []
                let (x, gradient) = (Self.input(count, type), Self.input(count, type, 5))
                let given = [stored(x, as: type)] + parameters
                let first = try KernelRun(apart.forward(), given)
                let both = try KernelRun(whole.forward(), given)
                let plain = first.values(given.count, as: type)
                #expect(try Self.forward(kind, type, plain) == both.values(given.count, as: type))

                let behind = try Self.backward(kind, type, input: plain, gradient: gradient)
                let head = [stored(x, as: type), .floats(first.floats(given.count + 1))]
                let one = head + parameters.prefix(1) + [stored(behind, as: type)]
                let two = head + parameters + [stored(gradient, as: type)]
                let expected = try KernelRun(apart.backward(), one)
                let found = try KernelRun(whole.backward(), two)
                for operand in 0...parameters.count {
                    #expect(found.bytes(two.count + operand) == expected.bytes(one.count + operand))
                }
                let inPlace = try KernelRun(whole.backward(), two + [.sharing(two.count - 1)])
                #expect(inPlace.bytes(two.count - 1) == expected.bytes(one.count))
            }
        }
    }

    @Test("of batches", arguments: ActivationKind.all, types)
    func batches(kind: ActivationKind, type: ElementType) throws {
        for (rows, channels) in [(1700, 10), (30, 600)] {
            var apart = FusedBatchNorm(rows: rows, channels: channels, epsilon: 1e-3)
            apart.type = type
            var whole = apart
            whole.following = kind
            let (count, ones) = (rows * channels, Given.floats([Float](repeating: 1, count: channels)))
            let scale = Given.floats(randomFloats(channels, seed: 2, low: 0.5, high: 4))
            let shift = Given.floats(randomFloats(channels, seed: 3))
            let (x, gradient) = (Self.input(count, type), Self.input(count, type, 5))
            let given = [stored(x, as: type), scale, shift, .unwritten]
            let training = given + [.unwritten, ones, ones]
            let first = try KernelRun(apart.training(momentum: 0.1), training)
            let both = try KernelRun(whole.training(momentum: 0.1), training)
            let plain = first.values(3, as: type)
            let activated = try Self.forward(kind, type, plain)
            #expect(activated == both.values(3, as: type))
            for operand in 4...6 { #expect(first.bytes(operand) == both.bytes(operand)) }
            let again = try KernelRun(whole.repeated(), given + [.floats(first.floats(4))])
            #expect(activated == again.values(3, as: type))
            let running = given + [ones, ones]
            let ahead = try KernelRun(apart.inference(), running).values(3, as: type)
            #expect(
                try Self.forward(kind, type, ahead)
                    == KernelRun(whole.inference(), running).values(3, as: type))

            let behind = try Self.backward(kind, type, input: plain, gradient: gradient)
            let head = [stored(x, as: type), .floats(first.floats(4)), scale, shift]
            let expected = try KernelRun(apart.backward(), head + [stored(behind, as: type)])
            let found = try KernelRun(whole.backward(), head + [stored(gradient, as: type)])
            for operand in 5...7 { #expect(found.bytes(operand) == expected.bytes(operand)) }
            let inPlace = try KernelRun(
                whole.backward(), head + [stored(gradient, as: type), .sharing(4)])
            #expect(inPlace.bytes(4) == expected.bytes(5))
        }
    }

    @Test("A derivative that the forward pass keeps", arguments: types)
    func derivative(type: ElementType) throws {
        for kind in ActivationKind.all where Activation.sharesDerivative(kind) {
            let count = ActivationTests.large
            let (x, gradient) = (Self.input(count, type), Self.input(count, type, 5))
            let kernel = Activation.forwardWithDerivative(kind, count: count, type: type)
            let run = try KernelRun(kernel, [stored(x, as: type)])
            #expect(try Self.forward(kind, type, x) == run.values(1, as: type))
            let exact = try Self.backward(kind, .float32, input: x, gradient: gradient)
            let product = zip(run.values(2, as: type), gradient).map(*)
            if type == .float32 {
                #expect(exact == product)
            } else {
                // The derivative is rounded, and GELU's is short beside that: see ActivationTests.
                let limits = zip(exact, gradient).map { 2 * 0x1p-9 * abs($0) + 0x1p-11 * abs($1) }
                expectClose(product, exact, within: limits, "\(kind)")
            }
            let inPlace = try KernelRun(kernel, [stored(x, as: type), .unwritten, .sharing(0)])
            #expect(inPlace.bytes(0) == run.bytes(2) && inPlace.bytes(1) == run.bytes(1))
        }
    }
}
