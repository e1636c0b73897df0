internal import Graph
internal import Kernels
internal import Tensor

/// Asks the forward primitives of a plan how they would like their weights to lie.
enum ParameterLayouts {
    static func choose(
        for graph: Graph, batch: Int, training: Bool, on engine: DNNEngine
    ) throws(PlanError) -> [ParameterLayout] {
        var layouts: [ParameterLayout] = []
        for parameter in graph.parameters {
            let plain = try kernels { () throws(KernelError) in
                try TensorLayout.rowMajor(parameter.shape.dimensions)
            }
            layouts.append(ParameterLayout(stored: plain, plain: plain))
        }
        let shapes = NodeShapes(graph: graph, batch: batch)
        for node in graph.nodes {
            guard let weight = graph.parameter(.weight, of: node) else { continue }
            let primitive = try kernels { () throws(KernelError) in
                try shapes.forward(node, weights: nil, relu: false, training: training, on: engine)
            }
            layouts[weight.index].stored = primitive.layouts[1]
            if case .convolution(let window) = node.operation {
                layouts[weight.index].plain = try kernels { () throws(KernelError) in
                    try .rowMajor(shapes.convolution(window, node).weightExtents)
                }
            }
            if case .flattened(let image) = graph[node.inputs[0]].order {
                layouts[weight.index].flattened = ImageExtents(image)
            }
        }
        return layouts
    }
}
