internal import CKernels
public import Tensor

/// softmax(x)_i = exp(x_i - max x) / Σ_j exp(x_j - max x) of each of `rows` rows of `width`.
public enum Softmax {
    /// Operands `input, output`, which may be one slot.
    public static func forward(rows: Int, width: Int, element: ElementType) -> any PreparedKernel {
        var block = unsafe ck_softmax_arguments()
        unsafe block.rows = rows
        unsafe block.width = width
        unsafe block.element = element.kernelElement
        let count = rows * width
        return unsafe KernelCall(
            "ck_softmax", { unsafe ck_softmax($0) }, block,
            [
                (.elements(count, element, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
                (.elements(count, element, .write), { unsafe $0.output = $1 }),
            ])
    }

    /// input_gradient = output · (output_gradient - Σ output · output_gradient).
    ///
    /// Operands `output, output gradient, input gradient`; the last may be either's slot.
    public static func backward(rows: Int, width: Int, element: ElementType) -> any PreparedKernel {
        var block = unsafe ck_softmax_backward_arguments()
        unsafe block.rows = rows
        unsafe block.width = width
        unsafe block.element = element.kernelElement
        let count = rows * width
        return unsafe KernelCall(
            "ck_softmax_backward", { unsafe ck_softmax_backward($0) }, block,
            [
                (.elements(count, element, .read), { unsafe $0.output = UnsafeRawPointer($1) }),
                (.elements(count, element, .read), { unsafe $0.output_gradient = UnsafeRawPointer($1) }),
                (.elements(count, element, .write), { unsafe $0.input_gradient = $1 }),
            ])
    }
}
