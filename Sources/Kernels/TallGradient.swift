internal import CKernels
internal import Tensor

/// The weight gradient of a linear layer over many rows, in float32, by a kernel of ours.
///
/// It writes the blocks in which the weights lie, which oneDNN's product does not. Medians in us on two Zen 5
/// cores, that product with its reorder against the kernel: 768 rows of 512 to 128 features 269, 212, of 128
/// to 384 198, 163; 65,536 rows of 32 to 64 1,264, 660; 4,096 rows of 256 to 256 1,383, 1,150.
enum TallGradient {
    /// Fewer rows are `LinearGradient`'s, or oneDNN's.
    static let rowsMin = 512
    /// More weights than this, 768 KiB, leave the second-level cache: every thread has sums of its own.
    static let weightsMax = 3 << 16

    /// As `InnerProduct.backwardWeights`; nil where the kernel does not take the layer.
    static func gradients(
        _ shape: InnerProductShape, _ element: ElementType, weights: TensorLayout
    ) throws(KernelError) -> OwnLayerKernel? {
        let threads = ThreadTeam.count
        guard element == .float32, shape.batch >= max(rowsMin, threads), ck_has_wide_vectors() != 0,
            shape.inputs * shape.outputs <= weightsMax, let blocks = WeightBlocks(weights),
            blocks.element == .float32, !blocks.isTurned,
            shape.inputs.isMultiple(of: Int(CK_WEIGHT_BLOCK_INPUTS)),
            shape.outputs.isMultiple(of: blocks.outputs)
        else { return nil }
        var arguments = unsafe ck_tall_gradient_arguments()
        unsafe arguments.rows = shape.batch
        unsafe arguments.inputs = shape.inputs
        unsafe arguments.outputs = shape.outputs
        unsafe arguments.block = blocks.outputs
        var operands: [(Operand, KernelCall<ck_tall_gradient_arguments>.Binder)] = unsafe [
            (.floats(shape.batch * shape.inputs, .read), { unsafe $0.input = unsafe $1.constantFloats }),
            (
                .floats(shape.batch * shape.outputs, .read),
                { unsafe $0.output_gradient = unsafe $1.constantFloats }
            ), (Operand(weights.byteCount, .write), { unsafe $0.weight_gradient = unsafe $1.floats }),
        ]
        var layouts = [
            try TensorLayout.rowMajor([shape.batch, shape.inputs]),
            try .rowMajor([shape.batch, shape.outputs]), weights,
        ]
        if shape.hasBias {
            unsafe operands.append(
                (.floats(shape.outputs, .write), { unsafe $0.bias_gradient = unsafe $1.floats }))
            layouts.append(try .rowMajor([shape.outputs]))
        }
        let scratch = ck_tall_gradient_scratch_count(shape.inputs, shape.outputs, threads)
        unsafe operands.append((.floats(scratch, .readWrite), { unsafe $0.scratch = unsafe $1.floats }))
        layouts.append(try .rowMajor([scratch]))
        return unsafe OwnLayerKernel(
            KernelCall("ck_tall_gradient", { unsafe ck_tall_gradient($0) }, arguments, operands), layouts,
            hasScratchpad: true)
    }
}
