internal import CKernels
public import Tensor

/// How a product's weights lie in blocks, as oneDNN's products want them.
struct WeightBlocks {
    /// Outputs in a block, side by side; in pairs where the weights are bfloat16.
    let outputs: Int
    /// Whether a block is one of the transposed matrix.
    let isTurned: Bool
    let element: ElementType

    /// nil where a layout is no such blocks.
    init?(_ layout: TensorLayout) {
        guard layout.rank == 2, let element = layout.element, [.float32, .bfloat16].contains(element) else {
            return nil
        }
        let extents = [layout.extent(0), layout.extent(1)]
        let found = [16, 32, 64].flatMap { [($0, false), ($0, true)] }.first { outputs, isTurned in
            layout == Self.layout(extents, outputs, element, isTurned: isTurned)
        }
        guard let found else { return nil }
        (outputs, isTurned) = found
        self.element = element
    }

    private static func layout(
        _ extents: [Int], _ outputs: Int, _ element: ElementType, isTurned: Bool
    ) -> TensorLayout? {
        guard isTurned else {
            return try? TensorLayout.weightBlocks(extents, outputs: outputs, element: element)
        }
        return try? TensorLayout.weightBlocks(extents.reversed(), outputs: outputs, element: element)
            .transposed()
    }
}

/// Copies of float32 weights as bfloat16, as products read them: several times as fast as oneDNN's reorder.
public enum WeightCopy {
    /// The float32 layout whose blocks are those of a bfloat16 product's weights; nil where these are others.
    public static func master(of weights: TensorLayout) -> TensorLayout? {
        guard let blocks = WeightBlocks(weights), blocks.element == .bfloat16, !blocks.isTurned else {
            return nil
        }
        return try? .weightBlocks([weights.extent(0), weights.extent(1)], outputs: blocks.outputs)
    }

    /// The call that copies; operands `weights, copy`.
    ///
    /// Layouts that there is no kernel for are left to oneDNN, which may want a scratchpad.
    public static func prepare(
        from weights: TensorLayout, to copy: TensorLayout, on engine: DNNEngine
    ) throws(KernelError) -> any PreparedKernel {
        if copy.element == .bfloat16, master(of: copy) == weights { return blocks(weights) }
        if let blocks = WeightBlocks(copy), blocks.element == .bfloat16,
            weights == (try TensorLayout.rowMajor([weights.extent(0), weights.extent(1)]))
        {
            return pack(weights, as: blocks, copy)
        }
        if let given = WeightBlocks(weights), let turned = WeightBlocks(copy), !given.isTurned,
            turned.isTurned, given.element == .float32, turned.element == .float32
        {
            return turn(weights, given, as: turned, copy)
        }
        return try Reorder.prepare(from: weights, to: copy, on: engine)
    }

    /// Copies blocks at once, between two slots of an arena; `weights` is a `master`.
    public static func copy(_ values: Slot, in weights: TensorLayout, to copy: Slot, of arena: Arena) {
        precondition(values.byteCount >= weights.byteCount && 2 * copy.byteCount >= weights.byteCount)
        var arguments = unsafe arguments(weights)
        unsafe arguments.weights = unsafe arena.address(of: values).constantFloats
        unsafe arguments.copy = unsafe arena.address(of: copy).halves
        unsafe ck_copy_weights(&arguments)
    }

    private static func blocks(_ weights: TensorLayout) -> any PreparedKernel {
        unsafe KernelCall(
            "ck_copy_weights", { unsafe ck_copy_weights($0) }, unsafe arguments(weights),
            [
                (Operand(weights.byteCount, .read), { unsafe $0.weights = unsafe $1.constantFloats }),
                (
                    .elements(weights.paddedCount, .bfloat16, .write),
                    { unsafe $0.copy = unsafe $1.halves }
                ),
            ])
    }

    private static func arguments(_ weights: TensorLayout) -> ck_copy_weights_arguments {
        guard let blocks = WeightBlocks(weights) else { preconditionFailure("weights that lie in no blocks") }
        var arguments = unsafe ck_copy_weights_arguments()
        unsafe arguments.block = blocks.outputs
        unsafe arguments.count = weights.paddedCount / (Int(CK_WEIGHT_BLOCK_INPUTS) * blocks.outputs)
        return unsafe arguments
    }

    private static func turn(
        _ weights: TensorLayout, _ blocks: WeightBlocks, as turned: WeightBlocks, _ copy: TensorLayout
    ) -> any PreparedKernel {
        var arguments = unsafe ck_turn_weights_arguments()
        unsafe arguments.inputs = weights.extent(1)
        unsafe arguments.outputs = weights.extent(0)
        unsafe arguments.block = blocks.outputs
        unsafe arguments.turned_block = turned.outputs
        return unsafe KernelCall(
            "ck_turn_weights", { unsafe ck_turn_weights($0) }, arguments,
            [
                (Operand(weights.byteCount, .read), { unsafe $0.weights = unsafe $1.constantFloats }),
                (Operand(copy.byteCount, .write), { unsafe $0.turned = unsafe $1.floats }),
            ])
    }

    private static func pack(
        _ weights: TensorLayout, as blocks: WeightBlocks, _ copy: TensorLayout
    ) -> any PreparedKernel {
        var arguments = unsafe ck_pack_weights_arguments()
        unsafe arguments.rows = weights.extent(0)
        unsafe arguments.columns = weights.extent(1)
        unsafe arguments.block = blocks.outputs
        unsafe arguments.is_turned = blocks.isTurned ? 1 : 0
        return unsafe KernelCall(
            "ck_pack_weights", { unsafe ck_pack_weights($0) }, arguments,
            [
                (Operand(weights.byteCount, .read), { unsafe $0.weights = unsafe $1.constantFloats }),
                (Operand(copy.byteCount, .write), { unsafe $0.copy = unsafe $1.halves }),
            ])
    }
}

extension UnsafeMutableRawPointer {
    var halves: UnsafeMutablePointer<UInt16> { unsafe assumingMemoryBound(to: UInt16.self) }
}
