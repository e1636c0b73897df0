internal import CKernels

/// Weights that are held at zero, and what tells which.
///
/// A mask has one byte for each number, in the same order: 1 for what stays, 0 for what does not.
public enum Masking {
    /// Puts zeros where a mask is 0, also in place of what is no number.
    ///
    /// Operands: `values` of `count` floats, `mask` of as many bytes.
    public static func apply(count: Int) -> any PreparedKernel {
        var block = unsafe ck_hold_zeros_arguments()
        unsafe block.count = count
        return unsafe KernelCall(
            "ck_hold_zeros", { unsafe ck_hold_zeros($0) }, block,
            [
                (.floats(count, .readWrite), { unsafe $0.values = unsafe $1.floats }),
                (Operand(count, .read), { unsafe $0.mask = unsafe $1.mask }),
            ])
    }

    /// Adds gradient · weight to a score in steps whose state says so; does nothing in the others.
    ///
    /// Operands: `state, weight, gradient, score`, of `count` floats.
    public static func score(count: Int) -> any PreparedKernel {
        var block = unsafe ck_score_arguments()
        unsafe block.count = count
        return unsafe KernelCall(
            "ck_score", { unsafe ck_score($0) }, block,
            [
                (StepState.operand, { unsafe $0.state = unsafe $1.stepState }),
                (.floats(count, .read), { unsafe $0.weight = unsafe $1.constantFloats }),
                (.floats(count, .read), { unsafe $0.gradient = unsafe $1.constantFloats }),
                (.floats(count, .readWrite), { unsafe $0.score = unsafe $1.floats }),
            ])
    }
}
