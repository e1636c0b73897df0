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
