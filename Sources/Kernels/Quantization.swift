internal import CKernels
public import Tensor

/// Codes of activations and weights, and what their scales follow from.
public enum Quantization {
    /// The extents of what is quantised, with what is added around each image.
    public struct Extents: Hashable, Sendable {
        public var images: Int
        public var height: Int
        public var width: Int
        public var channels: Int
        public var paddingHeight: Int
        public var paddingWidth: Int

        public init(
            images: Int, height: Int, width: Int, channels: Int, paddingHeight: Int = 0,
            paddingWidth: Int = 0
        ) {
            (self.images, self.height, self.width, self.channels) = (images, height, width, channels)
            (self.paddingHeight, self.paddingWidth) = (paddingHeight, paddingWidth)
        }

        /// A plain row of numbers.
        public init(count: Int) { self.init(images: 1, height: 1, width: 1, channels: count) }

        var inputCount: Int { images * height * width * channels }
        var outputCount: Int {
            images * (height + 2 * paddingHeight) * (width + 2 * paddingWidth) * channels
        }
    }

    /// The codes of channels-last images, with a border of zeros' code.
    ///
    /// Operands: `input (float32), output (uint8)`.
    public static func activations(_ extents: Extents, _ scale: ActivationScale) -> any PreparedKernel {
        var block = unsafe ck_quantize_arguments()
        unsafe block.images = extents.images
        unsafe block.height = extents.height
        unsafe block.row = extents.width * extents.channels
        unsafe block.top = extents.paddingHeight
        unsafe block.side = extents.paddingWidth * extents.channels
        unsafe block.inverse = 1 / scale.scale
        unsafe block.zero_point = Int32(scale.zeroPoint)
        unsafe block.code_max = Int32(scale.codeMax)
        return unsafe KernelCall(
            "ck_quantize", { unsafe ck_quantize($0) }, block,
            [
                (.floats(extents.inputCount, .read), { unsafe $0.input = unsafe $1.constantFloats }),
                (
                    Operand(extents.outputCount, .write),
                    { unsafe $0.output = unsafe $1.assumingMemoryBound(to: UInt8.self) }
                ),
            ])
    }

    /// The codes of weights `[rows, width]`, and the scale of each row.
    ///
    /// - Parameters:
    ///   - weights: Row-major; as many rows as there are `factors`.
    ///   - factors: What each row is multiplied by first.
    ///   - least: The least scale of each row, above 0.
    ///   - isShared: Whether all rows have one scale.
    /// - Returns: Codes between -127 and 127, of which 0 is zero itself; weight · factor is about
    ///   code · scale, the difference at most scale / 2.
    public static func weights(
        _ weights: [Float], factors: [Float], least: [Float], isShared: Bool = false
    ) -> (codes: [Int8], scales: [Float]) {
        let rows = factors.count
        precondition(
            rows > 0 && least.count == rows && weights.count.isMultiple(of: rows),
            "\(weights.count) weights in \(rows) rows")
        var codes = [Int8](repeating: 0, count: weights.count)
        var scales = [Float](repeating: 0, count: rows)
        unsafe weights.withUnsafeBufferPointer { weights in
            unsafe factors.withUnsafeBufferPointer { factors in
                unsafe least.withUnsafeBufferPointer { least in
                    unsafe codes.withUnsafeMutableBufferPointer { codes in
                        unsafe scales.withUnsafeMutableBufferPointer { scales in
                            var block = unsafe ck_quantize_weights_arguments()
                            unsafe block.rows = rows
                            unsafe block.width = weights.count / rows
                            unsafe block.weights = weights.baseAddress
                            unsafe block.factors = factors.baseAddress
                            unsafe block.least = least.baseAddress
                            unsafe block.scales = scales.baseAddress
                            unsafe block.codes = codes.baseAddress
                            unsafe block.is_shared = isShared ? 1 : 0
                            unsafe ck_quantize_weights(&block)
                        }
                    }
                }
            }
        }
        return (codes, scales)
    }

    /// The least and the greatest of some floats in an arena; (+∞, -∞) where none is a number.
    public static func range(of slot: Slot, in arena: Arena) -> (low: Float, high: Float) {
        var range: [Float] = [.infinity, -.infinity]
        let address = unsafe arena.address(of: slot)
        unsafe range.withUnsafeMutableBufferPointer {
            unsafe ck_widen_range(address.constantFloats, slot.byteCount / 4, $0.baseAddress)
        }
        return (range[0], range[1])
    }

    /// Adds some floats in an arena to a histogram of equal bins; outliers go to the outermost ones.
    public static func count(
        _ slot: Slot, in arena: Arena, from low: Float, to high: Float, into histogram: inout [UInt64]
    ) {
        precondition(low < high && !histogram.isEmpty, "a histogram from \(low) to \(high)")
        let address = unsafe arena.address(of: slot)
        unsafe histogram.withUnsafeMutableBufferPointer {
            unsafe ck_add_histogram(
                address.constantFloats, slot.byteCount / 4, low, high, $0.baseAddress, $0.count)
        }
    }
}
