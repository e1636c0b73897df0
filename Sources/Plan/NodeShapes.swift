internal import Graph
internal import JSON
internal import Kernels
internal import Tensor

/// The extents that the kernels of a node take, for one batch size.
struct NodeShapes {
    let graph: Graph
    let batch: Int

    func convolution(_ conv: LayerKind.Conv2d, _ node: Graph.Node) -> ConvolutionShape {
        let input = graph[node.inputs[0]].shape
        var shape = ConvolutionShape(
            batch: batch, inChannels: input[0], inHeight: input[1], inWidth: input[2],
            outChannels: conv.outChannels, kernelHeight: conv.kernelSize.first,
            kernelWidth: conv.kernelSize.second)
        (shape.strideHeight, shape.strideWidth) = (conv.stride.first, conv.stride.second)
        (shape.paddingHeight, shape.paddingWidth) = (conv.padding.first, conv.padding.second)
        (shape.dilationHeight, shape.dilationWidth) = (conv.dilation.first, conv.dilation.second)
        shape.groups = conv.groups
        shape.hasBias = conv.bias
        return shape
    }

    func innerProduct(_ linear: LayerKind.Linear, _ node: Graph.Node) -> InnerProductShape {
        InnerProductShape(
            batch: batch, inputs: graph[node.inputs[0]].shape[0], outputs: linear.outFeatures,
            hasBias: linear.bias)
    }

    func pooling(_ pool: LayerKind.Pool2d, _ node: Graph.Node) -> PoolingShape {
        let input = graph[node.inputs[0]].shape
        var shape = PoolingShape(
            batch: batch, channels: input[0], inHeight: input[1], inWidth: input[2],
            kernelHeight: pool.kernelSize.first, kernelWidth: pool.kernelSize.second,
            strideHeight: pool.stride.first, strideWidth: pool.stride.second)
        (shape.paddingHeight, shape.paddingWidth) = (pool.padding.first, pool.padding.second)
        return shape
    }

    func batchNormalization(_ norm: LayerKind.BatchNorm, _ node: Graph.Node) -> BatchNormalizationShape {
        let input = graph[node.inputs[0]].shape
        let isImage = input.rank == 3
        return BatchNormalizationShape(
            batch: batch, channels: input[0], height: isImage ? input[1] : 1, width: isImage ? input[2] : 1,
            epsilon: Float(norm.epsilon))
    }
}

extension LayerKind {
    /// The kind of a pooling layer.
    var poolingKind: PoolingKind {
        if case .avgPool2d(let pool) = self { return .average(countsPadding: pool.countIncludePad) }
        return .maximum
    }
}
