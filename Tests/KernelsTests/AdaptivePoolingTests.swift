import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Adaptive average pooling") struct AdaptivePoolingTests {
    static let shapes = [
        AdaptivePoolingShape(batch: 2, channels: 5, inHeight: 7, inWidth: 10, outHeight: 3, outWidth: 4),
        AdaptivePoolingShape(batch: 1, channels: 67, inHeight: 8, inWidth: 8, outHeight: 1, outWidth: 1),
        // More outputs than inputs: windows repeat.
        AdaptivePoolingShape(batch: 3, channels: 16, inHeight: 2, inWidth: 3, outHeight: 5, outWidth: 3),
        // Enough work for several threads.
        AdaptivePoolingShape(batch: 9, channels: 129, inHeight: 6, inWidth: 5, outHeight: 4, outWidth: 5),
    ]

    /// The window of an output pixel, by PyTorch's rule.
    private static func window(_ index: Int, _ outputs: Int, _ inputs: Int) -> Range<Int> {
        let end = (Double((index + 1) * inputs) / Double(outputs)).rounded(.up)
        return index * inputs / outputs..<Int(end)
    }

    /// Calls `body` with each pair of an input and an output element and the share of the one in the other.
    private static func forEachShare(_ s: AdaptivePoolingShape, _ body: (Int, Int, Double) -> Void) {
        for n in 0..<s.batch {
            for oy in 0..<s.outHeight {
                for ox in 0..<s.outWidth {
                    let rows = window(oy, s.outHeight, s.inHeight)
                    let columns = window(ox, s.outWidth, s.inWidth)
                    for y in rows {
                        for x in columns {
                            for c in 0..<s.channels {
                                body(
                                    ((n * s.inHeight + y) * s.inWidth + x) * s.channels + c,
                                    ((n * s.outHeight + oy) * s.outWidth + ox) * s.channels + c,
                                    1 / Double(rows.count * columns.count))
                            }
                        }
                    }
                }
            }
        }
    }

    @Test(
        "is the mean of PyTorch's windows, and its gradient", arguments: shapes,
        [ElementType.float32, .bfloat16])
    func passes(shape: AdaptivePoolingShape, element: ElementType) throws {
        let inputs = shape.batch * shape.inHeight * shape.inWidth * shape.channels
        let outputs = shape.batch * shape.outHeight * shape.outWidth * shape.channels
        let input = rounded(randomFloats(inputs, seed: 1), to: element)
        let gradient = rounded(randomFloats(outputs, seed: 2), to: element)
        var expected = [Double](repeating: 0, count: outputs)
        var expectedBack = [Double](repeating: 0, count: inputs)
        Self.forEachShare(shape) { from, to, share in
            expected[to] += share * Double(input[from])
            expectedBack[from] += share * Double(gradient[to])
        }
        var seen: [[Float]] = []
        for threads in 1...3 {
            ThreadTeam.use(threads)
            let ahead = try KernelRun(
                AdaptivePooling.average(shape, element: element), [stored(input, as: element)])
            let back = try KernelRun(
                AdaptivePooling.averageBackward(shape, element: element), [stored(gradient, as: element)])
            seen.append(ahead.values(1, as: element) + back.values(1, as: element))
        }
        // Sums of at most 64 terms below 1, then one rounding.
        let all = expected + expectedBack
        let bound = all.map { 64 * epsilon + roundingError(of: element) * Float(abs($0)) }
        expectClose(seen[0], all.map { Float($0) }, within: bound, "mean and gradient")
        #expect(seen[1] == seen[0] && seen[2] == seen[0], "threads change the result")
    }
}
