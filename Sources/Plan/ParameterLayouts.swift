internal import Graph
internal import Kernels
internal import Tensor

/// Asks the forward primitives of a plan how they would like their weights to lie.
enum ParameterLayouts {
    static func choose(
        for graph: Graph, batch: Int, training: Bool, precision: ElementType, on engine: DNNEngine
    ) throws(PlanError) -> [ParameterLayout] {
        var layouts: [ParameterLayout] = []
        for parameter in graph.parameters {
            let plain = try kernels { () throws(KernelError) in
                try TensorLayout.rowMajor(parameter.shape.dimensions)
            }
            layouts.append(ParameterLayout(stored: plain, plain: plain))
        }
        let shapes = NodeShapes(graph: graph, batch: batch, element: precision)
        for node in graph.nodes {
            guard let weight = graph.parameter(.weight, of: node) else { continue }
            let primitive = try kernels { () throws(KernelError) in
                try shapes.forward(node, weights: nil, fusing: [], training: training, on: engine)
            }
            switch node.operation {
            case .convolution(let window) where window.isPointwise:
                layouts[weight.index].plain = try kernels { () throws(KernelError) in
                    try .rowMajor(Array(graph[weight].shape.dimensions.prefix(2)))
                }
            case .convolution(let window):
                layouts[weight.index].plain = try kernels { () throws(KernelError) in
                    try .rowMajor(shapes.convolution(window, node).weightExtents)
                }
            case .transposedConvolution(let window):
                layouts[weight.index].plain = try kernels { () throws(KernelError) in
                    try TransposedConvolution.plainWeights(shapes.transposed(window, node))
                }
            default: break
            }
            // Of bfloat16 every pass has a copy of its own, in its own layout.
            let plain = layouts[weight.index].plain
            layouts[weight.index].stored = precision == .float32 ? primitive.layouts[1] : plain
            if case .flattened(let image) = graph[node.inputs[0]].order {
                layouts[weight.index].flattened = ImageExtents(image)
            }
        }
        return layouts
    }
}
