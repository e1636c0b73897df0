import Glibc
import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Attention") struct AttentionTests {
    /// One token, less than a strip of 16 rows, one more than a block of 64, two blocks of 128 keys, and more
    /// than the 256 keys of one step of the online softmax; head widths below, at and above a register.
    static let shapes: [AttentionShape] = [
        AttentionShape(batch: 2, heads: 1, tokens: 1, headWidth: 8, isCausal: false),
        AttentionShape(batch: 1, heads: 3, tokens: 17, headWidth: 32, isCausal: false),
        AttentionShape(batch: 2, heads: 2, tokens: 65, headWidth: 24, isCausal: false),
        AttentionShape(batch: 1, heads: 1, tokens: 130, headWidth: 64, isCausal: false),
        AttentionShape(batch: 1, heads: 2, tokens: 300, headWidth: 8, isCausal: false),
    ]

    private struct Run {
        let output: [Float]
        let logsumexp: [Float]
        let gradient: [Float]
    }

    private static func run(
        _ shape: AttentionShape, _ element: ElementType, _ qkv: [Float], _ upstream: [Float],
        threads: Int, dropout: AttentionDropout? = nil, inPlace: Bool = false, lengths: [Int32]? = nil,
        products: AttentionProducts = .native
    ) throws -> Run {
        var state: [Given] = lengths.map { [.integers($0)] } ?? []
        state += dropout == nil ? [] : [.state(ElementwiseTests.state)]
        let forward = Attention.forward(
            shape, element: element, threads: threads, dropout: dropout, products: products)
        let ahead = try KernelRun(
            forward, [stored(qkv, as: element), .unwritten, .unwritten, .unwritten] + state)
        let backward = Attention.backward(
            shape, element: element, threads: threads, dropout: dropout, products: products)
        let back = try KernelRun(
            backward,
            [
                stored(qkv, as: element), .bytes(ahead.bytes(1)), .floats(ahead.floats(2)),
                stored(upstream, as: element), inPlace ? .sharing(0) : .unwritten, .unwritten,
            ] + state)
        return Run(
            output: ahead.values(1, as: element), logsumexp: ahead.floats(2),
            gradient: back.values(4, as: element))
    }

    /// Derives the bounds.
    ///
    /// A score is off by δ = 4 √d ε Σ|q||k| / √d, a probability by 2 δ of itself and by its exponential's and
    /// sum's rounding. A probability's gradient is off by 4 √d ε Σ|g||v|, the overlap g · o by that and by
    /// the rounding of the stored output; the gradients of queries sum over probabilities that add up to 1,
    /// those of keys and values over up to `columnSum`. Stored results are rounded. Products of bfloat16 take
    /// probabilities, and scores' gradients of at most 2 Σ|g||v| of one, rounded to it, and exponentials that
    /// are good to 2^-17.
    private static func check(
        _ run: Run, _ reference: AttentionReference, _ element: ElementType, _ products: AttentionProducts
    ) {
        let shape = reference.shape
        let depth = Float(shape.headWidth).squareRoot()
        let score = 4 * depth * epsilon * Float(reference.scoreSum)
        let isShort = element == .bfloat16 && products == .native
        let exponential: Float = isShort ? 0x1p-17 : 0
        let rounding = isShort ? roundingError(of: .bfloat16) + 2 * exponential : 0
        let probability = 2 * score + 4 * (2 + Float(shape.tokens).squareRoot()) * epsilon + rounding
        let stored = roundingError(of: element)
        let overlap = (8 * depth * epsilon + stored) * Float(reference.gradientSum)
        let change = probability * 2 * Float(reference.gradientSum) + overlap
        let sum = max(1, Float(reference.columnSum))
        func compare(_ found: [Float], _ expected: [Double], _ bound: Float, _ what: String) {
            expectClose(
                found, expected.map { Float($0) },
                within: expected.map { bound + stored * Float(abs($0)) }, what)
        }
        compare(run.output, reference.output, probability, "output")
        expectClose(
            run.logsumexp, reference.logsumexp.map { Float($0) },
            within: reference.logsumexp.map { score + exponential + 8 * epsilon * (1 + Float(abs($0))) },
            "logsumexp")
        // Queries, keys, values and gradients are at most 1, and so is the scale.
        compare(run.gradient, reference.gradient, sum * (change + probability), "gradient")
    }

    /// float32, and bfloat16 by both kinds of products.
    enum Arithmetic: CaseIterable {
        case float32, bfloat16, widenedBfloat16

        var element: ElementType { self == .float32 ? .float32 : .bfloat16 }
        var products: AttentionProducts { self == .widenedBfloat16 ? .widened : .native }
    }

    @Test("agrees with double precision", arguments: shapes, Arithmetic.allCases)
    func agrees(shape: AttentionShape, arithmetic: Arithmetic) throws {
        let (element, products) = (arithmetic.element, arithmetic.products)
        for isCausal in [false, true] {
            var shape = shape
            shape.isCausal = isCausal
            let qkv = rounded(randomFloats(3 * shape.outputCount, seed: 1), to: element)
            let upstream = rounded(randomFloats(shape.outputCount, seed: 2), to: element)
            let reference = AttentionReference(shape, qkv: qkv, outputGradient: upstream)
            var first: Run?
            for threads in 1...3 {
                ThreadTeam.use(threads)
                let run = try Self.run(
                    shape, element, qkv, upstream, threads: threads, products: products)
                Self.check(run, reference, element, products)
                if let first {
                    #expect(bits(run.output) == bits(first.output), "\(threads) threads")
                    #expect(bits(run.gradient) == bits(first.gradient), "\(threads) threads")
                }
                first = run
            }
        }
    }

    /// The mask as `ck_drop_row` describes it: word c % 64 / 16 of block 16 (r ⌈tokens / 64⌉ + c / 64) + c %
    /// 16.
    private static func factor(_ dropout: AttentionDropout, tokens: Int, row: Int, key: Int) -> Double {
        let state = ElementwiseTests.state
        let unit = row * ((tokens + 63) / 64) + key / 64
        let counter = SIMD4(
            UInt32(unit * 16 + key % 16), UInt32(truncatingIfNeeded: state.step), dropout.layer,
            dropout.purpose + UInt32(truncatingIfNeeded: state.step >> 32) << 8)
        let words = CounterRandom.philox(
            counter,
            key: (UInt32(truncatingIfNeeded: state.seed), UInt32(truncatingIfNeeded: state.seed >> 32)))
        let isKept = words[key % 64 / 16] >> 8 >= UInt32((dropout.probability * 0x1p24).rounded())
        return isKept ? 1 / (1 - Double(dropout.probability)) : 0
    }

    @Test(
        "drops probabilities by the generator, alike forward and backward", arguments: [17, 65, 300],
        Arithmetic.allCases)
    func dropout(tokens: Int, arithmetic: Arithmetic) throws {
        ThreadTeam.use(2)
        let dropout = AttentionDropout(
            probability: 0.25, layer: 4, purpose: RandomPurpose.dropout.rawValue)
        for isCausal in [false, true] {
            let shape = AttentionShape(
                batch: 2, heads: 2, tokens: tokens, headWidth: 8, isCausal: isCausal)
            let element = arithmetic.element
            let qkv = rounded(randomFloats(3 * shape.outputCount, seed: 3), to: element)
            let upstream = rounded(randomFloats(shape.outputCount, seed: 4), to: element)
            let reference = AttentionReference(shape, qkv: qkv, outputGradient: upstream) {
                Self.factor(dropout, tokens: tokens, row: $0 * tokens + $1, key: $2)
            }
            let run = try Self.run(
                shape, element, qkv, upstream, threads: 2, dropout: dropout, products: arithmetic.products)
            Self.check(run, reference, element, arithmetic.products)
        }
    }

    @Test("sees no padding", arguments: [17, 65, 300], Arithmetic.allCases)
    func padding(tokens: Int, arithmetic: Arithmetic) throws {
        ThreadTeam.use(2)
        let element = arithmetic.element
        // Nothing at all, which counts as one token; one more than a register; less than a block; no padding.
        let lengths = [0, min(17, tokens), min(140, tokens - 1), tokens].map(Int32.init)
        for isCausal in [false, true] {
            var shape = AttentionShape(
                batch: lengths.count, heads: 2, tokens: tokens, headWidth: 24, isCausal: isCausal)
            shape.isPadded = true
            let qkv = rounded(randomFloats(3 * shape.outputCount, seed: 11), to: element)
            let upstream = rounded(randomFloats(shape.outputCount, seed: 12), to: element)
            let reference = AttentionReference(
                shape, qkv: qkv, outputGradient: upstream, lengths: lengths)
            let run = try Self.run(
                shape, element, qkv, upstream, threads: 2, lengths: lengths, products: arithmetic.products)
            Self.check(run, reference, element, arithmetic.products)
            for (sample, length) in lengths.enumerated() {
                let first = (sample * tokens + max(1, Int(length))) * 3 * shape.width
                let unseen = stride(
                    from: first, to: (sample + 1) * tokens * 3 * shape.width, by: 3 * shape.width)
                #expect(
                    unseen.allSatisfy { row in
                        (row + shape.width..<row + 3 * shape.width).allSatisfy { run.gradient[$0] == 0 }
                    }, "padding's keys and values have gradients")
            }
        }
    }

    @Test("writes its gradient over the projection as it does beside it", arguments: shapes)
    func inPlace(shape: AttentionShape) throws {
        ThreadTeam.use(2)
        let qkv = randomFloats(3 * shape.outputCount, seed: 5)
        let upstream = randomFloats(shape.outputCount, seed: 6)
        let apart = try Self.run(shape, .float32, qkv, upstream, threads: 2)
        let shared = try Self.run(shape, .float32, qkv, upstream, threads: 2, inPlace: true)
        #expect(bits(apart.gradient) == bits(shared.gradient))
    }

    @Test("keeps to its scratch when the team is larger than planned")
    func largerTeam() throws {
        let shape = AttentionShape(batch: 2, heads: 3, tokens: 20, headWidth: 16, isCausal: true)
        let qkv = randomFloats(3 * shape.outputCount, seed: 7)
        let upstream = randomFloats(shape.outputCount, seed: 8)
        ThreadTeam.use(3)
        let larger = try Self.run(shape, .float32, qkv, upstream, threads: 1)
        ThreadTeam.use(1)
        let planned = try Self.run(shape, .float32, qkv, upstream, threads: 1)
        #expect(bits(larger.output) == bits(planned.output))
        #expect(bits(larger.gradient) == bits(planned.gradient))
    }

    @Test("large scores stay finite; NaN is not hidden")
    func extremes() throws {
        let shape = AttentionShape(batch: 1, heads: 1, tokens: 20, headWidth: 8, isCausal: true)
        var qkv = randomFloats(3 * shape.outputCount, seed: 9, low: -1e4, high: 1e4)
        let upstream = randomFloats(shape.outputCount, seed: 10)
        let large = try Self.run(shape, .float32, qkv, upstream, threads: 1)
        #expect(large.output.allSatisfy { $0.isFinite } && large.gradient.allSatisfy { $0.isFinite })
        qkv[3 * shape.width * 5] = .nan
        let broken = try Self.run(shape, .float32, qkv, upstream, threads: 1)
        #expect(broken.output[5 * shape.width].isNaN && broken.logsumexp[5].isNaN)
        #expect(broken.output[4 * shape.width].isFinite, "an earlier token does not see it")
    }
}
