internal import CKernels

/// Float32 numbers as codes would have them: what a training for bytes computes with (Jacob et al., 2018;
/// Krishnamoorthi, 2018).
///
/// Scales and codes are those of `Quantization`, bit for bit. A range takes `rangeByteCount` bytes: four
/// floats, its bounds, its scale and the code of zero; a scale of 0 says that nothing has come by yet, and
/// leaves activations as they are.
public enum Rounding {
    /// Bytes of a range.
    public static let rangeByteCount = MemoryLayout<ck_range>.size

    /// Lets a range follow `count` activations, in steps whose `StepState.movesRanges` is set or where there
    /// is none yet.
    ///
    /// The first batch gives the bounds; later ones move them by `rate` of the difference. Operands:
    /// `state, activations, range`.
    public static func follow(
        count: Int, rate: Double, isSymmetric: Bool, codeMax: UInt8
    ) -> any PreparedKernel {
        var block = unsafe ck_follow_range_arguments()
        unsafe block.count = count
        unsafe block.rate = rate
        unsafe block.is_symmetric = isSymmetric ? 1 : 0
        unsafe block.code_max = Int32(codeMax)
        return unsafe KernelCall(
            "ck_follow_range", { unsafe ck_follow_range($0) }, block,
            [
                (StepState.operand, { unsafe $0.state = unsafe $1.stepState }),
                (.floats(count, .read), { unsafe $0.input = unsafe $1.constantFloats }),
                (Operand(rangeByteCount, .readWrite), { unsafe $0.range = unsafe $1.range }),
            ])
    }

    /// Activations as the values of their codes.
    ///
    /// Operands: `activations, range, rounded`; the last may be the first's slot. What has been multiplied by
    /// `factor` since its range was found has codes of so many times the scale.
    public static func activations(count: Int, factor: Float = 1, codeMax: UInt8) -> any PreparedKernel {
        var block = unsafe ck_round_activations_arguments()
        unsafe block.count = count
        unsafe block.factor = factor
        unsafe block.code_max = Int32(codeMax)
        return unsafe KernelCall(
            "ck_round_activations", { unsafe ck_round_activations($0) }, block,
            [
                (.floats(count, .read), { unsafe $0.input = unsafe $1.constantFloats }),
                (Operand(rangeByteCount, .read), { unsafe $0.range = unsafe UnsafePointer($1.range) }),
                (.floats(count, .write), { unsafe $0.output = unsafe $1.floats }),
            ])
    }

    /// The straight-through backward pass of `activations`: puts zeros where the nearest code lies beyond the
    /// codes.
    ///
    /// Operands: `activations, range, gradient`.
    public static func activationsBackward(
        count: Int, factor: Float = 1, codeMax: UInt8
    ) -> any PreparedKernel {
        var block = unsafe ck_round_activations_backward_arguments()
        unsafe block.count = count
        unsafe block.factor = factor
        unsafe block.code_max = Int32(codeMax)
        return unsafe KernelCall(
            "ck_round_activations_backward", { unsafe ck_round_activations_backward($0) }, block,
            [
                (.floats(count, .read), { unsafe $0.input = unsafe $1.constantFloats }),
                (Operand(rangeByteCount, .read), { unsafe $0.range = unsafe UnsafePointer($1.range) }),
                (.floats(count, .readWrite), { unsafe $0.gradient = unsafe $1.floats }),
            ])
    }

    /// Weights `[rows, width]` as the values of their codes; gradients pass straight through.
    ///
    /// Operands: `weights, [bias], range, scales, rounded`: the range is that of what the layer reads, which
    /// with the bias decides how small a row's scale may be; `scales` get one number a row.
    public static func weights(
        rows: Int, width: Int, hasBias: Bool, isShared: Bool
    ) -> any PreparedKernel {
        var block = unsafe ck_round_weights_arguments()
        unsafe block.rows = rows
        unsafe block.width = width
        unsafe block.is_shared = isShared ? 1 : 0
        typealias Binding = (Operand, KernelCall<ck_round_weights_arguments>.Binder)
        var bindings: [Binding] = unsafe [
            (.floats(rows * width, .read), { unsafe $0.weights = unsafe $1.constantFloats })
        ]
        if hasBias {
            unsafe bindings.append((.floats(rows, .read), { unsafe $0.bias = unsafe $1.constantFloats }))
        }
        unsafe bindings += [
            (Operand(rangeByteCount, .read), { unsafe $0.range = unsafe UnsafePointer($1.range) }),
            (.floats(rows, .write), { unsafe $0.scales = unsafe $1.floats }),
            (.floats(rows * width, .write), { unsafe $0.output = unsafe $1.floats }),
        ]
        return unsafe KernelCall("ck_round_weights", { unsafe ck_round_weights($0) }, block, bindings)
    }
}

extension UnsafeMutableRawPointer {
    fileprivate var range: UnsafeMutablePointer<ck_range> { unsafe assumingMemoryBound(to: ck_range.self) }
}
