internal import Graph
internal import JSON
internal import Kernels
internal import Tensor

/// The extents that the kernels of a node take, for one batch size.
struct NodeShapes {
    let graph: Graph
    let batch: Int
    /// What activations are stored as.
    let element: ElementType

    /// An image, or a signal as an image of one row.
    func image(_ value: Graph.ValueID) -> (channels: Int, height: Int, width: Int) {
        let shape = graph[value].shape
        return shape.rank == 3 ? (shape[0], shape[1], shape[2]) : (shape[0], 1, shape[1])
    }

    func convolution(
        _ window: Operation.Window, _ node: Graph.Node, addingBias: Bool = false
    ) -> ConvolutionShape {
        let input = image(node.inputs[0])
        var shape = ConvolutionShape(
            batch: batch, inChannels: input.channels, inHeight: input.height, inWidth: input.width,
            outChannels: image(node.output).channels, kernelHeight: window.kernelSize.first,
            kernelWidth: window.kernelSize.second)
        (shape.strideHeight, shape.strideWidth) = (window.stride.first, window.stride.second)
        (shape.paddingHeight, shape.paddingWidth) = (window.padding.first, window.padding.second)
        (shape.dilationHeight, shape.dilationWidth) = (window.dilation.first, window.dilation.second)
        shape.groups = window.groups
        shape.hasBias = window.bias || addingBias
        return shape
    }

    func transposed(_ window: Operation.Window, _ node: Graph.Node) -> TransposedConvolutionShape {
        TransposedConvolutionShape(
            convolution(window, node), outputPaddingHeight: window.outputPadding.first,
            outputPaddingWidth: window.outputPadding.second)
    }

    func adaptivePooling(_ node: Graph.Node) -> AdaptivePoolingShape {
        let (input, output) = (image(node.inputs[0]), image(node.output))
        return AdaptivePoolingShape(
            batch: batch, channels: input.channels, inHeight: input.height, inWidth: input.width,
            outHeight: output.height, outWidth: output.width)
    }

    func innerProduct(hasBias: Bool, _ node: Graph.Node) -> InnerProductShape {
        let input = graph[node.inputs[0]]
        return InnerProductShape(
            batch: batch * input.positions, inputs: input.channels, outputs: graph[node.output].channels,
            hasBias: hasBias)
    }

    func pooling(_ pool: Operation.Pooling, _ node: Graph.Node) -> PoolingShape {
        let input = image(node.inputs[0])
        var shape = PoolingShape(
            batch: batch, channels: input.channels, inHeight: input.height, inWidth: input.width,
            kernelHeight: pool.kernelSize.first, kernelWidth: pool.kernelSize.second,
            strideHeight: pool.stride.first, strideWidth: pool.stride.second)
        (shape.paddingHeight, shape.paddingWidth) = (pool.padding.first, pool.padding.second)
        return shape
    }

    /// Of attention, or of a rotation before it, over a fused projection.
    func attention(_ attention: Operation.Attention, _ node: Graph.Node) -> AttentionShape {
        let input = graph[node.inputs[0]]
        var shape = AttentionShape(
            batch: batch, heads: attention.heads, tokens: input.positions,
            headWidth: input.channels / 3 / attention.heads, isCausal: attention.isCausal)
        shape.isPadded = node.inputs.count > 1
        return shape
    }

    func batchNormalization(_ norm: Operation.BatchNorm, _ node: Graph.Node) -> BatchNormalizationShape {
        let input = graph[node.inputs[0]]
        return BatchNormalizationShape(
            batch: batch, channels: input.channels, height: 1, width: input.positions,
            epsilon: Float(norm.epsilon))
    }
}

/// The primitives of convolutions and products.
extension NodeShapes {
    func forward(
        _ node: Graph.Node, weights: TensorLayout?, fusing: [PostOperation],
        activation: LayerActivation? = nil, training: Bool,
        normalizing norm: FusedBatchNorm.Activation? = nil, addingBias: Bool = false, on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        switch node.operation {
        case .convolution(let window) where window.isPointwise:
            try InnerProduct.forward(
                innerProduct(hasBias: window.bias || addingBias, node), element: element, weights: weights,
                fusing: fusing, activation: activation, training: training, on: engine)
        case .convolution(let window):
            try Convolution.forward(
                convolution(window, node, addingBias: addingBias), element: element, weights: weights,
                fusing: fusing, activation: activation, training: training, normalizing: norm, on: engine)
        case .linear(let bias):
            try InnerProduct.forward(
                innerProduct(hasBias: bias || addingBias, node), element: element, weights: weights,
                fusing: fusing, activation: activation, training: training, on: engine)
        case .transposedConvolution(let window):
            try TransposedConvolution.forward(
                transposed(window, node), element: element, weights: weights, activation: activation,
                training: training, on: engine)
        default: preconditionFailure("\(node.name) has no weights")
        }
    }

    /// Whether the forward pass can add what lies at its destination as it goes.
    func addsToDestination(_ node: Graph.Node) -> Bool {
        switch node.operation {
        case .linear: true
        case .convolution(let window):
            window.isPointwise || Convolution.addsToDestination(convolution(window, node), element)
        default: false
        }
    }

    /// Whether an operation can run inside the forward pass at no cost of a better algorithm.
    func fuses(_ operation: PostOperation, _ node: Graph.Node) -> Bool {
        if node.operation.isTransposed { return false }
        guard case .convolution(let window) = node.operation, !window.isPointwise else { return true }
        return Convolution.fuses(operation, convolution(window, node), element)
    }

    func backwardData(
        _ node: Graph.Node, weights: TensorLayout?, on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        switch node.operation {
        case .convolution(let window) where window.isPointwise:
            try InnerProduct.backwardData(
                innerProduct(hasBias: window.bias, node), element: element, weights: weights, on: engine)
        case .convolution(let window):
            try Convolution.backwardData(
                convolution(window, node), element: element, weights: weights, on: engine)
        case .linear(let bias):
            try InnerProduct.backwardData(
                innerProduct(hasBias: bias, node), element: element, weights: weights, on: engine)
        case .transposedConvolution(let window):
            try TransposedConvolution.backwardData(
                transposed(window, node), element: element, weights: weights, on: engine)
        default: preconditionFailure("\(node.name) has no weights")
        }
    }

    func backwardWeights(
        _ node: Graph.Node, weights: TensorLayout?, normalizing norm: FusedBatchNorm.Activation? = nil,
        on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        switch node.operation {
        case .convolution(let window) where window.isPointwise:
            try InnerProduct.backwardWeights(
                innerProduct(hasBias: window.bias, node), element: element, weights: weights, on: engine)
        case .convolution(let window):
            try Convolution.backwardWeights(
                convolution(window, node), element: element, weights: weights, normalizing: norm, on: engine)
        case .linear(let bias):
            try InnerProduct.backwardWeights(
                innerProduct(hasBias: bias, node), element: element, weights: weights, on: engine)
        case .transposedConvolution(let window):
            try TransposedConvolution.backwardWeights(
                transposed(window, node), element: element, weights: weights, on: engine)
        default: preconditionFailure("\(node.name) has no weights")
        }
    }

    /// The layouts between which a permutation moves elements, in the input's logical axes.
    func permutation(
        _ node: Graph.Node, _ axes: [Int]
    ) throws(PlanError) -> (from: TensorLayout, to: TensorLayout) {
        let (input, output) = (graph[node.inputs[0]], graph[node.output])
        return try kernels { () throws(KernelError) in
            if case .flattened(let image) = input.order, let extents = ImageExtents(image) {
                return (
                    try extents.channelsLast(batch).storing(element),
                    try extents.channelsFirst(batch).storing(element)
                )
            }
            let extents = [batch] + input.shape.dimensions
            // Strides of the output's axes, told for the input's.
            let target = strides(output)
            var moved = [Int](repeating: 0, count: axes.count)
            for (axis, source) in axes.enumerated() { moved[source] = target[axis] }
            let sample = input.shape.elementCount
            return (
                try TensorLayout.strided(extents, [sample] + strides(input)).storing(element),
                try TensorLayout.strided(extents, [sample] + moved).storing(element)
            )
        }
    }

    /// Elements between neighbours along each logical axis.
    private func strides(_ value: Graph.Value) -> [Int] {
        let extents = value.shape.dimensions
        let physical = value.order == .channelsLast ? Array(extents.dropFirst()) + [extents[0]] : extents
        var strides = [Int](repeating: 1, count: physical.count)
        for axis in physical.indices.dropLast().reversed() {
            strides[axis] = strides[axis + 1] * physical[axis + 1]
        }
        guard value.order == .channelsLast, let innermost = strides.last else { return strides }
        return [innermost] + strides.dropLast()
    }
}

extension Operation.Window {
    /// Whether it is a product over all pixels: with channels last the same bytes in the same order.
    ///
    /// oneDNN's 1x1 convolutions in bfloat16 gave wrong data gradients for odd numbers of channels, its
    /// products are right.
    var isPointwise: Bool {
        kernelSize == Pair(1, 1) && stride == Pair(1, 1) && padding == Pair(0, 0) && groups == 1
    }
}
