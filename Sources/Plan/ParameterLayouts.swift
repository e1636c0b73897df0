internal import Graph
internal import Kernels
internal import Tensor

/// Asks the forward primitives of a plan how they would like their weights to lie.
enum ParameterLayouts {
    static func choose(
        for graph: Graph, batch: Int, training: Bool, on engine: DNNEngine
    ) throws(PlanError) -> [(TensorLayout, ImageExtents?)] {
        var layouts: [(TensorLayout, ImageExtents?)] = []
        for parameter in graph.parameters {
            let plain = try kernels { () throws(KernelError) in
                try TensorLayout.rowMajor(parameter.shape.dimensions)
            }
            layouts.append((plain, nil))
        }
        let shapes = NodeShapes(graph: graph, batch: batch)
        for node in graph.nodes {
            guard let weight = graph.parameter(.weight, of: node) else { continue }
            switch node.kind {
            case .conv2d(let conv):
                let primitive = try kernels { () throws(KernelError) in
                    try Convolution.forward(shapes.convolution(conv, node), training: training, on: engine)
                }
                layouts[weight.index] = (primitive.layouts[1], nil)
            case .linear(let linear):
                let primitive = try kernels { () throws(KernelError) in
                    try InnerProduct.forward(
                        shapes.innerProduct(linear, node), training: training, on: engine)
                }
                layouts[weight.index] = (primitive.layouts[1], graph.flattenedSource(of: node.inputs[0]))
            default: break
            }
        }
        return layouts
    }
}

extension Graph {
    /// The image whose elements a flat value still holds in channels-last order; nil when the order is plain.
    func flattenedSource(of value: ValueID) -> ImageExtents? {
        guard let node = producer(of: value) else { return nil }
        switch node.kind {
        case .flatten: return ImageExtents(self[node.inputs[0]].shape)
        case .relu, .dropout: return flattenedSource(of: node.inputs[0])
        case .conv2d, .linear, .maxPool2d, .avgPool2d, .batchNorm: return nil
        }
    }
}
