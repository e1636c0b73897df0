internal import CKernels

/// Losses over a batch of rows, with their gradients in the same pass.
///
/// Operands: `state, outputs, labels or targets, row loss, row correct, result, [gradient]`. `row loss` and
/// `row correct` are scratch of one float and one Int32 a row. The gradient is scaled by the state's
/// `inverseCount` and may share the outputs' slot.
public enum Loss {
    /// Softmax cross-entropy of `[rows, classes]` logits and `[rows]` Int32 labels below `classes`.
    ///
    /// With smoothing s the target is (1 - s) · one-hot + s / classes (Szegedy et al., 2016), as PyTorch's.
    public static func crossEntropy(
        rows: Int, classes: Int, labelSmoothing: Float, gradient: Bool
    ) -> any PreparedKernel {
        var block = unsafe ck_cross_entropy_arguments()
        unsafe block.rows = rows
        unsafe block.classes = classes
        unsafe block.label_smoothing = labelSmoothing
        let outputs = Operand.floats(rows * classes, .read)
        let perRow = Operand.floats(rows, .write)
        var bindings: [(Operand, KernelCall<ck_cross_entropy_arguments>.Binder)] = unsafe [
            (
                StepState.operand,
                { unsafe $0.state = unsafe UnsafePointer($1.assumingMemoryBound(to: ck_step_state.self)) }
            ), (outputs, { unsafe $0.logits = unsafe $1.constantFloats }),
            (.floats(rows, .read), { unsafe $0.labels = unsafe UnsafePointer($1.integers) }),
            (perRow, { unsafe $0.row_loss = unsafe $1.floats }),
            (perRow, { unsafe $0.row_correct = unsafe $1.integers }),
            (
                LossResult.operand,
                { unsafe $0.result = unsafe $1.assumingMemoryBound(to: ck_loss_result.self) }
            ),
        ]
        if gradient {
            unsafe bindings.append(
                (.floats(rows * classes, .write), { unsafe $0.gradient = unsafe $1.floats }))
        }
        return unsafe KernelCall("ck_cross_entropy", { unsafe ck_cross_entropy($0) }, block, bindings)
    }

    /// Mean of squared differences over `[rows, width]`, against float targets or one-hot Int32 labels.
    public static func squaredError(
        rows: Int, width: Int, oneHot: Bool, gradient: Bool
    ) -> any PreparedKernel {
        var block = unsafe ck_squared_error_arguments()
        unsafe block.rows = rows
        unsafe block.width = width
        let perRow = Operand.floats(rows, .write)
        let target: (Operand, KernelCall<ck_squared_error_arguments>.Binder) =
            oneHot
            ? (.floats(rows, .read), { unsafe $0.labels = unsafe UnsafePointer($1.integers) })
            : (.floats(rows * width, .read), { unsafe $0.targets = unsafe $1.constantFloats })
        var bindings: [(Operand, KernelCall<ck_squared_error_arguments>.Binder)] = unsafe [
            (
                StepState.operand,
                { unsafe $0.state = unsafe UnsafePointer($1.assumingMemoryBound(to: ck_step_state.self)) }
            ), (.floats(rows * width, .read), { unsafe $0.outputs = unsafe $1.constantFloats }), target,
            (perRow, { unsafe $0.row_loss = unsafe $1.floats }),
            (perRow, { unsafe $0.row_correct = unsafe $1.integers }),
            (
                LossResult.operand,
                { unsafe $0.result = unsafe $1.assumingMemoryBound(to: ck_loss_result.self) }
            ),
        ]
        if gradient {
            unsafe bindings.append(
                (.floats(rows * width, .write), { unsafe $0.gradient = unsafe $1.floats }))
        }
        return unsafe KernelCall("ck_squared_error", { unsafe ck_squared_error($0) }, block, bindings)
    }
}
