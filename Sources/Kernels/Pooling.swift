internal import COneDNN
public import Tensor

/// What a pooling window yields.
public enum PoolingKind: Hashable, Sendable {
    case maximum
    /// `countsPadding`: zeros of the padding enter the mean, PyTorch's `count_include_pad`.
    case average(countsPadding: Bool)

    var algorithm: dnnl_alg_kind_t {
        switch self {
        case .maximum: dnnl_pooling_max
        case .average(countsPadding: true): dnnl_pooling_avg_include_padding
        case .average(countsPadding: false): dnnl_pooling_avg_exclude_padding
        }
    }
}

/// The extents of two-dimensional pooling over channels-last activations.
public struct PoolingShape: Hashable, Sendable {
    public var batch: Int
    public var channels: Int
    public var inHeight: Int
    public var inWidth: Int
    public var kernelHeight: Int
    public var kernelWidth: Int
    public var strideHeight: Int
    public var strideWidth: Int
    public var paddingHeight = 0
    public var paddingWidth = 0

    public init(
        batch: Int, channels: Int, inHeight: Int, inWidth: Int, kernelHeight: Int, kernelWidth: Int,
        strideHeight: Int, strideWidth: Int
    ) {
        self.batch = batch
        self.channels = channels
        self.inHeight = inHeight
        self.inWidth = inWidth
        self.kernelHeight = kernelHeight
        self.kernelWidth = kernelWidth
        self.strideHeight = strideHeight
        self.strideWidth = strideWidth
    }

    public var outHeight: Int { (inHeight + 2 * paddingHeight - kernelHeight) / strideHeight + 1 }
    public var outWidth: Int { (inWidth + 2 * paddingWidth - kernelWidth) / strideWidth + 1 }
}

/// Pooling and its gradient.
///
/// Operands in order: forward `source, destination, [workspace]`; backward
/// `destination gradient, [workspace], source gradient`; then the scratchpad, if any. Training with `maximum`
/// has a workspace that carries each window's winner to the backward pass. `element` is what source,
/// destination and their gradients are stored as.
public enum Pooling {
    public static func forward(
        _ shape: PoolingShape, _ kind: PoolingKind, element: ElementType = .float32, training: Bool = true,
        on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        try engine.pass(element, .init(activations: [0, 1]), takesLoops: true) {
            element, _ throws(KernelError) in
            try Primitive(
                { turn throws(KernelError) in
                    try forwardDescriptor(shape, kind, element, training: training, on: engine, turn)
                },
                [(DNNL_ARG_SRC, .read), (DNNL_ARG_DST, .write), (DNNL_ARG_WORKSPACE, .write)], on: engine)
        }
    }

    public static func backward(
        _ shape: PoolingShape, _ kind: PoolingKind, element: ElementType = .float32, on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        // The winners, if any, stand between.
        let roles = WidenedKernel.Roles(activations: [0, kind == .maximum ? 2 : 1])
        return try engine.pass(element, roles, takesLoops: true) { element, _ throws(KernelError) in
            var operation = dnnl_pooling_desc_t()
            var (source, destination) = try layouts(shape, element)
            let geometry = Geometry(shape)
            try unsafe KernelError.check(
                dnnl_pooling_backward_desc_init(
                    &operation, kind.algorithm, &source, &destination, geometry.strides, geometry.kernel,
                    geometry.padding, geometry.trailing), "describe the gradient of a pooling")
            return try Primitive(
                { turn throws(KernelError) in
                    try unsafe PrimitiveDescriptor.find(
                        &operation, "find the gradient of a pooling",
                        hint: forwardDescriptor(shape, kind, element, training: true, on: engine, turn),
                        on: engine, turn)
                },
                [(DNNL_ARG_DIFF_DST, .read), (DNNL_ARG_WORKSPACE, .read), (DNNL_ARG_DIFF_SRC, .write)],
                on: engine)
        }
    }

    private static func forwardDescriptor(
        _ shape: PoolingShape, _ kind: PoolingKind, _ element: ElementType, training: Bool,
        on engine: DNNEngine, _ turn: borrowing PrimitiveCache.Turn
    ) throws(KernelError) -> PrimitiveDescriptor {
        var operation = dnnl_pooling_desc_t()
        var (source, destination) = try layouts(shape, element)
        let geometry = Geometry(shape)
        try unsafe KernelError.check(
            dnnl_pooling_forward_desc_init(
                &operation, training ? dnnl_forward_training : dnnl_forward_inference, kind.algorithm,
                &source, &destination, geometry.strides, geometry.kernel, geometry.padding,
                geometry.trailing), "describe a pooling")
        return try unsafe PrimitiveDescriptor.find(&operation, "find a pooling", on: engine, turn)
    }

    private struct Geometry {
        let strides: [dnnl_dim_t]
        let kernel: [dnnl_dim_t]
        let padding: [dnnl_dim_t]
        /// What the last window reaches beyond the input; oneDNN wants the windows to fit exactly.
        let trailing: [dnnl_dim_t]

        init(_ shape: PoolingShape) {
            strides = [dnnl_dim_t(shape.strideHeight), dnnl_dim_t(shape.strideWidth)]
            kernel = [dnnl_dim_t(shape.kernelHeight), dnnl_dim_t(shape.kernelWidth)]
            padding = [dnnl_dim_t(shape.paddingHeight), dnnl_dim_t(shape.paddingWidth)]
            let reachHeight = (shape.outHeight - 1) * shape.strideHeight + shape.kernelHeight
            let reachWidth = (shape.outWidth - 1) * shape.strideWidth + shape.kernelWidth
            trailing = [
                dnnl_dim_t(reachHeight - shape.inHeight - shape.paddingHeight),
                dnnl_dim_t(reachWidth - shape.inWidth - shape.paddingWidth),
            ]
        }
    }

    private static func layouts(
        _ shape: PoolingShape, _ element: ElementType
    ) throws(KernelError) -> (dnnl_memory_desc_t, dnnl_memory_desc_t) {
        let source = try TensorLayout.channelsLast(
            batch: shape.batch, channels: shape.channels, height: shape.inHeight, width: shape.inWidth,
            element: element)
        let destination = try TensorLayout.channelsLast(
            batch: shape.batch, channels: shape.channels, height: shape.outHeight, width: shape.outWidth,
            element: element)
        return (source.descriptor, destination.descriptor)
    }
}
