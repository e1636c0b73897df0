internal import CKernels
internal import Tensor

extension DepthwiseConvolution {
    /// Operands `input, coefficients, weights, output, gradient behind the normalisation behind, its
    /// coefficients, input gradient, weight gradient, [bias gradient], sums, scratchpad`.
    static func backwardBetweenNorms(
        _ shape: ConvolutionShape, _ element: ElementType, weights: TensorLayout?,
        front: FusedBatchNorm.Activation, behind: FusedBatchNorm.Activation
    ) throws(KernelError) -> OwnLayerKernel {
        let taps = try accepted(weights, shape)
        let channels = shape.inChannels
        var block = unsafe ck_depthwise_between_arguments()
        var extents = kernelShape(shape, element)
        unsafe block.shape = extents
        unsafe block.norm = kernelNorm(front)
        let limits = unsafe kernelNorm(behind)
        unsafe block.behind_low = limits.low
        unsafe block.behind_high = limits.high
        let parts = sumParts(shape)
        let totals = parts * 10 * channels
        let scratch = unsafe ck_depthwise_between_scratch(&extents, ThreadTeam.count)
        typealias Binding = (Operand, KernelCall<ck_depthwise_between_arguments>.Binder)
        var bindings: [Binding] = unsafe [
            (.elements(shape.inputCount, element, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
            coefficients(shape) { unsafe $0.norm.coefficients = $1 },
            (.floats(channels * 9, .read), { unsafe $0.weights = unsafe $1.constantFloats }),
            (.elements(shape.outputCount, element, .read), { unsafe $0.output = UnsafeRawPointer($1) }),
            (.elements(shape.outputCount, element, .read), { unsafe $0.gradient_out = UnsafeRawPointer($1) }),
            (.floats(channels * 5, .read), { unsafe $0.behind = unsafe $1.constantFloats }),
            (.elements(shape.inputCount, element, .write), { unsafe $0.gradient_in = $1 }),
            (.floats(channels * 9, .write), { unsafe $0.gradient_weights = unsafe $1.floats }),
        ]
        let (source, destination) = (try shape.sourceLayout(element), try shape.destinationLayout(element))
        var layouts = [
            source, try TensorLayout.rowMajor([3, channels]), taps, destination, destination,
            try TensorLayout.rowMajor([5, channels]), source, taps,
        ]
        if shape.hasBias {
            unsafe bindings.append(
                (.floats(channels, .write), { unsafe $0.gradient_bias = unsafe $1.floats }))
            layouts.append(try TensorLayout.rowMajor([channels]))
        }
        let sums = parts * 2 * channels * MemoryLayout<Double>.stride
        unsafe bindings += [
            (
                Operand(sums, .write),
                { unsafe $0.moments = unsafe $1.assumingMemoryBound(to: Double.self) }
            ),
            (
                .floats(scratch, .readWrite),
                {
                    unsafe $0.totals = unsafe $1.floats
                    unsafe $0.windows = unsafe $1.floats + totals
                }
            ),
        ]
        // The sums are float64, which no layout says; nobody converts them.
        layouts.append(try TensorLayout.rowMajor([sums / MemoryLayout<Float>.stride]))
        layouts.append(try TensorLayout.rowMajor([scratch]))
        return unsafe OwnLayerKernel(
            KernelCall("ck_depthwise_between", { unsafe ck_depthwise_between($0) }, block, bindings),
            layouts, hasScratchpad: true)
    }

    /// Parts in which `backwardBetweenNorms` leaves sums.
    static func sumParts(_ shape: ConvolutionShape) -> Int {
        var extents = kernelShape(shape, .float32)
        return unsafe ck_depthwise_between_parts(&extents)
    }
}
