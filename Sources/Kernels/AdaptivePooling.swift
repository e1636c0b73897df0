internal import CKernels
public import Tensor

/// The extents of adaptive pooling: the output's are given, PyTorch's windows follow.
///
/// Output row i takes the input rows floor(i · height / outHeight) ..< ceil((i + 1) · height / outHeight), so
/// windows overlap where the extents do not divide; columns alike.
public struct AdaptivePoolingShape: Hashable, Sendable {
    public var batch: Int
    public var channels: Int
    public var inHeight: Int
    public var inWidth: Int
    public var outHeight: Int
    public var outWidth: Int

    public init(batch: Int, channels: Int, inHeight: Int, inWidth: Int, outHeight: Int, outWidth: Int) {
        self.batch = batch
        self.channels = channels
        self.inHeight = inHeight
        self.inWidth = inWidth
        self.outHeight = outHeight
        self.outWidth = outWidth
    }
}

/// Adaptive average pooling over channels-last activations; an output of 1 x 1 is global pooling.
public enum AdaptivePooling {
    /// Each output is the mean of its window; operands `source, destination`.
    public static func average(
        _ shape: AdaptivePoolingShape, element: ElementType = .float32
    ) -> any PreparedKernel {
        let (source, destination) = operands(shape, element)
        return unsafe KernelCall(
            "ck_adaptive_average", { unsafe ck_adaptive_average($0) }, block(shape, element),
            [
                (source(.read), { unsafe $0.input = unsafe $1 }),
                (destination(.write), { unsafe $0.output = unsafe $1 }),
            ])
    }

    /// Spreads each output's gradient evenly; operands `destination gradient, source gradient`.
    public static func averageBackward(
        _ shape: AdaptivePoolingShape, element: ElementType = .float32
    ) -> any PreparedKernel {
        let (source, destination) = operands(shape, element)
        return unsafe KernelCall(
            "ck_adaptive_average_backward", { unsafe ck_adaptive_average_backward($0) },
            block(shape, element),
            [
                (destination(.read), { unsafe $0.output = unsafe $1 }),
                (source(.write), { unsafe $0.input = unsafe $1 }),
            ])
    }

    private static func operands(
        _ shape: AdaptivePoolingShape, _ element: ElementType
    ) -> (source: (Access) -> Operand, destination: (Access) -> Operand) {
        let rows = shape.batch * shape.channels
        return (
            { .elements(rows * shape.inHeight * shape.inWidth, element, $0) },
            { .elements(rows * shape.outHeight * shape.outWidth, element, $0) }
        )
    }

    private static func block(
        _ shape: AdaptivePoolingShape, _ element: ElementType
    ) -> ck_adaptive_average_arguments {
        var block = unsafe ck_adaptive_average_arguments()
        unsafe block.batch = shape.batch
        unsafe block.channels = shape.channels
        unsafe block.height = shape.inHeight
        unsafe block.width = shape.inWidth
        unsafe block.out_height = shape.outHeight
        unsafe block.out_width = shape.outWidth
        unsafe block.element = element.kernelElement
        return unsafe block
    }
}
