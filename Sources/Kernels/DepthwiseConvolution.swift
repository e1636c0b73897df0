internal import CKernels
internal import Tensor

/// Our kernels for convolutions of each channel with its own 3x3 kernel; `Convolution` chooses them.
///
/// They read weights as `[3, 3, channels]`, float32 whatever the activations are.
enum DepthwiseConvolution {
    /// Whether our kernels cover a shape: 3x3, padding 1, stride 1 or 2, 16 channels or more, and fuse
    /// nothing but a ReLU or ReLU6.
    ///
    /// They are kept for the whole of it: where they do not win they lose little, and one layout of the
    /// weights serves all passes. Times in ms, float32, batch 64, two threads (oneDNN, ours), forward / data
    /// gradient / weight gradient; more in docs/convolutions.md:
    /// - 32x32x32: 0.22, 0.19 / 0.24, 0.14 / 0.16, 0.17.
    /// - 32x32x64, stride 2: 0.18, 0.16 / 0.26, 0.14 / 0.16, 0.20.
    /// - 16x16x128: 0.23, 0.17 / 0.20, 0.14 / 0.24, 0.16.
    /// - 8x8x256: 0.09, 0.07 / 0.09, 0.06 / 0.09, 0.06.
    static func covers(_ shape: ConvolutionShape, fusing: [PostOperation] = []) -> Bool {
        let isDepthwise = shape.groups == shape.inChannels && shape.outChannels == shape.inChannels
        guard isDepthwise, shape.inChannels >= 16, shape.kernelHeight == 3, shape.kernelWidth == 3,
            shape.strideHeight == shape.strideWidth, (1...2).contains(shape.strideHeight),
            shape.paddingHeight == 1, shape.paddingWidth == 1, shape.dilationHeight == 1,
            shape.dilationWidth == 1
        else { return false }
        return fusing.isEmpty || fusing == [.relu] || fusing == [.relu6]
    }

    /// Operands `input, weights, [bias], output`, and `coefficients, scratchpad` where the input is
    /// normalised first.
    static func forward(
        _ shape: ConvolutionShape, _ element: ElementType, weights: TensorLayout?, fusing: [PostOperation],
        normalizing norm: FusedBatchNorm.Activation? = nil
    ) throws(KernelError) -> OwnLayerKernel {
        let taps = try accepted(weights, shape, fusing)
        var block = unsafe ck_depthwise_arguments()
        unsafe block.shape = kernelShape(shape, element)
        if let norm { unsafe block.norm = kernelNorm(norm) }
        unsafe block.low = fusing.isEmpty ? -.infinity : 0
        unsafe block.high = fusing == [.relu6] ? 6 : .infinity
        typealias Binding = (Operand, KernelCall<ck_depthwise_arguments>.Binder)
        var bindings: [Binding] = unsafe [
            (.elements(shape.inputCount, element, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
            (.floats(shape.inChannels * 9, .read), { unsafe $0.weights = unsafe $1.constantFloats }),
        ]
        if shape.hasBias {
            unsafe bindings.append(
                (.floats(shape.inChannels, .read), { unsafe $0.bias = unsafe $1.constantFloats }))
        }
        unsafe bindings.append(
            (.elements(shape.outputCount, element, .write), { unsafe $0.output = unsafe $1 }))
        var layouts = [try shape.sourceLayout(element), taps]
        if shape.hasBias { layouts.append(try TensorLayout.rowMajor([shape.outChannels])) }
        layouts.append(try shape.destinationLayout(element))
        if norm != nil {
            unsafe bindings.append(coefficients(shape) { unsafe $0.norm.coefficients = $1 })
            layouts.append(try TensorLayout.rowMajor([3, shape.inChannels]))
            let windows = ThreadTeam.count * windowCount(shape)
            unsafe bindings.append(
                (.floats(windows, .write), { unsafe $0.norm.windows = unsafe $1.floats }))
            layouts.append(try TensorLayout.rowMajor([windows]))
        }
        let name = "ck_depthwise" + (norm == nil ? "" : ":normalizing")
        return unsafe OwnLayerKernel(
            KernelCall(name, { unsafe ck_depthwise($0) }, block, bindings), layouts,
            hasScratchpad: norm != nil)
    }

    /// Operands `output gradient, weights, input gradient`.
    static func backwardData(
        _ shape: ConvolutionShape, _ element: ElementType, weights: TensorLayout?
    ) throws(KernelError) -> OwnLayerKernel {
        let taps = try accepted(weights, shape)
        var block = unsafe ck_depthwise_data_arguments()
        unsafe block.shape = kernelShape(shape, element)
        let call = unsafe KernelCall(
            "ck_depthwise_backward_data", { unsafe ck_depthwise_backward_data($0) }, block,
            [
                (
                    .elements(shape.outputCount, element, .read),
                    { unsafe $0.gradient_out = UnsafeRawPointer($1) }
                ), (.floats(shape.inChannels * 9, .read), { unsafe $0.weights = unsafe $1.constantFloats }),
                (.elements(shape.inputCount, element, .write), { unsafe $0.gradient_in = unsafe $1 }),
            ])
        return unsafe OwnLayerKernel(
            call,
            [
                try shape.destinationLayout(element), taps, try shape.sourceLayout(element),
            ])
    }

    /// Operands `input, output gradient, weight gradient, [bias gradient], [coefficients], scratchpad`.
    static func backwardWeights(
        _ shape: ConvolutionShape, _ element: ElementType, weights: TensorLayout?,
        normalizing norm: FusedBatchNorm.Activation? = nil
    ) throws(KernelError) -> OwnLayerKernel {
        let taps = try accepted(weights, shape)
        var block = unsafe ck_depthwise_weights_arguments()
        unsafe block.shape = kernelShape(shape, element)
        if let norm { unsafe block.norm = kernelNorm(norm) }
        let sums = ThreadTeam.count * 10 * shape.inChannels
        let scratch = sums + (norm == nil ? 0 : ThreadTeam.count * windowCount(shape))
        typealias Binding = (Operand, KernelCall<ck_depthwise_weights_arguments>.Binder)
        var bindings: [Binding] = unsafe [
            (.elements(shape.inputCount, element, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
            (
                .elements(shape.outputCount, element, .read),
                { unsafe $0.gradient_out = UnsafeRawPointer($1) }
            ), (.floats(shape.inChannels * 9, .write), { unsafe $0.gradient_weights = unsafe $1.floats }),
        ]
        if shape.hasBias {
            unsafe bindings.append(
                (.floats(shape.inChannels, .write), { unsafe $0.gradient_bias = unsafe $1.floats }))
        }
        var layouts = [try shape.sourceLayout(element), try shape.destinationLayout(element), taps]
        if shape.hasBias { layouts.append(try TensorLayout.rowMajor([shape.outChannels])) }
        if norm != nil {
            unsafe bindings.append(coefficients(shape) { unsafe $0.norm.coefficients = $1 })
            layouts.append(try TensorLayout.rowMajor([3, shape.inChannels]))
        }
        unsafe bindings.append(
            (
                .floats(scratch, .readWrite),
                {
                    unsafe $0.scratch = unsafe $1.floats
                    unsafe $0.norm.windows = unsafe $1.floats + sums
                }
            ))
        layouts.append(try TensorLayout.rowMajor([scratch]))
        let name = "ck_depthwise_backward_weights" + (norm == nil ? "" : ":normalizing")
        return unsafe OwnLayerKernel(
            KernelCall(name, { unsafe ck_depthwise_backward_weights($0) }, block, bindings), layouts,
            hasScratchpad: true)
    }

    /// The layout of the weights, `[3, 3, channels]` in memory, once it is known that the kernels do.
    static func accepted(
        _ weights: TensorLayout?, _ shape: ConvolutionShape, _ fusing: [PostOperation] = []
    ) throws(KernelError) -> TensorLayout {
        guard covers(shape, fusing: fusing) else {
            throw KernelError(action: "convolve depthwise", reason: "the kernels do not cover the shape")
        }
        let layout = try TensorLayout.channelsInnermost(shape.weightExtents)
        guard weights == nil || weights == layout else {
            throw KernelError(action: "convolve depthwise", reason: "the weights lie in another order")
        }
        return layout
    }

    /// The operand of what a batch normalisation left for its reader.
    static func coefficients<Arguments>(
        _ shape: ConvolutionShape, _ set: @escaping (inout Arguments, UnsafePointer<Float>) -> Void
    ) -> (Operand, KernelCall<Arguments>.Binder) {
        (.floats(3 * shape.inChannels, .read), { unsafe set(&$0, $1.constantFloats) })
    }

    /// Floats of a thread's normalised rows.
    private static func windowCount(_ shape: ConvolutionShape) -> Int {
        var kernel = kernelShape(shape, .float32)
        return unsafe ck_depthwise_window_count(&kernel)
    }

    static func kernelNorm(_ activation: FusedBatchNorm.Activation) -> ck_depthwise_norm {
        var norm = unsafe ck_depthwise_norm()
        unsafe norm.low = activation == .none ? -.infinity : 0
        unsafe norm.high = activation == .relu6 ? 6 : .infinity
        return unsafe norm
    }

    static func kernelShape(_ shape: ConvolutionShape, _ element: ElementType) -> ck_depthwise_shape {
        ck_depthwise_shape(
            batch: shape.batch, channels: shape.inChannels, height: shape.inHeight, width: shape.inWidth,
            stride: shape.strideHeight, out_height: shape.outHeight, out_width: shape.outWidth,
            element: element.kernelElement)
    }
}
