import Glibc
import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Sequence kernels") struct SequenceKernelTests {
    /// Runs a kernel on one, two and three threads, which must give the same bits; the operand asked for.
    static func run(
        _ kernel: () -> any PreparedKernel, _ given: [Given], reading operand: Int, as element: ElementType
    ) throws -> [Float] {
        let results = try [1, 2, 3].map { threads in
            ThreadTeam.use(threads)
            return try KernelRun(kernel(), given).values(operand, as: element)
        }
        for other in results[1...] {
            #expect(bits(other) == bits(results[0]), "the team's size changes the result")
        }
        return results[0]
    }

    /// Computed in float32 with few operations and stored: a few ε and the stored rounding.
    static func expectRounded(
        _ found: [Float], _ expected: [Double], _ element: ElementType, within extra: Float = 4 * epsilon,
        _ what: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        expectClose(
            found, expected.map { Float($0) },
            within: expected.map { extra + roundingError(of: element) * Float(abs($0)) }, what,
            sourceLocation: sourceLocation)
    }

    @Test(
        "rotary positions turn each plane by its angle, and back", arguments: [(3, 2), (1, 8), (17, 64)],
        activationElements)
    func rotary(extents: (tokens: Int, headWidth: Int), element: ElementType) throws {
        let shape = AttentionShape(
            batch: 2, heads: 3, tokens: extents.tokens, headWidth: extents.headWidth, isCausal: true)
        let qkv = rounded(randomFloats(3 * shape.outputCount, seed: 1), to: element)
        let table = Rotary.table(tokens: shape.tokens, headWidth: shape.headWidth)
        let half = shape.headWidth / 2
        for inverse in [false, true] {
            let found = try Self.run(
                { Rotary.apply(shape, element: element, inverse: inverse) },
                [.floats(table), stored(qkv, as: element)], reading: 1, as: element)
            var expected = qkv.map(Double.init)
            for token in 0..<shape.batch * shape.tokens {
                for head in 0..<2 * shape.heads {
                    for plane in 0..<half {
                        let frequency = pow(10_000, -2 * Double(plane) / Double(shape.headWidth))
                        let angle = Double(token % shape.tokens) * frequency * (inverse ? -1 : 1)
                        let low = token * 3 * shape.width + head * shape.headWidth + plane
                        let (x, y) = (Double(qkv[low]), Double(qkv[low + half]))
                        expected[low] = x * cos(angle) - y * sin(angle)
                        expected[low + half] = x * sin(angle) + y * cos(angle)
                    }
                }
            }
            Self.expectRounded(found, expected, element, "inverse \(inverse)")
        }
    }

    @Test("an embedding copies the rows that the ids name, and zeros for others", arguments: [1, 16, 37])
    func embedding(width: Int) throws {
        for element in activationElements {
            let table = randomFloats(5 * width, seed: 2)
            let zeros = [Float](repeating: 0, count: width)
            let ids: [Int32] = [4, 0, 5, -1, .max, .min, 2, 2]
            let found = try Self.run(
                { Embedding.forward(rows: ids.count, width: width, vocabulary: 5, element: element) },
                [.integers(ids), .floats(table)], reading: 2, as: element)
            var expected: [Float] = []
            for id in ids.map(Int.init) {
                let isKnown = (0..<5).contains(id)
                expected += isKnown ? table[id * width..<(id + 1) * width] : zeros[...]
            }
            #expect(found == rounded(expected, to: element))
        }
    }

    @Test("an embedding's gradient sums by id, on any team in the same order", arguments: [1, 16, 37, 64])
    func embeddingGradient(width: Int) throws {
        let (rows, vocabulary) = (300, 40)
        let ids = (0..<rows).map { Int32($0 * $0 % 23 * 2 - 1) }
        for element in activationElements {
            let gradient = rounded(randomFloats(rows * width, seed: 3), to: element)
            let before = randomFloats(vocabulary * width, seed: 4)
            for accumulates in [false, true] {
                let found = try Self.run(
                    {
                        Embedding.backward(
                            rows: rows, width: width, vocabulary: vocabulary, element: element,
                            accumulates: accumulates)
                    },
                    [
                        .integers(ids), stored(gradient, as: element),
                        accumulates ? .floats(before) : .unwritten,
                    ], reading: 2, as: .float32)
                // float32 sums in the order of the rows are exactly these.
                var expected = accumulates ? before : [Float](repeating: 0, count: vocabulary * width)
                for (row, id) in ids.enumerated() where (0..<Int32(vocabulary)).contains(id) {
                    for i in 0..<width { expected[Int(id) * width + i] += gradient[row * width + i] }
                }
                #expect(found == expected, "accumulates \(accumulates)")
            }
        }
    }

    @Test("softmax and its gradient agree with double precision", arguments: [1, 10, 16, 100, 1000])
    func softmax(width: Int) throws {
        let rows = 21
        for element in activationElements {
            let input = rounded(randomFloats(rows * width, seed: 5, low: -8, high: 8), to: element)
            let gradient = rounded(randomFloats(rows * width, seed: 6), to: element)
            var expected: [Double] = []
            for row in 0..<rows {
                let exponentials = input[row * width..<(row + 1) * width].map { exp(Double($0)) }
                let sum = exponentials.reduce(0, +)
                expected += exponentials.map { $0 / sum }
            }
            let found = try Self.run(
                { Softmax.forward(rows: rows, width: width, element: element) },
                [stored(input, as: element)], reading: 1, as: element)
            // x - max is exact to ε 16 and so is its exponential; a sum of n terms adds up to √n ε.
            let relative = (20 + Float(width).squareRoot()) * epsilon
            Self.expectRounded(found, expected, element, within: relative, "output")
            let inPlace = try KernelRun(
                Softmax.forward(rows: rows, width: width, element: element),
                [stored(input, as: element), .sharing(0)])
            #expect(inPlace.values(0, as: element) == found, "in place")

            let output = rounded(found, to: element)
            let back = try Self.run(
                { Softmax.backward(rows: rows, width: width, element: element) },
                [stored(output, as: element), stored(gradient, as: element)], reading: 2, as: element)
            var expectedGradient: [Double] = []
            for row in 0..<rows {
                let columns = row * width..<(row + 1) * width
                let mean = columns.reduce(0.0) { $0 + Double(output[$1]) * Double(gradient[$1]) }
                expectedGradient += columns.map { Double(output[$0]) * (Double(gradient[$0]) - mean) }
            }
            Self.expectRounded(back, expectedGradient, element, within: relative, "gradient")
        }
    }

    @Test("softmax keeps NaN, and large values finite")
    func extremes() throws {
        let kernel = Softmax.forward(rows: 3, width: 3, element: .float32)
        let found = try KernelRun(kernel, [.floats([1e30, -1e30, 0, 0, .nan, 1, 3e38, 3e38, -3e38])]).floats(
            1)
        #expect(Array(found[..<3]) == [1, 0, 0])
        #expect(found[3..<6].allSatisfy { $0.isNaN })
        #expect(Array(found[6...]) == [0.5, 0.5, 0])
    }
}
