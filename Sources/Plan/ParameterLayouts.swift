internal import Graph
internal import Kernels
internal import Tensor

/// Asks the forward primitives of a plan how they would like their weights to lie.
enum ParameterLayouts {
    static func choose(
        for graph: Graph, batch: Int, training: Bool, precision: ElementType,
        leavingOut absent: Set<Graph.ParameterID> = [], on engine: DNNEngine
    ) throws(PlanError) -> [ParameterLayout] {
        var layouts: [ParameterLayout] = []
        for parameter in graph.parameters {
            let plain = try kernels { () throws(KernelError) in
                try TensorLayout.rowMajor(parameter.shape.dimensions)
            }
            layouts.append(ParameterLayout(stored: plain, plain: plain))
        }
        let shapes = NodeShapes(graph: graph, batch: batch, element: precision)
        for node in graph.nodes + graph.features.compactMap(\.adapter) {
            guard let weight = graph.parameter(.weight, of: node), !absent.contains(weight) else { continue }
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
            if primitive.layouts[1].element == .float32 {
                // Also where activations are bfloat16: our own kernels read the parameter itself.
                layouts[weight.index].stored = primitive.layouts[1]
            } else if case .linear = node.operation,
                shapes.innerProduct(hasBias: false, node).batch <= LinearGradient.rowsMax,
                let master = WeightCopy.master(of: primitive.layouts[1])
            {
                layouts[weight.index].stored = master
                layouts[weight.index].copy = primitive.layouts[1]
            } else {
                // Every pass has a copy of its own, in its own layout.
                layouts[weight.index].stored = layouts[weight.index].plain
                layouts[weight.index].copy = nil
            }
            if case .flattened(let image) = graph[node.inputs[0]].order {
                layouts[weight.index].flattened = ImageExtents(image)
            }
        }
        return layouts
    }
}
