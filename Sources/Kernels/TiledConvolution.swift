internal import CKernels
internal import Tensor

/// Our kernels for dense 3x3 and 5x5 convolutions by Winograd's method; `Convolution` chooses them.
///
/// They read and write channels-last images tile by tile, so that nothing is copied and a thread's scratch
/// stays in its cache. Weights are `[height, width, in, out]`, float32 whatever the activations are.
enum TiledConvolution {
    /// Whether our kernels cover a shape: 3x3 or 5x5, stride 1, one group, on a processor with AVX-512, and
    /// nothing fused but a ReLU or ReLU6.
    static func covers(_ shape: ConvolutionShape, fusing: [PostOperation] = []) -> Bool {
        guard shape.groups == 1, shape.kernelHeight == shape.kernelWidth,
            shape.kernelHeight == 3 || shape.kernelHeight == 5, shape.strideHeight == 1,
            shape.strideWidth == 1, shape.dilationHeight == 1, shape.dilationWidth == 1,
            ck_has_wide_vectors() != 0
        else { return false }
        return fusing.isEmpty || fusing == [.relu] || fusing == [.relu6]
    }

    /// Whether they are faster than oneDNN, in all passes together.
    ///
    /// Times in ms, float32, batch 64, two threads (oneDNN, ours), forward / data gradient / weight gradient;
    /// more in docs/convolutions.md:
    /// - 20 -> 50 at 12x12, 5x5: 0.60, 0.14 / 0.65, 0.19 / 0.65, 0.18.
    /// - 16 -> 16 at 32x32: 0.68, 0.44 / 0.65, 0.47 / 0.58, 0.46.
    /// - 128 -> 128 at 16x16: 5.0, 3.3 / 5.1, 3.4 / 5.6, 3.9.
    /// - 256 -> 256 at 8x8: 3.6, 3.4 / 3.6, 3.6 / 4.6, 5.2.
    static func wins(_ shape: ConvolutionShape, _ element: ElementType) -> Bool {
        // In bfloat16 oneDNN multiplies twice as fast, and loses from 32 channels on: 16 -> 16 takes it 0.50,
        // 0.45 and 0.62 in a step, and us 0.55, 0.59 and 0.72.
        let channelsMin = element == .bfloat16 && shape.kernelHeight == 3 ? 32 : 12
        guard min(shape.inChannels, shape.outChannels) >= channelsMin,
            shape.inChannels * shape.outChannels <= 128 * 128
        else { return false }
        // Tiles of 4x4 outputs: enough of them, and mostly filled; images enough for every thread.
        let tiles = shape.batch * ((shape.outHeight + 3) / 4) * ((shape.outWidth + 3) / 4)
        let isFilled = 5 * shape.batch * shape.outHeight * shape.outWidth >= 3 * 16 * tiles
        return tiles >= 128 && shape.batch >= 8 && isFilled
    }

    /// Operands `input, weights, [bias], output, scratchpad`.
    static func forward(
        _ shape: ConvolutionShape, _ element: ElementType, weights: TensorLayout?, fusing: [PostOperation]
    ) throws(KernelError) -> OwnLayerKernel {
        let taps = try accepted(weights, shape, fusing)
        var block = unsafe ck_dense_arguments()
        unsafe block.shape = shape.dense(element)
        unsafe block.low = fusing.isEmpty ? -.infinity : 0
        unsafe block.high = fusing == [.relu6] ? 6 : .infinity
        typealias Binding = (Operand, KernelCall<ck_dense_arguments>.Binder)
        var bindings: [Binding] = unsafe [
            (.elements(shape.inputCount, element, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
            (.floats(shape.weightCount, .read), { unsafe $0.weights = unsafe $1.constantFloats }),
        ]
        var layouts = [try shape.sourceLayout(element), taps]
        if shape.hasBias {
            unsafe bindings.append(
                (.floats(shape.outChannels, .read), { unsafe $0.bias = unsafe $1.constantFloats }))
            layouts.append(try TensorLayout.rowMajor([shape.outChannels]))
        }
        let scratch = scratchCount(shape)
        unsafe bindings += [
            (.elements(shape.outputCount, element, .write), { unsafe $0.output = unsafe $1 }),
            (.floats(scratch, .readWrite), { unsafe $0.scratch = unsafe $1.floats }),
        ]
        layouts += [try shape.destinationLayout(element), try TensorLayout.rowMajor([scratch])]
        return unsafe OwnLayerKernel(
            KernelCall("ck_winograd", { unsafe ck_winograd($0) }, block, bindings), layouts,
            hasScratchpad: true)
    }

    /// Operands `output gradient, weights, input gradient, scratchpad`.
    static func backwardData(
        _ shape: ConvolutionShape, _ element: ElementType, weights: TensorLayout?
    ) throws(KernelError) -> OwnLayerKernel {
        let taps = try accepted(weights, shape)
        var block = unsafe ck_dense_data_arguments()
        unsafe block.shape = shape.dense(element)
        let scratch = scratchCount(shape)
        let call = unsafe KernelCall(
            "ck_winograd_backward_data", { unsafe ck_winograd_backward_data($0) }, block,
            [
                (
                    .elements(shape.outputCount, element, .read),
                    { unsafe $0.gradient_out = UnsafeRawPointer($1) }
                ), (.floats(shape.weightCount, .read), { unsafe $0.weights = unsafe $1.constantFloats }),
                (.elements(shape.inputCount, element, .write), { unsafe $0.gradient_in = unsafe $1 }),
                (.floats(scratch, .readWrite), { unsafe $0.scratch = unsafe $1.floats }),
            ])
        return unsafe OwnLayerKernel(
            call,
            [
                try shape.destinationLayout(element), taps, try shape.sourceLayout(element),
                try TensorLayout.rowMajor([scratch]),
            ], hasScratchpad: true)
    }

    /// Operands `input, output gradient, weight gradient, [bias gradient], scratchpad`.
    static func backwardWeights(
        _ shape: ConvolutionShape, _ element: ElementType, weights: TensorLayout?
    ) throws(KernelError) -> OwnLayerKernel {
        let taps = try accepted(weights, shape)
        return try unsafe shape.weightGradient(
            "ck_winograd_backward_weights", { unsafe ck_winograd_backward_weights($0) }, element, taps,
            scratch: scratchCount(shape))
    }

    /// The layout of the weights once it is known that the kernels do.
    private static func accepted(
        _ weights: TensorLayout?, _ shape: ConvolutionShape, _ fusing: [PostOperation] = []
    ) throws(KernelError) -> TensorLayout {
        guard covers(shape, fusing: fusing) else {
            throw KernelError(action: "convolve by tiles", reason: "the kernels do not cover the shape")
        }
        let layout = try TensorLayout.outputsInnermost(shape.weightExtents)
        guard weights == nil || weights == layout else {
            throw KernelError(action: "convolve by tiles", reason: "the weights lie in another order")
        }
        return layout
    }

    private static func scratchCount(_ shape: ConvolutionShape) -> Int {
        var kernel = shape.dense(.float32)
        return unsafe ck_winograd_scratch_count(&kernel, ThreadTeam.count)
    }
}

/// Our kernel for the weight gradient of a dense 3x3 or 5x5 convolution of images of one channel.
enum SingleChannelConvolution {
    /// Whether it covers a shape, in which case it wins: oneDNN has no vectors along input channels there.
    ///
    /// 1 -> 20 at 28x28, 5x5, batch 64, two threads: 275 us with oneDNN, 125 with ours.
    static func covers(_ shape: ConvolutionShape) -> Bool {
        shape.inChannels == 1 && shape.outChannels >= 4 && TiledConvolution.covers(shape)
    }

    /// Operands `input, output gradient, weight gradient, [bias gradient], scratchpad`.
    static func backwardWeights(
        _ shape: ConvolutionShape, _ element: ElementType
    ) throws(KernelError) -> OwnLayerKernel {
        var kernel = shape.dense(element)
        let scratch = unsafe ck_single_channel_scratch_count(&kernel, ThreadTeam.count)
        return try unsafe shape.weightGradient(
            "ck_single_channel_backward_weights", { unsafe ck_single_channel_backward_weights($0) }, element,
            .outputsInnermost(shape.weightExtents), scratch: scratch)
    }
}

extension ConvolutionShape {
    var inputCount: Int { batch * inHeight * inWidth * inChannels }
    var outputCount: Int { batch * outHeight * outWidth * outChannels }
    var weightCount: Int { weightExtents.reduce(1, *) }

    fileprivate func dense(_ element: ElementType) -> ck_dense_shape {
        ck_dense_shape(
            batch: batch, in_channels: inChannels, out_channels: outChannels, height: inHeight,
            width: inWidth, out_height: outHeight, out_width: outWidth, padding_height: paddingHeight,
            padding_width: paddingWidth, kernel: kernelHeight, element: element.kernelElement)
    }

    /// A call that computes the gradients of weights, laid out as `taps`, and bias.
    fileprivate func weightGradient(
        _ name: String, _ function: @escaping KernelCall<ck_dense_weights_arguments>.Function,
        _ element: ElementType, _ taps: TensorLayout, scratch: Int
    ) throws(KernelError) -> OwnLayerKernel {
        var block = unsafe ck_dense_weights_arguments()
        unsafe block.shape = dense(element)
        typealias Binding = (Operand, KernelCall<ck_dense_weights_arguments>.Binder)
        var bindings: [Binding] = unsafe [
            (.elements(inputCount, element, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
            (.elements(outputCount, element, .read), { unsafe $0.gradient_out = UnsafeRawPointer($1) }),
            (.floats(weightCount, .write), { unsafe $0.gradient_weights = unsafe $1.floats }),
        ]
        var layouts = [try sourceLayout(element), try destinationLayout(element), taps]
        if hasBias {
            unsafe bindings.append(
                (.floats(outChannels, .write), { unsafe $0.gradient_bias = unsafe $1.floats }))
            layouts.append(try TensorLayout.rowMajor([outChannels]))
        }
        unsafe bindings.append((.floats(scratch, .readWrite), { unsafe $0.scratch = unsafe $1.floats }))
        layouts.append(try TensorLayout.rowMajor([scratch]))
        return unsafe OwnLayerKernel(
            KernelCall(name, function, block, bindings), layouts, hasScratchpad: true)
    }
}
