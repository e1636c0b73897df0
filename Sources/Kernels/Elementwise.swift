internal import CKernels

/// Element-wise kernels over `count` floats.
public enum Elementwise {
    /// output = max(input, 0); operands `input, output`, which may be one slot.
    public static func relu(count: Int) -> any PreparedKernel {
        var block = unsafe ck_relu_arguments()
        unsafe block.count = count
        return unsafe KernelCall(
            "ck_relu", { unsafe ck_relu($0) }, block,
            [
                (.floats(count, .read), { unsafe $0.input = unsafe $1.constantFloats }),
                (.floats(count, .write), { unsafe $0.output = unsafe $1.floats }),
            ])
    }

    /// gradient_in = output > 0 ? gradient_out : 0; operands `output, gradient_out, gradient_in`.
    ///
    /// `gradient_in` may be `gradient_out`'s slot.
    public static func reluBackward(count: Int) -> any PreparedKernel {
        var block = unsafe ck_relu_backward_arguments()
        unsafe block.count = count
        return unsafe KernelCall(
            "ck_relu_backward", { unsafe ck_relu_backward($0) }, block,
            [
                (.floats(count, .read), { unsafe $0.output = unsafe $1.constantFloats }),
                (.floats(count, .read), { unsafe $0.gradient_out = unsafe $1.constantFloats }),
                (.floats(count, .write), { unsafe $0.gradient_in = unsafe $1.floats }),
            ])
    }

    /// output = left + right; operands `left, right, output`, any of which may share a slot.
    public static func add(count: Int) -> any PreparedKernel {
        var block = unsafe ck_add_arguments()
        unsafe block.count = count
        return unsafe KernelCall(
            "ck_add", { unsafe ck_add($0) }, block,
            [
                (.floats(count, .read), { unsafe $0.left = unsafe $1.constantFloats }),
                (.floats(count, .read), { unsafe $0.right = unsafe $1.constantFloats }),
                (.floats(count, .write), { unsafe $0.output = unsafe $1.floats }),
            ])
    }

    /// output[i] = kept(i) ? input[i] / (1 - probability) : 0 (inverted dropout); operands
    /// `state, input, output`, the latter two may share a slot.
    ///
    /// Element i is kept by a number drawn at (seed, step, layer, i): the same call on the gradient is the
    /// backward pass, and no mask is stored.
    ///
    /// `layer` keeps the streams of several dropout layers apart; `purpose` is the generator's purpose word.
    public static func dropout(
        count: Int, probability: Float, layer: UInt32, purpose: UInt32
    ) -> any PreparedKernel {
        var block = unsafe ck_dropout_arguments()
        unsafe block.count = count
        unsafe block.probability = probability
        unsafe block.layer = layer
        unsafe block.purpose = purpose
        return unsafe KernelCall(
            "ck_dropout", { unsafe ck_dropout($0) }, block,
            [
                (
                    StepState.operand,
                    { unsafe $0.state = unsafe UnsafePointer($1.assumingMemoryBound(to: ck_step_state.self)) }
                ), (.floats(count, .read), { unsafe $0.input = unsafe $1.constantFloats }),
                (.floats(count, .write), { unsafe $0.output = unsafe $1.floats }),
            ])
    }
}
