internal import CKernels

/// Optimiser updates over `count` floats.
public enum OptimizerUpdates {
    /// SGD as PyTorch's: g += decay · w; v = momentum · v + g; w -= lr · (nesterov ? g + momentum · v : v).
    ///
    /// Operands: `state, weight, gradient`, and `velocity` when `momentum` is not 0.
    public static func sgd(
        count: Int, momentum: Float, weightDecay: Float, nesterov: Bool
    ) -> any PreparedKernel {
        var block = unsafe ck_sgd_arguments()
        unsafe block.count = count
        unsafe block.momentum = momentum
        unsafe block.weight_decay = weightDecay
        unsafe block.nesterov = nesterov ? 1 : 0
        var bindings: [(Operand, KernelCall<ck_sgd_arguments>.Binder)] = unsafe [
            (
                StepState.operand,
                { unsafe $0.state = unsafe UnsafePointer($1.assumingMemoryBound(to: ck_step_state.self)) }
            ), (.floats(count, .readWrite), { unsafe $0.weight = unsafe $1.floats }),
            (.floats(count, .read), { unsafe $0.gradient = unsafe $1.constantFloats }),
        ]
        if momentum != 0 {
            unsafe bindings.append((.floats(count, .readWrite), { unsafe $0.velocity = unsafe $1.floats }))
        }
        return unsafe KernelCall("ck_sgd", { unsafe ck_sgd($0) }, block, bindings)
    }
}
