internal import CKernels
public import Tensor

/// Element-wise kernels over `count` elements, stored as `type`.
public enum Elementwise {
    /// output = max(input, 0); operands `input, output`, which may be one slot.
    public static func relu(count: Int, type: ElementType = .float32) -> any PreparedKernel {
        Activation.forward(.relu, count: count, type: type)
    }

    /// gradient_in = output > 0 ? gradient_out : 0; operands `output, gradient_out, gradient_in`.
    ///
    /// `gradient_in` may be `gradient_out`'s slot.
    public static func reluBackward(count: Int, type: ElementType = .float32) -> any PreparedKernel {
        Activation.backward(.relu, count: count, type: type)
    }

    /// output = left + right; operands `left, right, output`, any of which may share a slot.
    public static func add(count: Int, type: ElementType = .float32) -> any PreparedKernel {
        var block = unsafe ck_add_arguments()
        unsafe block.count = count
        unsafe block.type = type.kernelElement
        return unsafe KernelCall(
            "ck_add", { unsafe ck_add($0) }, block,
            [
                (.elements(count, type, .read), { unsafe $0.left = UnsafeRawPointer($1) }),
                (.elements(count, type, .read), { unsafe $0.right = UnsafeRawPointer($1) }),
                (.elements(count, type, .write), { unsafe $0.output = $1 }),
            ])
    }

    /// output = factor · input; operands `input, output`, which may be one slot.
    ///
    /// The same call on the gradient is the backward pass.
    public static func scale(
        count: Int, by factor: Float, type: ElementType = .float32
    ) -> any PreparedKernel {
        var block = unsafe ck_scale_arguments()
        unsafe block.count = count
        unsafe block.type = type.kernelElement
        unsafe block.factor = factor
        return unsafe KernelCall(
            "ck_scale", { unsafe ck_scale($0) }, block,
            [
                (.elements(count, type, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
                (.elements(count, type, .write), { unsafe $0.output = $1 }),
            ])
    }

    /// gradient = output > 0 ? left + right : 0: the sum of two branches' gradients, and the backward pass of
    /// the ReLU before them, at once.
    ///
    /// Operands: `left, right, output, gradient`, any of which may share a slot.
    public static func addReLUBackward(count: Int, type: ElementType = .float32) -> any PreparedKernel {
        var block = unsafe ck_add_relu_backward_arguments()
        unsafe block.count = count
        unsafe block.type = type.kernelElement
        return unsafe KernelCall(
            "ck_add_relu_backward", { unsafe ck_add_relu_backward($0) }, block,
            [
                (.elements(count, type, .read), { unsafe $0.left = UnsafeRawPointer($1) }),
                (.elements(count, type, .read), { unsafe $0.right = UnsafeRawPointer($1) }),
                (.elements(count, type, .read), { unsafe $0.output = UnsafeRawPointer($1) }),
                (.elements(count, type, .write), { unsafe $0.gradient = $1 }),
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
        count: Int, probability: Float, layer: UInt32, purpose: UInt32, type: ElementType = .float32
    ) -> any PreparedKernel {
        var block = unsafe ck_dropout_arguments()
        unsafe block.count = count
        unsafe block.type = type.kernelElement
        unsafe block.probability = probability
        unsafe block.layer = layer
        unsafe block.purpose = purpose
        return unsafe KernelCall(
            "ck_dropout", { unsafe ck_dropout($0) }, block,
            [
                (
                    StepState.operand,
                    { unsafe $0.state = unsafe UnsafePointer($1.assumingMemoryBound(to: ck_step_state.self)) }
                ), (.elements(count, type, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
                (.elements(count, type, .write), { unsafe $0.output = $1 }),
            ])
    }
}
