import Kernels
import Tensor
import Testing

/// Products of bytes as whole numbers: sums in 64 bits, then the float32 operations that are documented.
private struct IntegerReference {
    let scales: [Float]
    let fusing: [PostOperation]
    let element: ElementType

    /// What becomes of a sum: codes as floats.
    func result(_ sum: Int, _ bias: Int32, _ channel: Int, before: Float = 0) -> Float {
        var value = (Float(sum) + Float(bias)) * scales[channel]
        for operation in fusing {
            switch operation {
            case .relu: value = max(value, 0)
            case .bounded(let bound): value = min(max(value, 0), bound)
            case .shifted(let constant): value += constant
            case .clipped(let low, let high): value = min(max(value, low), high)
            case .addToDestination: value += before
            default: Issue.record("\(operation) is not expected")
            }
        }
        guard element == .uint8 else { return value }
        return min(max(value, 0), 255).rounded(.toNearestOrEven)
    }
}

@Suite("Products of bytes are those of whole numbers, bit for bit") struct QuantizedProductTests {
    /// What is fused, what comes out, and the zero point that the source has.
    struct Case: Sendable {
        let fusing: [PostOperation]
        let element: ElementType
        var zeroPoint: UInt8 = 0
    }

    static let cases: [Case] = [
        Case(fusing: [.relu], element: .uint8), Case(fusing: [], element: .float32, zeroPoint: 31),
        Case(fusing: [.shifted(93)], element: .uint8, zeroPoint: 128),
        Case(fusing: [.bounded(100)], element: .uint8), Case(fusing: [.relu], element: .float32),
        Case(fusing: [.relu, .clipped(0, 127)], element: .uint8, zeroPoint: 7),
        Case(fusing: [.addToDestination, .relu], element: .float32),
    ]

    private static func convolution(
        _ channels: Int, _ size: Int, _ outputs: Int, _ kernel: Int, stride: Int = 1, padding: Int = 0,
        groups: Int = 1, batch: Int = 2
    ) -> ConvolutionShape {
        var shape = ConvolutionShape(
            batch: batch, inChannels: channels, inHeight: size, inWidth: size + 1, outChannels: outputs,
            kernelHeight: kernel, kernelWidth: kernel)
        (shape.strideHeight, shape.strideWidth) = (stride, stride)
        (shape.paddingHeight, shape.paddingWidth) = (padding, padding)
        shape.groups = groups
        return shape
    }

    /// One channel, odd numbers, depthwise, groups, strides, padding.
    static let shapes: [ConvolutionShape] = [
        convolution(1, 9, 20, 5), convolution(20, 7, 50, 5), convolution(3, 6, 5, 3, padding: 1),
        convolution(24, 8, 24, 3, padding: 1, groups: 24), convolution(7, 8, 7, 3, padding: 1, groups: 7),
        convolution(12, 7, 8, 3, stride: 2, padding: 1, groups: 2), convolution(32, 5, 16, 1),
        convolution(64, 6, 33, 3, padding: 1),
    ]

    private struct Numbers {
        var source: [UInt8]
        var weights: [Int8]
        var bias: [Int32]
        var scales: [Float]

        init(_ sources: Int, _ weights: Int, _ outputs: Int, terms: Int, isExtreme: Bool) {
            var random = CounterRandom(seed: UInt64(sources), purpose: .test)
            source = (0..<sources).map { _ in isExtreme ? 255 : UInt8(random.below(256)) }
            self.weights = (0..<weights).map { _ in isExtreme ? 127 : Int8(Int(random.below(255)) - 127) }
            // Sums of so many random products are about 128 * 73 * sqrt(terms): results reach beyond 255.
            let size = 128 * 73 * Float(terms).squareRoot()
            bias = (0..<outputs).map { _ in Int32(size * (random.uniform() - 0.5)) }
            scales = (0..<outputs).map { 200 / size * (0.5 + Float($0 % 7) / 5) }
        }
    }

    /// Runs a kernel and compares every element.
    private static func expectEqual(
        _ kernel: Primitive, _ numbers: Numbers, _ source: [UInt8], bias: [Int32],
        plain: TensorLayout, _ reference: IntegerReference, sum: (Int) -> Int, outputs: Int
    ) throws {
        let packed = try QuantizedProduct.packed(
            numbers.weights, by: [(plain, kernel.layouts[1])], on: DNNEngine())
        let bytes = packed.arena.read(Slot(offset: 0, byteCount: packed.byteCount), as: UInt8.self)
        let isFloat = reference.element == .float32
        let count = kernel.operands[3].byteCount / (isFloat ? 4 : 1)
        let before = (0..<count).map { Float($0 % 13) - 6 }
        let given: [Given] =
            [.bytes(source), .bytes(bytes), .integers(bias)]
            + (reference.fusing.contains(.addToDestination) ? [.floats(before)] : [.unwritten])
        let run = try KernelRun(kernel, given)
        let found = isFloat ? run.floats(3) : run.bytes(3).map { Float($0) }
        let wrong = found.indices.first { index in
            let channel = index % outputs
            let expected = reference.result(sum(index), bias[channel], channel, before: before[index])
            return found[index].bitPattern != (expected == 0 ? 0 : expected).bitPattern
                && !(found[index] == 0 && expected == 0)
        }
        #expect(wrong == nil, "\(kernel.implementation)")
        #expect(Set(found.prefix(10_000)).count > (numbers.source.allSatisfy { $0 == 255 } ? 0 : 3))
    }

    /// The sums of a convolution over codes, less the zero point where it lies outside the image.
    private static func sums(
        _ shape: ConvolutionShape, _ numbers: Numbers, zeroPoint: Int
    ) -> (Int) -> Int {
        let (inner, outer) = (shape.inChannels / shape.groups, shape.outChannels / shape.groups)
        return { index in
            let (channel, pixel) = (index % shape.outChannels, index / shape.outChannels)
            let (x, y) = (pixel % shape.outWidth, pixel / shape.outWidth % shape.outHeight)
            let image = pixel / shape.outWidth / shape.outHeight
            var sum = 0
            for ky in 0..<shape.kernelHeight {
                for kx in 0..<shape.kernelWidth {
                    let (row, column) = (
                        y * shape.strideHeight - shape.paddingHeight + ky,
                        x * shape.strideWidth - shape.paddingWidth + kx
                    )
                    guard (0..<shape.inHeight).contains(row), (0..<shape.inWidth).contains(column) else {
                        continue
                    }
                    let place = ((image * shape.inHeight + row) * shape.inWidth + column) * shape.inChannels
                    for c in 0..<inner {
                        let code = Int(numbers.source[place + channel / outer * inner + c]) - zeroPoint
                        let weight = numbers.weights[
                            ((channel * inner + c) * shape.kernelHeight + ky) * shape.kernelWidth + kx]
                        sum += code * Int(weight)
                    }
                }
            }
            return sum
        }
    }

    @Test("convolutions", arguments: shapes, cases)
    func convolutions(shape: ConvolutionShape, given: Case) throws {
        let terms = shape.inChannels / shape.groups * shape.kernelHeight * shape.kernelWidth
        let numbers = Numbers(
            shape.batch * shape.inHeight * shape.inWidth * shape.inChannels, shape.outChannels * terms,
            shape.outChannels, terms: terms, isExtreme: false)
        // What is not zero's code has to be there before: the border of the image.
        let zero = Int(given.zeroPoint)
        var (padded, source) = (shape, numbers.source)
        if zero > 0 {
            source = Self.padded(numbers.source, shape, with: given.zeroPoint)
            padded.inHeight += 2 * shape.paddingHeight
            padded.inWidth += 2 * shape.paddingWidth
            (padded.paddingHeight, padded.paddingWidth) = (0, 0)
        }
        let folded = numbers.bias.enumerated().map { channel, bias in
            let row = numbers.weights[channel * terms..<(channel + 1) * terms]
            return bias - Int32(zero) * row.reduce(Int32(0)) { $0 + Int32($1) }
        }
        let epilogue = QuantizedProduct.Epilogue(
            scales: numbers.scales, fusing: given.fusing, element: given.element)
        let kernel = try QuantizedProduct.convolution(padded, epilogue, on: DNNEngine())
        #expect(!kernel.isReference)
        let reference = IntegerReference(
            scales: numbers.scales, fusing: given.fusing, element: given.element)
        // The kernel's sum has the zero point in it, and its bias takes it out: the same whole number. As
        // floats the two may round differently, so that the reference has to add them as the kernel does.
        let exact = Self.sums(shape, numbers, zeroPoint: zero)
        let shifts = zip(numbers.bias, folded).map { Int($0 - $1) }
        try Self.expectEqual(
            kernel, numbers, source, bias: folded, plain: .rowMajor(shape.weightExtents, element: .int8),
            reference, sum: { exact($0) + shifts[$0 % shape.outChannels] }, outputs: shape.outChannels)
    }

    private static func padded(_ source: [UInt8], _ shape: ConvolutionShape, with code: UInt8) -> [UInt8] {
        let (height, width) = (
            shape.inHeight + 2 * shape.paddingHeight, shape.inWidth + 2 * shape.paddingWidth
        )
        var padded = [UInt8](repeating: code, count: shape.batch * height * width * shape.inChannels)
        for (index, value) in source.enumerated() {
            let (channel, pixel) = (index % shape.inChannels, index / shape.inChannels)
            let (x, y) = (pixel % shape.inWidth, pixel / shape.inWidth % shape.inHeight)
            let image = pixel / shape.inWidth / shape.inHeight
            let line = image * height + y + shape.paddingHeight
            padded[(line * width + x + shape.paddingWidth) * shape.inChannels + channel] = value
        }
        return padded
    }

    @Test("fully connected layers", arguments: [(5, 7, 3), (64, 800, 50), (1, 784, 33), (3, 500, 10)], cases)
    func products(extents: (Int, Int, Int), given: Case) throws {
        let (batch, inputs, outputs) = extents
        let numbers = Numbers(batch * inputs, outputs * inputs, outputs, terms: inputs, isExtreme: false)
        try Self.product(numbers, batch, inputs, outputs, given)
    }

    private static func product(
        _ numbers: Numbers, _ batch: Int, _ inputs: Int, _ outputs: Int, _ given: Case
    ) throws {
        let epilogue = QuantizedProduct.Epilogue(
            scales: numbers.scales, fusing: given.fusing, element: given.element)
        let kernel = try QuantizedProduct.linear(
            InnerProductShape(batch: batch, inputs: inputs, outputs: outputs), epilogue, on: DNNEngine())
        let sum = { (index: Int) -> Int in
            let (row, column) = (index / outputs * inputs, index % outputs * inputs)
            return (0..<inputs).reduce(0) {
                $0 + Int(numbers.source[row + $1]) * Int(numbers.weights[column + $1])
            }
        }
        try expectEqual(
            kernel, numbers, numbers.source, bias: numbers.bias,
            plain: .rowMajor([outputs, inputs], element: .int8),
            IntegerReference(scales: numbers.scales, fusing: given.fusing, element: given.element), sum: sum,
            outputs: outputs)
    }

    /// 127 * 255 * 3,200 = 103,632,000: any sum of fewer than 32 bits would saturate.
    @Test("no sum saturates on the way", .enabled(if: DNNEngine.supports(.uint8) == .native))
    func saturation() throws {
        let numbers = Numbers(4 * 3200, 20 * 3200, 20, terms: 3200, isExtreme: true)
        try Self.product(numbers, 4, 3200, 20, Case(fusing: [], element: .float32))
    }
}
