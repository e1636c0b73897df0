internal import COneDNN
public import Tensor

/// The extents of a two-dimensional transposed convolution over channels-last activations.
public struct TransposedConvolutionShape: Hashable, Sendable {
    /// The convolution whose data gradient this is, so with source and destination exchanged.
    ///
    /// Its input is our output: set its strides, padding, dilation, groups and bias; its `inHeight` and
    /// `inWidth` follow from `inHeight`, `inWidth` and the output padding given here.
    public private(set) var transposed: ConvolutionShape

    /// PyTorch's `conv_transpose2d`.
    ///
    /// Of `settings`, the strides, padding, dilation, groups and bias count; its channels and extents are
    /// those of the transposed convolution's own input and output.
    public init(_ settings: ConvolutionShape, outputPaddingHeight: Int = 0, outputPaddingWidth: Int = 0) {
        func extent(
            _ size: Int, _ kernel: Int, _ stride: Int, _ padding: Int, _ dilation: Int, _ extra: Int
        ) -> Int { (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1 }
        var shape = settings
        (shape.inChannels, shape.outChannels) = (settings.outChannels, settings.inChannels)
        shape.inHeight = extent(
            settings.inHeight, settings.kernelHeight, settings.strideHeight, settings.paddingHeight,
            settings.dilationHeight, outputPaddingHeight)
        shape.inWidth = extent(
            settings.inWidth, settings.kernelWidth, settings.strideWidth, settings.paddingWidth,
            settings.dilationWidth, outputPaddingWidth)
        transposed = shape
        self.outputPaddingHeight = outputPaddingHeight
        self.outputPaddingWidth = outputPaddingWidth
        (inHeight, inWidth) = (settings.inHeight, settings.inWidth)
    }

    /// The same over another batch.
    fileprivate func over(_ batch: Int) -> TransposedConvolutionShape {
        var shape = self
        shape.transposed.batch = batch
        return shape
    }

    /// Rows and columns added at the far edge, where several sizes lead to one; below the stride.
    public let outputPaddingHeight: Int
    public let outputPaddingWidth: Int
    public let inHeight: Int
    public let inWidth: Int
    public var inChannels: Int { transposed.outChannels }
    public var outChannels: Int { transposed.inChannels }
    public var outHeight: Int { transposed.inHeight }
    public var outWidth: Int { transposed.inWidth }
}

/// The three passes of a transposed convolution; operand orders and element types as in `Convolution`.
public enum TransposedConvolution {
    /// How PyTorch stores the weights: `[in, out / groups, height, width]`.
    ///
    /// oneDNN's logical order is `[groups,] out, in, height, width`.
    public static func plainWeights(_ shape: TransposedConvolutionShape) throws(KernelError) -> TensorLayout {
        try .inputsFirst(extents(shape))
    }

    /// Every input pixel adds its value times the kernel to the output, on top of the bias.
    ///
    /// oneDNN fuses nothing behind it; an `activation` runs in the same call.
    public static func forward(
        _ shape: TransposedConvolutionShape, element: ElementType = .float32, weights: TensorLayout? = nil,
        activation: LayerActivation? = nil, training: Bool = true, on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        if let activation {
            let batch = shape.transposed.batch
            return try ActivatedKernel.prepare(activation, batch: batch, element, weights: weights) {
                batch, weights throws(KernelError) in
                try forward(
                    shape.over(batch), element: element, weights: weights, training: training, on: engine)
            }
        }
        let roles = WidenedKernel.Roles.forward(hasBias: shape.transposed.hasBias)
        return try engine.pass(element, weights: weights, roles) { element, weights throws(KernelError) in
            try Primitive(
                { turn throws(KernelError) in
                    try forwardDescriptor(
                        shape, element, weights: weights, training: training, on: engine, turn)
                },
                Primitive.forwardUses(fusing: []), on: engine)
        }
    }

    /// The gradient of the input from that of the output.
    public static func backwardData(
        _ shape: TransposedConvolutionShape, element: ElementType = .float32, weights: TensorLayout? = nil,
        on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        try engine.pass(element, weights: weights, .backwardData) {
            element, weights throws(KernelError) in
            var operation = dnnl_deconvolution_desc_t()
            var layouts = try Layouts(shape, element, weights: weights, weightElement: element)
            let geometry = Geometry(shape)
            try unsafe KernelError.check(
                dnnl_dilated_deconvolution_backward_data_desc_init(
                    &operation, dnnl_deconvolution_direct, &layouts.source, &layouts.weight,
                    &layouts.destination, geometry.strides, geometry.dilations, geometry.padding,
                    geometry.trailing), "describe the data gradient of a transposed convolution")
            return try Primitive(
                { turn throws(KernelError) in
                    try unsafe PrimitiveDescriptor.find(
                        &operation, "find the data gradient of a transposed convolution",
                        hint: forwardDescriptor(shape, element, training: true, on: engine, turn), on: engine,
                        turn)
                },
                Primitive.backwardDataUses, on: engine)
        }
    }

    /// The gradients of the weights and the bias.
    public static func backwardWeights(
        _ shape: TransposedConvolutionShape, element: ElementType = .float32, weights: TensorLayout? = nil,
        on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        try engine.pass(element, weights: weights, .backwardWeights) {
            element, weights throws(KernelError) in
            var operation = dnnl_deconvolution_desc_t()
            var layouts = try Layouts(shape, element, weights: weights, weightElement: .float32)
            let geometry = Geometry(shape)
            try unsafe KernelError.check(
                dnnl_dilated_deconvolution_backward_weights_desc_init(
                    &operation, dnnl_deconvolution_direct, &layouts.source, &layouts.weight, &layouts.bias,
                    &layouts.destination, geometry.strides, geometry.dilations, geometry.padding,
                    geometry.trailing), "describe the weight gradient of a transposed convolution")
            return try Primitive(
                { turn throws(KernelError) in
                    try unsafe PrimitiveDescriptor.find(
                        &operation, "find the weight gradient of a transposed convolution",
                        hint: forwardDescriptor(shape, element, training: true, on: engine, turn), on: engine,
                        turn)
                },
                Primitive.backwardWeightsUses, on: engine)
        }
    }

    private static func forwardDescriptor(
        _ shape: TransposedConvolutionShape, _ element: ElementType, weights: TensorLayout? = nil,
        training: Bool, on engine: DNNEngine, _ turn: borrowing PrimitiveCache.Turn
    ) throws(KernelError) -> PrimitiveDescriptor {
        guard element != .bfloat16 || !shape.meetsWrongKernel else {
            throw KernelError(
                action: "find a transposed convolution",
                reason: "oneDNN errs in bfloat16 with a 1x1 kernel over an odd number of channels")
        }
        var operation = dnnl_deconvolution_desc_t()
        var layouts = try Layouts(shape, element, weights: weights, weightElement: element)
        let geometry = Geometry(shape)
        try unsafe KernelError.check(
            dnnl_dilated_deconvolution_forward_desc_init(
                &operation, training ? dnnl_forward_training : dnnl_forward_inference,
                dnnl_deconvolution_direct, &layouts.source, &layouts.weight, &layouts.bias,
                &layouts.destination, geometry.strides, geometry.dilations, geometry.padding,
                geometry.trailing), "describe a transposed convolution")
        return try unsafe PrimitiveDescriptor.find(
            &operation, "find a transposed convolution", on: engine, turn)
    }

    /// Logical extents of the weights.
    private static func extents(_ shape: TransposedConvolutionShape) -> [Int] {
        let base = shape.transposed
        let perGroup = [
            shape.outChannels / base.groups, shape.inChannels / base.groups, base.kernelHeight,
            base.kernelWidth,
        ]
        return base.groups == 1 ? perGroup : [base.groups] + perGroup
    }

    private struct Geometry {
        let strides: [dnnl_dim_t]
        let dilations: [dnnl_dim_t]
        let padding: [dnnl_dim_t]
        /// What is cut off at the far edge; the output padding takes from it.
        let trailing: [dnnl_dim_t]

        init(_ shape: TransposedConvolutionShape) {
            let base = shape.transposed
            strides = [dnnl_dim_t(base.strideHeight), dnnl_dim_t(base.strideWidth)]
            dilations = [dnnl_dim_t(base.dilationHeight - 1), dnnl_dim_t(base.dilationWidth - 1)]
            padding = [dnnl_dim_t(base.paddingHeight), dnnl_dim_t(base.paddingWidth)]
            trailing = [
                dnnl_dim_t(base.paddingHeight - shape.outputPaddingHeight),
                dnnl_dim_t(base.paddingWidth - shape.outputPaddingWidth),
            ]
        }
    }

    private struct Layouts {
        var source: dnnl_memory_desc_t
        var weight: dnnl_memory_desc_t
        var bias: dnnl_memory_desc_t
        var destination: dnnl_memory_desc_t

        init(
            _ shape: TransposedConvolutionShape, _ element: ElementType, weights: TensorLayout?,
            weightElement: ElementType
        ) throws(KernelError) {
            let batch = shape.transposed.batch
            source = try TensorLayout.channelsLast(
                batch: batch, channels: shape.inChannels, height: shape.inHeight, width: shape.inWidth,
                element: element
            ).descriptor
            if let weights {
                weight = weights.descriptor
            } else {
                weight = try TensorLayout.any(extents(shape), element: weightElement).descriptor
            }
            let hasBias = shape.transposed.hasBias
            bias = (hasBias ? try TensorLayout.rowMajor([shape.outChannels]) : .absent).descriptor
            destination = try TensorLayout.channelsLast(
                batch: batch, channels: shape.outChannels, height: shape.outHeight, width: shape.outWidth,
                element: element
            ).descriptor
        }
    }
}

extension TransposedConvolutionShape {
    /// Whether oneDNN would compute it by the kernel that `ConvolutionShape.isWrong` names, having no other
    /// for bfloat16.
    fileprivate var meetsWrongKernel: Bool {
        let shape = transposed
        return shape.kernelHeight == 1 && shape.kernelWidth == 1 && shape.strideHeight == 1
            && shape.strideWidth == 1 && !(shape.outChannels / shape.groups).isMultiple(of: 2)
    }
}
