internal import CKernels
internal import COneDNN
internal import Tensor

/// The extents of batch normalisation over channels-last activations (rows of features: height = width = 1).
public struct BatchNormalizationShape: Hashable, Sendable {
    public var batch: Int
    public var channels: Int
    public var height: Int
    public var width: Int
    public var epsilon: Float

    public init(batch: Int, channels: Int, height: Int, width: Int, epsilon: Float) {
        self.batch = batch
        self.channels = channels
        self.height = height
        self.width = width
        self.epsilon = epsilon
    }

    /// Values that one channel's statistics are taken over.
    public var valuesPerChannel: Int { batch * height * width }
}

/// y = scale * (x - mean) / sqrt(variance + epsilon) + shift (Ioffe and Szegedy, 2015), as PyTorch's.
public enum BatchNormalization {
    /// Normalises by the batch's own statistics and writes them out.
    ///
    /// Operands: `source, scale, shift, mean, variance, destination`, then the scratchpad, if any.
    public static func training(
        _ shape: BatchNormalizationShape, on engine: DNNEngine
    ) throws(KernelError) -> Primitive {
        try Primitive(
            { turn throws(KernelError) in try forwardDescriptor(shape, running: false, on: engine, turn) },
            [
                (DNNL_ARG_SRC, .read), (DNNL_ARG_SCALE, .read), (DNNL_ARG_SHIFT, .read),
                (DNNL_ARG_MEAN, .write), (DNNL_ARG_VARIANCE, .write), (DNNL_ARG_DST, .write),
            ], on: engine)
    }

    /// Normalises by given statistics; operands as in `training`, mean and variance being read.
    public static func inference(
        _ shape: BatchNormalizationShape, on engine: DNNEngine
    ) throws(KernelError) -> Primitive {
        try Primitive(
            { turn throws(KernelError) in try forwardDescriptor(shape, running: true, on: engine, turn) },
            [
                (DNNL_ARG_SRC, .read), (DNNL_ARG_SCALE, .read), (DNNL_ARG_SHIFT, .read),
                (DNNL_ARG_MEAN, .read), (DNNL_ARG_VARIANCE, .read), (DNNL_ARG_DST, .write),
            ], on: engine)
    }

    /// The gradients of source, scale and shift.
    ///
    /// Operands: `source, mean, variance, destination gradient, scale, shift, source gradient,
    /// scale gradient, shift gradient`, then the scratchpad, if any.
    public static func backward(
        _ shape: BatchNormalizationShape, on engine: DNNEngine
    ) throws(KernelError) -> Primitive {
        var operation = dnnl_batch_normalization_desc_t()
        var data = try layout(shape)
        var gradient = data
        try unsafe KernelError.check(
            dnnl_batch_normalization_backward_desc_init(
                &operation, dnnl_backward, &gradient, &data, shape.epsilon, flags(running: false)),
            "describe the gradient of a batch normalisation")
        return try Primitive(
            { turn throws(KernelError) in
                try unsafe PrimitiveDescriptor.find(
                    &operation, "find the gradient of a batch normalisation",
                    hint: forwardDescriptor(shape, running: false, on: engine, turn), on: engine, turn)
            },
            [
                (DNNL_ARG_SRC, .read), (DNNL_ARG_MEAN, .read), (DNNL_ARG_VARIANCE, .read),
                (DNNL_ARG_DIFF_DST, .read), (DNNL_ARG_SCALE, .read), (DNNL_ARG_SHIFT, .read),
                (DNNL_ARG_DIFF_SRC, .write),
                (DNNL_ARG_DIFF_SCALE, .write), (DNNL_ARG_DIFF_SHIFT, .write),
            ], on: engine)
    }

    /// running = (1 - momentum) * running + momentum * batch, the variance unbiased.
    ///
    /// Operands: `mean, variance, running mean, running variance`.
    public static func runningStatistics(
        _ shape: BatchNormalizationShape, momentum: Float
    ) -> any PreparedKernel {
        let count = Float(shape.valuesPerChannel)
        var block = unsafe ck_running_statistics_arguments()
        unsafe block.channels = shape.channels
        unsafe block.momentum = momentum
        unsafe block.correction = count > 1 ? count / (count - 1) : 1
        let operand = Operand.floats(shape.channels, .read)
        let updated = Operand.floats(shape.channels, .readWrite)
        return unsafe KernelCall(
            "ck_running_statistics", { unsafe ck_running_statistics($0) }, block,
            [
                (operand, { unsafe $0.mean = unsafe $1.constantFloats }),
                (operand, { unsafe $0.variance = unsafe $1.constantFloats }),
                (updated, { unsafe $0.running_mean = unsafe $1.floats }),
                (updated, { unsafe $0.running_variance = unsafe $1.floats }),
            ])
    }

    private static func flags(running: Bool) -> UInt32 {
        let affine = dnnl_use_scale.rawValue | dnnl_use_shift.rawValue
        return running ? affine | dnnl_use_global_stats.rawValue : affine
    }

    private static func forwardDescriptor(
        _ shape: BatchNormalizationShape, running: Bool, on engine: DNNEngine,
        _ turn: borrowing PrimitiveCache.Turn
    ) throws(KernelError) -> PrimitiveDescriptor {
        var operation = dnnl_batch_normalization_desc_t()
        var data = try layout(shape)
        try unsafe KernelError.check(
            dnnl_batch_normalization_forward_desc_init(
                &operation, running ? dnnl_forward_inference : dnnl_forward_training, &data, shape.epsilon,
                flags(running: running)), "describe a batch normalisation")
        return try unsafe PrimitiveDescriptor.find(
            &operation, "find a batch normalisation", on: engine, turn)
    }

    private static func layout(_ shape: BatchNormalizationShape) throws(KernelError) -> dnnl_memory_desc_t {
        try TensorLayout.channelsLast(
            batch: shape.batch, channels: shape.channels, height: shape.height, width: shape.width
        ).descriptor
    }
}
