internal import CKernels

/// A batch normalisation by running statistics as part of the weights in front of it: weights · factor and
/// (bias - mean) · factor + shift, factor being scale / sqrt(variance + epsilon).
public enum NormFolding {
    /// Folds weights `[rows, width]`, a row for each output.
    ///
    /// Operands: `weights, [bias], scale, shift, mean, variance, folded weights, folded bias`; the folded
    /// weights may lie where the weights do.
    public static func fold(rows: Int, width: Int, hasBias: Bool, epsilon: Float) -> any PreparedKernel {
        var block = unsafe ck_fold_norm_arguments()
        unsafe block.rows = rows
        unsafe block.width = width
        unsafe block.epsilon = epsilon
        typealias Binding = (Operand, KernelCall<ck_fold_norm_arguments>.Binder)
        var bindings: [Binding] = unsafe [
            (.floats(rows * width, .read), { unsafe $0.weights = unsafe $1.constantFloats })
        ]
        if hasBias {
            unsafe bindings.append((.floats(rows, .read), { unsafe $0.bias = unsafe $1.constantFloats }))
        }
        unsafe bindings += [
            (.floats(rows, .read), { unsafe $0.scale = unsafe $1.constantFloats }),
            (.floats(rows, .read), { unsafe $0.shift = unsafe $1.constantFloats }),
            (.floats(rows, .read), { unsafe $0.mean = unsafe $1.constantFloats }),
            (.floats(rows, .read), { unsafe $0.variance = unsafe $1.constantFloats }),
            (.floats(rows * width, .write), { unsafe $0.folded_weights = unsafe $1.floats }),
            (.floats(rows, .write), { unsafe $0.folded_bias = unsafe $1.floats }),
        ]
        return unsafe KernelCall("ck_fold_norm", { unsafe ck_fold_norm($0) }, block, bindings)
    }
}
