import Kernels
import Tensor
import Testing

@Suite("Numbers become codes") struct QuantizationTests {
    /// Sizes around those at which the team shares, with and without a border.
    static let extents: [Quantization.Extents] = [
        .init(count: 1), .init(count: 37), .init(count: 40_000),
        .init(images: 3, height: 5, width: 4, channels: 3, paddingHeight: 1, paddingWidth: 2),
        .init(images: 2, height: 70, width: 60, channels: 5, paddingHeight: 2),
    ]

    @Test("activations take the codes of their scale, and a border takes zero's", arguments: extents)
    func activations(extents: Quantization.Extents) throws {
        var random = CounterRandom(seed: 4, purpose: .test)
        let count = extents.images * extents.height * extents.width * extents.channels
        var input = (0..<count).map { _ in 4 * random.uniform() - 1.5 }
        if count > 30 { (input[3], input[7], input[11]) = (.nan, .infinity, -1e30) }
        for codeMax in [UInt8(127), 255] {
            let scale = try #require(ActivationScale(low: -1, high: 2, codeMax: codeMax))
            let run = try KernelRun(Quantization.activations(extents, scale), [.floats(input)])
            let found = run.bytes(1)
            let (width, lines) = (
                extents.width + 2 * extents.paddingWidth, extents.height + 2 * extents.paddingHeight
            )
            #expect(found.count == extents.images * lines * width * extents.channels)
            let wrong = found.indices.first { index in
                let pixel = index / extents.channels
                let x = pixel % width - extents.paddingWidth
                let y = pixel / width % lines - extents.paddingHeight
                guard (0..<extents.width).contains(x), (0..<extents.height).contains(y) else {
                    return found[index] != scale.zeroPoint
                }
                let image = pixel / width / lines
                let place = (image * extents.height + y) * extents.width + x
                return found[index]
                    != scale.code(of: input[place * extents.channels + index % extents.channels])
            }
            #expect(wrong == nil)
        }
    }

    @Test("weights come back within half a step, and zeros as zeros")
    func weights() {
        var random = CounterRandom(seed: 5, purpose: .test)
        let (rows, width) = (7, 45)
        var weights = (0..<rows * width).map { _ in 2 * random.uniform() - 1 }
        for index in weights.indices where index % 3 == 0 { weights[index] = 0 }
        for index in 2 * width..<3 * width { weights[index] = 0 }
        let factors = (0..<rows).map { Float($0) - 2.5 }
        let least = [Float](repeating: 1e-4, count: rows)
        for isShared in [false, true] {
            let (codes, scales) = Quantization.weights(
                weights, factors: factors, least: least, isShared: isShared)
            for (index, code) in codes.enumerated() {
                let row = index / width
                let exact = weights[index] * factors[row]
                // Half a step; the product and the quotient round by 2^-24 each, of at most 127 steps.
                #expect(abs(Float(code) * scales[row] - exact) <= scales[row] * 0.50002)
                if weights[index] == 0 { #expect(code == 0) }
            }
            #expect(codes.allSatisfy { $0 >= -127 } && codes.contains { abs($0) == 127 })
            if isShared { #expect(Set(scales).count == 1) } else { #expect(scales[2] == 1e-4) }
        }
    }

    @Test("ranges and histograms leave out what is no number", arguments: [1, 16, 100])
    func observations(count: Int) throws {
        var random = CounterRandom(seed: 6, purpose: .test)
        var values = (0..<count).map { _ in 2 * random.uniform() - 1 }
        let (low, high) = (values.min() ?? 0, values.max() ?? 0)
        if count > 1 { values += [.nan, .nan] }
        let arena = try Arena(byteCount: 4 * values.count)
        let slot = Slot(offset: 0, byteCount: 4 * values.count)
        arena.write(values, to: slot)
        #expect(Quantization.range(of: slot, in: arena) == (low, high))
        var histogram = [UInt64](repeating: 0, count: 8)
        Quantization.count(slot, in: arena, from: -0.5, to: 0.5, into: &histogram)
        var expected = [UInt64](repeating: 0, count: 8)
        for value in values where !value.isNaN {
            expected[Int(min(max((Double(value) + 0.5) * 8, 0), 7))] += 1
        }
        #expect(histogram == expected)
    }
}
