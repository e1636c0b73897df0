internal import COneDNN
public import Tensor

/// The extents of a two-dimensional convolution over channels-last activations.
public struct ConvolutionShape: Hashable, Sendable {
    public var batch: Int
    public var inChannels: Int
    public var inHeight: Int
    public var inWidth: Int
    public var outChannels: Int
    public var kernelHeight: Int
    public var kernelWidth: Int
    public var strideHeight = 1
    public var strideWidth = 1
    public var paddingHeight = 0
    public var paddingWidth = 0
    public var dilationHeight = 1
    public var dilationWidth = 1
    public var groups = 1
    public var hasBias = true

    public init(
        batch: Int, inChannels: Int, inHeight: Int, inWidth: Int, outChannels: Int, kernelHeight: Int,
        kernelWidth: Int
    ) {
        self.batch = batch
        self.inChannels = inChannels
        self.inHeight = inHeight
        self.inWidth = inWidth
        self.outChannels = outChannels
        self.kernelHeight = kernelHeight
        self.kernelWidth = kernelWidth
    }

    public var outHeight: Int {
        (inHeight + 2 * paddingHeight - dilationHeight * (kernelHeight - 1) - 1) / strideHeight + 1
    }
    public var outWidth: Int {
        (inWidth + 2 * paddingWidth - dilationWidth * (kernelWidth - 1) - 1) / strideWidth + 1
    }

    /// PyTorch's weight extents, with the groups split off in front when there are several.
    public var weightExtents: [Int] {
        let perGroup = [outChannels / groups, inChannels / groups, kernelHeight, kernelWidth]
        return groups == 1 ? perGroup : [groups] + perGroup
    }
}

/// The three passes of a two-dimensional convolution.
///
/// Operands in order: forward `source, weights, [bias], destination`; backward data
/// `destination gradient, weights, source gradient`; backward weights
/// `source, destination gradient, weight gradient, [bias gradient]`; then the scratchpad, if any.
///
/// `element` is what activations, their gradients and the weights that are read are stored as. Biases and the
/// gradients of parameters are float32 always; a weight gradient has another layout than the weights when
/// these are bfloat16. `weights` is the layout to take, of that element type; nil lets oneDNN choose.
/// `slices` cut the batch of Winograd's algorithm; nil chooses their number by its scratch.
///
/// `normalizing` is for those that `normalizes` covers: the source is the input of a batch normalisation,
/// whose output, behind that activation, is what is convolved. It is an operand more, the coefficients that
/// `FusedBatchNorm.statistics` leaves, in front of the scratchpad.
public enum Convolution {
    /// Whether all passes can normalise what they read: where our depthwise kernels are chosen.
    public static func normalizes(_ shape: ConvolutionShape, fusing: [PostOperation] = []) -> Bool {
        DepthwiseConvolution.covers(shape, fusing: fusing)
    }

    /// Whether adding to what lies at the destination costs no better algorithm.
    public static func addsToDestination(_ shape: ConvolutionShape, _ element: ElementType) -> Bool {
        ConvolutionAlgorithm.suggested(for: shape, element) == .direct
    }

    /// Whether an operation can run inside the forward pass at no cost of a better algorithm.
    public static func fuses(
        _ operation: PostOperation, _ shape: ConvolutionShape, _ element: ElementType
    ) -> Bool {
        switch ConvolutionAlgorithm.suggested(for: shape, element) {
        case .depthwise: DepthwiseConvolution.covers(shape, fusing: [operation])
        case .tiled: TiledConvolution.covers(shape, fusing: [operation])
        case .direct, .winograd: true
        }
    }

    /// output = input * weight + bias, followed by `fusing` in the same pass, or by `activation` in the same
    /// call.
    public static func forward(
        _ shape: ConvolutionShape, element: ElementType = .float32, weights: TensorLayout? = nil,
        fusing: [PostOperation] = [], activation: LayerActivation? = nil, training: Bool = true,
        algorithm: ConvolutionAlgorithm? = nil, slices: Int? = nil,
        normalizing norm: FusedBatchNorm.Activation? = nil, on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        if let activation {
            return try activated(
                shape, element, activation, weights: weights, algorithm: algorithm, training: training,
                on: engine)
        }
        if let norm {
            return try DepthwiseConvolution.forward(
                shape, element, weights: weights, fusing: fusing, normalizing: norm)
        }
        let isReading = fusing.contains(.addToDestination)
        let cut = Cut(0, shape.hasBias ? 3 : 2, slices ?? WinogradSlicing.forward.count(for: shape))
        return try choose(shape, element, isReading ? .direct : algorithm, cut) {
            how, shape throws(KernelError) in
            switch how {
            case .depthwise:
                return try DepthwiseConvolution.forward(shape, element, weights: weights, fusing: fusing)
            case .tiled: return try TiledConvolution.forward(shape, element, weights: weights, fusing: fusing)
            case .direct, .winograd: break
            }
            return try engine.pass(element, weights: weights, .forward(hasBias: shape.hasBias)) {
                element, weights throws(KernelError) in
                try Primitive(
                    { turn throws(KernelError) in
                        try forwardDescriptor(
                            shape, element, how, weights: weights, fusing: fusing, training: training,
                            on: engine, turn)
                    },
                    Primitive.forwardUses(fusing: fusing),
                    outer: how.outer(DNNL_ARG_SRC, DNNL_ARG_DST, shape, element), on: engine)
            }
        }
    }

    /// A forward pass with an activation that leaves what the backward pass reads.
    ///
    /// Tiles are not cut: every slice would transform the weights anew. Activating each before it is stored
    /// was 10 % slower than a pass behind all: tiles are too small for a loop of their own.
    private static func activated(
        _ shape: ConvolutionShape, _ element: ElementType, _ activation: LayerActivation,
        weights: TensorLayout?, algorithm: ConvolutionAlgorithm?, training: Bool, on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        let how = algorithm ?? .suggested(for: shape, element)
        return try ActivatedKernel.prepare(
            activation, batch: shape.batch, element, isCut: how == .direct || how == .depthwise,
            weights: weights
        ) { batch, weights throws(KernelError) in
            var part = shape
            part.batch = batch
            return try forward(
                part, element: element, weights: weights, training: training, algorithm: algorithm, on: engine
            )
        }
    }

    /// The gradient of the input from that of the output.
    public static func backwardData(
        _ shape: ConvolutionShape, element: ElementType = .float32, weights: TensorLayout? = nil,
        algorithm: ConvolutionAlgorithm? = nil, slices: Int? = nil, on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        let cut = Cut(2, 0, slices ?? WinogradSlicing.backwardData.count(for: shape))
        return try choose(shape, element, algorithm, cut) { how, shape throws(KernelError) in
            switch how {
            case .depthwise:
                return try DepthwiseConvolution.backwardData(shape, element, weights: weights)
            case .tiled: return try TiledConvolution.backwardData(shape, element, weights: weights)
            case .direct, .winograd: break
            }
            return try engine.pass(element, weights: weights, .backwardData) {
                element, weights throws(KernelError) in
                var operation = dnnl_convolution_desc_t()
                var layouts = try Layouts(shape, element, how, weights: weights, weightElement: element)
                let geometry = ConvolutionGeometry(shape)
                try unsafe KernelError.check(
                    dnnl_dilated_convolution_backward_data_desc_init(
                        &operation, how.kind, &layouts.source, &layouts.weight, &layouts.destination,
                        geometry.strides, geometry.dilations, geometry.padding, geometry.padding),
                    "describe the data gradient of a convolution")
                let isWrong = shape.isWrong(summing: shape.outChannels)
                return try Primitive(
                    { turn throws(KernelError) in
                        try unsafe PrimitiveDescriptor.find(
                            &operation, "find the data gradient of a convolution",
                            hint: forwardDescriptor(shape, element, how, training: true, on: engine, turn),
                            on: engine, turn
                        ) { name in !isWrong(name) }
                    },
                    Primitive.backwardDataUses,
                    outer: how.outer(DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST, shape, element), on: engine)
            }
        }
    }

    /// The gradients of the weights and the bias.
    ///
    /// Where there is one input channel the former come as `[height, width, in, out]` whatever `weights` is.
    public static func backwardWeights(
        _ shape: ConvolutionShape, element: ElementType = .float32, weights: TensorLayout? = nil,
        algorithm: ConvolutionAlgorithm? = nil, slices: Int? = nil,
        normalizing norm: FusedBatchNorm.Activation? = nil, on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        if let norm {
            return try DepthwiseConvolution.backwardWeights(
                shape, element, weights: weights, normalizing: norm)
        }
        if algorithm == nil, SingleChannelConvolution.covers(shape) {
            return try SingleChannelConvolution.backwardWeights(shape, element)
        }
        let cut = Cut(0, 1, slices ?? WinogradSlicing.backwardWeights.count(for: shape))
        return try choose(shape, element, algorithm, cut) { how, shape throws(KernelError) in
            switch how {
            case .depthwise:
                return try DepthwiseConvolution.backwardWeights(shape, element, weights: weights)
            case .tiled: return try TiledConvolution.backwardWeights(shape, element, weights: weights)
            case .direct, .winograd: break
            }
            return try engine.pass(element, weights: weights, .backwardWeights) {
                element, weights throws(KernelError) in
                var operation = dnnl_convolution_desc_t()
                var layouts = try Layouts(shape, element, how, weights: weights, weightElement: .float32)
                let geometry = ConvolutionGeometry(shape)
                try unsafe KernelError.check(
                    dnnl_dilated_convolution_backward_weights_desc_init(
                        &operation, how.kind, &layouts.source, &layouts.weight, &layouts.bias,
                        &layouts.destination, geometry.strides, geometry.dilations, geometry.padding,
                        geometry.padding),
                    "describe the weight gradient of a convolution")
                return try Primitive(
                    { turn throws(KernelError) in
                        try unsafe PrimitiveDescriptor.find(
                            &operation, "find the weight gradient of a convolution",
                            hint: forwardDescriptor(shape, element, how, training: true, on: engine, turn),
                            on: engine, turn)
                    },
                    Primitive.backwardWeightsUses,
                    outer: how.outer(DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, shape, element), on: engine)
            }
        }
    }

    /// Both gradients of a convolution that `normalizes` covers and that stands between two batch
    /// normalisations, the second pass of the one behind (after `FusedBatchNorm.backwardSums`) and the sums
    /// of the one in front (for `FusedBatchNorm.backwardInput` in `backwardSumParts`), all in one sweep.
    ///
    /// Operands: `input, coefficients of the one in front, weights, output, gradient behind the one behind,
    /// its coefficients, input gradient, weight gradient, [bias gradient], sums, scratchpad`.
    public static func backwardBetweenNorms(
        _ shape: ConvolutionShape, element: ElementType = .float32, weights: TensorLayout? = nil,
        front: FusedBatchNorm.Activation, behind: FusedBatchNorm.Activation
    ) throws(KernelError) -> any LayerKernel {
        try DepthwiseConvolution.backwardBetweenNorms(
            shape, element, weights: weights, front: front, behind: behind)
    }

    /// Parts in which `backwardBetweenNorms` leaves sums, groups of images whatever the number of threads;
    /// nil where there are too few for the threads to share them evenly.
    public static func backwardSumParts(_ shape: ConvolutionShape) -> Int? {
        shape.batch >= 2 * ThreadTeam.count ? DepthwiseConvolution.sumParts(shape) : nil
    }

    /// Makes a pass by the algorithm asked for, or by the one that the shape suggests.
    ///
    /// A suggested algorithm may not be there: for an operation fused behind it, for weights in another
    /// layout, or, Winograd's, on a processor without AVX-512. The direct one does all of it.
    private static func choose(
        _ shape: ConvolutionShape, _ element: ElementType, _ algorithm: ConvolutionAlgorithm?, _ cut: Cut,
        _ make: Maker
    ) throws(KernelError) -> any LayerKernel {
        if let algorithm { return try sliced(shape, element, algorithm, cut, make) }
        let suggested = ConvolutionAlgorithm.suggested(for: shape, element)
        if suggested != .direct, let kernel = try? sliced(shape, element, suggested, cut, make) {
            return kernel
        }
        return try make(.direct, shape)
    }

    private typealias Maker = (ConvolutionAlgorithm, ConvolutionShape) throws(KernelError) -> any LayerKernel

    /// Which operands a slice of the batch has a part of, and how many slices there are.
    private struct Cut {
        let source: Int
        let destination: Int
        let slices: Int

        init(_ source: Int, _ destination: Int, _ slices: Int) {
            (self.source, self.destination, self.slices) = (source, destination, slices)
        }
    }

    /// Makes a pass over the whole batch, or over slices of it where Winograd's scratch would be large.
    private static func sliced(
        _ shape: ConvolutionShape, _ element: ElementType, _ algorithm: ConvolutionAlgorithm, _ cut: Cut,
        _ make: Maker
    ) throws(KernelError) -> any LayerKernel {
        guard algorithm == .winograd else { return try make(algorithm, shape) }
        let count = min(cut.slices, shape.batch)
        guard count > 1 else { return try make(algorithm, shape) }
        var slices: [any LayerKernel] = []
        for index in 0..<count {
            var part = shape
            part.batch = shape.batch * (index + 1) / count - shape.batch * index / count
            slices.append(try make(algorithm, part))
        }
        let whole = [
            cut.source: try shape.sourceLayout(element),
            cut.destination: try shape.destinationLayout(element),
        ]
        return try SlicedConvolution(slices, whole: whole)
    }

    private static func forwardDescriptor(
        _ shape: ConvolutionShape, _ element: ElementType, _ how: ConvolutionAlgorithm,
        weights: TensorLayout? = nil, fusing: [PostOperation] = [], training: Bool, on engine: DNNEngine,
        _ turn: borrowing PrimitiveCache.Turn
    ) throws(KernelError) -> PrimitiveDescriptor {
        var operation = dnnl_convolution_desc_t()
        var layouts = try Layouts(shape, element, how, weights: weights, weightElement: element)
        let geometry = ConvolutionGeometry(shape)
        // For inference Winograd would keep the weights transformed, a layout that cannot be read back.
        let isTraining = training || how == .winograd
        try unsafe KernelError.check(
            dnnl_dilated_convolution_forward_desc_init(
                &operation, isTraining ? dnnl_forward_training : dnnl_forward_inference, how.kind,
                &layouts.source, &layouts.weight, &layouts.bias, &layouts.destination, geometry.strides,
                geometry.dilations, geometry.padding, geometry.padding), "describe a convolution")
        // With few input channels the batch-reduce kernel starves: 5x5 on one channel took 290 us where the
        // direct kernel took 150 (batch 64, 28x28, two threads).
        let isPointwise = shape.kernelHeight == 1 && shape.kernelWidth == 1
        let fewChannels = shape.inChannels < 4 && shape.groups == 1 && !isPointwise
        let isWrong = shape.isWrong(summing: shape.inChannels)
        return try unsafe PrimitiveDescriptor.find(
            &operation, "find a convolution", attributes: PrimitiveAttributes(fusing: fusing), on: engine,
            turn
        ) { name in
            (!fewChannels || name.hasPrefix("jit")) && !isWrong(name)
        }
    }
}

extension ConvolutionShape {
    /// Which of oneDNN's implementations must not be used for a sum over so many channels.
    ///
    /// The 1x1 kernel of oneDNN 2.6.3 is wrong in bfloat16 where they are odd in number: it multiplies them
    /// in pairs and takes the last one's partner from the next pixel.
    fileprivate func isWrong(summing channels: Int) -> (String) -> Bool {
        let isOdd = !(channels / groups).isMultiple(of: 2)
        return { name in isOdd && name.hasPrefix("jit_bf16_1x1") }
    }

    func sourceLayout(_ element: ElementType) throws(KernelError) -> TensorLayout {
        try .channelsLast(
            batch: batch, channels: inChannels, height: inHeight, width: inWidth, element: element)
    }

    func destinationLayout(_ element: ElementType) throws(KernelError) -> TensorLayout {
        try .channelsLast(
            batch: batch, channels: outChannels, height: outHeight, width: outWidth, element: element)
    }
}

/// The arrays that oneDNN takes besides the memory descriptors.
struct ConvolutionGeometry {
    let strides: [dnnl_dim_t]
    let dilations: [dnnl_dim_t]
    let padding: [dnnl_dim_t]

    init(_ shape: ConvolutionShape) {
        strides = [dnnl_dim_t(shape.strideHeight), dnnl_dim_t(shape.strideWidth)]
        // oneDNN counts the gaps between taps: 0 is a dense kernel.
        dilations = [dnnl_dim_t(shape.dilationHeight - 1), dnnl_dim_t(shape.dilationWidth - 1)]
        padding = [dnnl_dim_t(shape.paddingHeight), dnnl_dim_t(shape.paddingWidth)]
    }
}

/// The memory descriptors of a convolution's operands.
private struct Layouts {
    var source: dnnl_memory_desc_t
    var weight: dnnl_memory_desc_t
    var bias: dnnl_memory_desc_t
    var destination: dnnl_memory_desc_t

    init(
        _ shape: ConvolutionShape, _ element: ElementType, _ how: ConvolutionAlgorithm,
        weights: TensorLayout?, weightElement: ElementType
    ) throws(KernelError) {
        switch how {
        case .direct, .tiled, .depthwise:
            source = try shape.sourceLayout(element).descriptor
            destination = try shape.destinationLayout(element).descriptor
        case .winograd:
            source = try TensorLayout.any(
                [shape.batch, shape.inChannels, shape.inHeight, shape.inWidth], element: element
            ).descriptor
            destination = try TensorLayout.any(
                [shape.batch, shape.outChannels, shape.outHeight, shape.outWidth], element: element
            ).descriptor
        }
        if let weights {
            weight = weights.descriptor
        } else {
            weight = try TensorLayout.any(shape.weightExtents, element: weightElement).descriptor
        }
        bias = (shape.hasBias ? try TensorLayout.rowMajor([shape.outChannels]) : .absent).descriptor
    }
}
