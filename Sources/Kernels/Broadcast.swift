internal import CKernels
public import Tensor

/// Products and sums of activations, of equal shapes or broadcast over a batch or an area.
///
/// An image or a sequence is `[batch, area, channels]`: height · width or tokens, then channels.
public enum Broadcast {
    /// output[b, i] = input[b, i] + addend[i]: a positional embedding; operands `input, addend, output`.
    ///
    /// The addend is a float32 parameter of `count`. `output` may be `input`'s slot.
    public static func addToBatch(batch: Int, count: Int, element: ElementType) -> any PreparedKernel {
        var block = unsafe ck_add_to_batch_arguments()
        unsafe block.batch = batch
        unsafe block.count = count
        unsafe block.element = element.kernelElement
        return unsafe KernelCall(
            "ck_add_to_batch", { unsafe ck_add_to_batch($0) }, block,
            [
                (.elements(batch * count, element, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
                (.floats(count, .read), { unsafe $0.addend = unsafe $1.constantFloats }),
                (.elements(batch * count, element, .write), { unsafe $0.output = $1 }),
            ])
    }

    /// sum[i] = Σ_b input[b, offset + i] of samples of `stride` elements; operands `input, sum`.
    ///
    /// The gradient of a parameter that every sample adds or starts with; the sum is float32.
    public static func sumOverBatch(
        batch: Int, count: Int, stride: Int, offset: Int, element: ElementType
    ) -> any PreparedKernel {
        precondition(offset >= 0 && offset + count <= stride, "\(count) elements at \(offset) of \(stride)")
        var block = unsafe ck_sum_over_batch_arguments()
        unsafe block.batch = batch
        unsafe block.count = count
        unsafe block.stride = stride
        unsafe block.offset = offset
        unsafe block.element = element.kernelElement
        return unsafe KernelCall(
            "ck_sum_over_batch", { unsafe ck_sum_over_batch($0) }, block,
            [
                (.elements(batch * stride, element, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
                (.floats(count, .write), { unsafe $0.sum = unsafe $1.floats }),
            ])
    }

    /// output = left · right; operands `left, right, output`, any of which may share a slot.
    public static func multiply(count: Int, element: ElementType) -> any PreparedKernel {
        var block = unsafe ck_multiply_arguments()
        unsafe block.count = count
        unsafe block.element = element.kernelElement
        return unsafe KernelCall(
            "ck_multiply_elements", { unsafe ck_multiply_elements($0) }, block,
            [
                (.elements(count, element, .read), { unsafe $0.left = UnsafeRawPointer($1) }),
                (.elements(count, element, .read), { unsafe $0.right = UnsafeRawPointer($1) }),
                (.elements(count, element, .write), { unsafe $0.output = $1 }),
            ])
    }

    /// Operands `left, right, output gradient, left gradient, right gradient`.
    ///
    /// Each of the last two may be the slot of one of the first three.
    public static func multiplyBackward(count: Int, element: ElementType) -> any PreparedKernel {
        var block = unsafe ck_multiply_backward_arguments()
        unsafe block.count = count
        unsafe block.element = element.kernelElement
        return unsafe KernelCall(
            "ck_multiply_elements_backward", { unsafe ck_multiply_elements_backward($0) }, block,
            [
                (.elements(count, element, .read), { unsafe $0.left = UnsafeRawPointer($1) }),
                (.elements(count, element, .read), { unsafe $0.right = UnsafeRawPointer($1) }),
                (.elements(count, element, .read), { unsafe $0.output_gradient = UnsafeRawPointer($1) }),
                (.elements(count, element, .write), { unsafe $0.left_gradient = $1 }),
                (.elements(count, element, .write), { unsafe $0.right_gradient = $1 }),
            ])
    }

    /// output[b, a, c] = input[b, a, c] · scale[b, c]: squeeze-and-excite; operands `input, scale, output`.
    ///
    /// `output` may be `input`'s slot.
    public static func scaleChannels(
        batch: Int, area: Int, channels: Int, element: ElementType
    ) -> any PreparedKernel {
        var block = unsafe ck_scale_channels_arguments()
        unsafe block.batch = batch
        unsafe block.area = area
        unsafe block.channels = channels
        unsafe block.element = element.kernelElement
        let count = batch * area * channels
        return unsafe KernelCall(
            "ck_scale_channels", { unsafe ck_scale_channels($0) }, block,
            [
                (.elements(count, element, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
                (.elements(batch * channels, element, .read), { unsafe $0.scale = UnsafeRawPointer($1) }),
                (.elements(count, element, .write), { unsafe $0.output = $1 }),
            ])
    }

    /// Operands `input, scale, output gradient, input gradient, scale gradient`.
    ///
    /// The scale's gradient sums over the area. `input gradient` may be the slot of `input` or of
    /// `output gradient`.
    public static func scaleChannelsBackward(
        batch: Int, area: Int, channels: Int, element: ElementType
    ) -> any PreparedKernel {
        var block = unsafe ck_scale_channels_backward_arguments()
        unsafe block.batch = batch
        unsafe block.area = area
        unsafe block.channels = channels
        unsafe block.element = element.kernelElement
        let count = batch * area * channels
        return unsafe KernelCall(
            "ck_scale_channels_backward", { unsafe ck_scale_channels_backward($0) }, block,
            [
                (.elements(count, element, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
                (.elements(batch * channels, element, .read), { unsafe $0.scale = UnsafeRawPointer($1) }),
                (.elements(count, element, .read), { unsafe $0.output_gradient = UnsafeRawPointer($1) }),
                (.elements(count, element, .write), { unsafe $0.input_gradient = $1 }),
                (.elements(batch * channels, element, .write), { unsafe $0.scale_gradient = $1 }),
            ])
    }

    /// output[b, c] = mean over the area: global average pooling, or a sequence's mean token; operands
    /// `input, output`.
    ///
    /// Where samples are padded, only the first `lengths[b]` places count; `lengths` is int32 `[batch]` and
    /// the last operand, here and backward.
    public static func areaMean(
        batch: Int, area: Int, channels: Int, element: ElementType, isPadded: Bool = false
    ) -> any PreparedKernel {
        var block = unsafe ck_area_mean_arguments()
        unsafe block.batch = batch
        unsafe block.area = area
        unsafe block.channels = channels
        unsafe block.element = element.kernelElement
        return unsafe KernelCall(
            "ck_area_mean", { unsafe ck_area_mean($0) }, block,
            [
                (
                    .elements(batch * area * channels, element, .read),
                    { unsafe $0.input = UnsafeRawPointer($1) }
                ),
                (.elements(batch * channels, element, .write), { unsafe $0.output = $1 }),
                (.floats(batch, .read), { unsafe $0.lengths = unsafe UnsafePointer($1.integers) }),
            ].dropLast(isPadded ? 0 : 1))
    }

    /// input_gradient[b, a, c] = output_gradient[b, c] / area; operands `output gradient, input gradient`.
    public static func areaMeanBackward(
        batch: Int, area: Int, channels: Int, element: ElementType, isPadded: Bool = false
    ) -> any PreparedKernel {
        var block = unsafe ck_area_mean_backward_arguments()
        unsafe block.batch = batch
        unsafe block.area = area
        unsafe block.channels = channels
        unsafe block.element = element.kernelElement
        return unsafe KernelCall(
            "ck_area_mean_backward", { unsafe ck_area_mean_backward($0) }, block,
            [
                (
                    .elements(batch * channels, element, .read),
                    { unsafe $0.output_gradient = UnsafeRawPointer($1) }
                ), (.elements(batch * area * channels, element, .write), { unsafe $0.input_gradient = $1 }),
                (.floats(batch, .read), { unsafe $0.lengths = unsafe UnsafePointer($1.integers) }),
            ].dropLast(isPadded ? 0 : 1))
    }
}
