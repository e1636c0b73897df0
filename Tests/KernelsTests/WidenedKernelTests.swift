import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Passes in bfloat16 by kernels for float32") struct WidenedKernelTests {
    private static let engine = Arithmetic.widenedBFloat16

    /// Values whose weights are not bfloat16 yet: rounding them is the kernel's.
    @Test("round what they read and what they store, and nothing between", arguments: 1...3)
    func rounding(threads: Int) throws {
        ThreadTeam.use(threads)
        let shape = ConvolutionShape.of(batch: 3, 7, (6, 5), to: 11, padding: (1, 0), hasBias: true)
        let engine = try Self.engine.engine()
        let input = rounded(randomFloats(3 * 7 * 30, seed: 1), to: .bfloat16)
        let weight = randomFloats(11 * 7 * 9, seed: 2)
        let bias = randomFloats(11, seed: 3)
        let narrow = try Convolution.forward(shape, element: .bfloat16, on: engine)
        let wide = try Convolution.forward(shape, weights: narrow.layouts[1], algorithm: .direct, on: engine)
        #expect(narrow.implementation == "widened \(wide.implementation)")
        #expect(narrow.layouts[1] == wide.layouts[1] && narrow.layouts[2].element == .float32)
        func packed(_ weight: [Float]) throws -> Given {
            .floats(
                try Reorder.convert(
                    weight, from: .rowMajor(shape.weightExtents), to: wide.layouts[1], on: engine))
        }
        let found = try KernelRun(
            narrow, [stored(input, as: .bfloat16), packed(weight), .floats(bias)])
        let exact = try KernelRun(
            wide, [.floats(input), packed(rounded(weight, to: .bfloat16)), .floats(bias)])
        #expect(found.values(3, as: .bfloat16) == rounded(exact.floats(3), to: .bfloat16))
    }

    @Test("take half the bytes of activations, and a scratchpad for the rest")
    func operands() throws {
        let shape = InnerProductShape(batch: 600, inputs: 128, outputs: 64)
        let (wide, narrow) = (try Arithmetic.float32.engine(), try Self.engine.engine())
        for (whole, half) in [
            (
                try InnerProduct.forward(shape, on: wide),
                try InnerProduct.forward(shape, element: .bfloat16, on: narrow)
            ),
            (
                try InnerProduct.backwardData(shape, on: wide),
                try InnerProduct.backwardData(shape, element: .bfloat16, on: narrow)
            ),
        ] {
            for operand in [0, half.operands.count - 2] {
                #expect(2 * half.operands[operand].byteCount == whole.operands[operand].byteCount)
            }
            let copies = [0, 1, whole.scratchpad.map { $0 - 1 } ?? whole.operands.count - 1]
            let needed = copies.reduce(0) { $0 + whole.operands[$1].byteCount }
            let scratchpad = try #require(half.scratchpad)
            #expect(half.operands[scratchpad].byteCount >= needed)
        }
    }

    /// Every bfloat16, and float32 numbers around each boundary between two of them.
    @Test("convert between the types as the definition says", arguments: [1, 3])
    func conversions(threads: Int) throws {
        ThreadTeam.use(threads)
        let halves = (0...UInt32(0xFFFF)).map { Float(bitPattern: $0 << 16) }
        let widened = try KernelRun(
            ElementConversion.widen(count: halves.count), [stored(halves, as: .bfloat16)])
        #expect(bits(widened.floats(1)) == bits(halves))
        let close = halves.flatMap { half in
            [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF].map { Float(bitPattern: half.bitPattern | $0) }
        }
        let expected = close.map { nearest($0) }
        let narrowed = try KernelRun(ElementConversion.narrow(count: close.count), [.floats(close)])
        #expect(bits(narrowed.values(1, as: .bfloat16)) == expected)
        let kept = try KernelRun(ElementConversion.round(count: close.count), [.floats(close)])
        #expect(bits(kept.floats(1)) == expected)
    }

    /// The bits of the bfloat16 nearest to a number, the even one of two; of NaN the quiet one of its bits.
    private func nearest(_ value: Float) -> UInt32 {
        let below = value.bitPattern & 0xFFFF_0000
        if value.isNaN { return below | 0x40_0000 }
        let rest = value.bitPattern & 0xFFFF
        let isUp = rest > 0x8000 || rest == 0x8000 && below & 0x1_0000 != 0
        return isUp ? below + 0x1_0000 : below
    }
}
