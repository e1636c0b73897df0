internal import CKernels
internal import Tensor

/// A product of two thin matrices that changes a weight: `up · down`, `[outputs, rank] · [rank, inputs]`.
public struct LowRankProduct: Hashable, Sendable {
    public let outputs: Int
    public let inputs: Int
    public let rank: Int
    /// What the product is multiplied by.
    public let factor: Double

    public init(outputs: Int, inputs: Int, rank: Int, factor: Double) {
        (self.outputs, self.inputs, self.rank, self.factor) = (outputs, inputs, rank, factor)
    }

    /// weight += factor · up · down, summed in float64 and rounded once; operands `weight, down, up`.
    public func merge() -> any PreparedKernel {
        var block = unsafe ck_low_rank_merge_arguments()
        unsafe block.outputs = outputs
        unsafe block.inputs = inputs
        unsafe block.rank = rank
        unsafe block.factor = factor
        return unsafe KernelCall(
            "ck_low_rank_merge", { unsafe ck_low_rank_merge($0) }, block,
            [
                (
                    .floats(outputs * inputs, .readWrite),
                    { unsafe $0.weight = unsafe $1.assumingMemoryBound(to: Float.self) }
                ),
                (
                    .floats(rank * inputs, .read),
                    { unsafe $0.down = unsafe UnsafePointer($1.assumingMemoryBound(to: Float.self)) }
                ),
                (
                    .floats(outputs * rank, .read),
                    { unsafe $0.up = unsafe UnsafePointer($1.assumingMemoryBound(to: Float.self)) }
                ),
            ])
    }

    /// The weight with the product added, all in row-major order.
    public func merged(_ weight: [Float], down: [Float], up: [Float]) throws(KernelError) -> [Float] {
        let kernel = merge()
        var slots: [Slot] = []
        var end = 0
        for operand in kernel.operands {
            slots.append(Slot(offset: end, byteCount: operand.byteCount))
            end += (operand.byteCount + Arena.alignment - 1) / Arena.alignment * Arena.alignment
        }
        let arena: Arena
        do throws(TensorError) { arena = try Arena(byteCount: end) } catch {
            throw KernelError(action: "merge a low-rank product", reason: error.description)
        }
        for (index, values) in [weight, down, up].enumerated() {
            arena.write(values, to: slots[index])
            try kernel.bind(index, to: slots[index], in: arena)
        }
        try kernel.run()
        return arena.read(slots[0], as: Float.self)
    }
}

/// The weight gradient of a product with few features on one side, such as those of a low-rank adapter.
///
/// oneDNN's backward kernels leave most of their vectors empty there.
enum ThinProduct {
    /// More than this many features on the thin side are oneDNN's.
    static let thinMax = 16
    /// Below this many features on the wide side, or rows, the call itself is what costs.
    static let wideMin = 64, rowsMin = 128

    /// Whether a product is thin.
    static func suits(_ shape: InnerProductShape) -> Bool {
        !shape.hasBias && shape.batch >= rowsMin && min(shape.inputs, shape.outputs) <= thinMax
            && max(shape.inputs, shape.outputs) >= wideMin
    }

    /// weightGradient = outputGradientᵀ · input, in `Convolution`'s order of operands.
    static func backwardWeights(
        _ shape: InnerProductShape, _ element: ElementType
    ) throws(KernelError) -> any LayerKernel {
        let isTurned = shape.inputs < shape.outputs
        var block = unsafe ck_thin_weights_arguments()
        unsafe block.rows = shape.batch
        unsafe block.thin_count = min(shape.inputs, shape.outputs)
        unsafe block.wide_count = max(shape.inputs, shape.outputs)
        unsafe block.is_turned = isTurned ? 1 : 0
        unsafe block.element = element.kernelElement
        typealias Binder = KernelCall<ck_thin_weights_arguments>.Binder
        let thin: Binder = { unsafe $0.thin = UnsafeRawPointer($1) }
        let wide: Binder = { unsafe $0.wide = UnsafeRawPointer($1) }
        let call: any PreparedKernel = unsafe KernelCall(
            "ck_thin_weights", { unsafe ck_thin_weights($0) }, block,
            [
                (.elements(shape.batch * shape.inputs, element, .read), isTurned ? thin : wide),
                (.elements(shape.batch * shape.outputs, element, .read), isTurned ? wide : thin),
                (.floats(shape.inputs * shape.outputs, .write), { unsafe $0.result = unsafe $1.floats }),
            ])
        return OwnLayerKernel(
            call,
            [
                try .rowMajor([shape.batch, shape.inputs], element: element),
                try .rowMajor([shape.batch, shape.outputs], element: element),
                try .rowMajor([shape.outputs, shape.inputs]),
            ])
    }
}
