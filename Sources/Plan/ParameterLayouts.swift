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

    /// Plans of fewer samples may have layouts of their own: from here on convolutions run by tiles.
    static let samplesMin = 8

    /// Adds the layouts that plans of few samples would like better, as far as the options let weights lie
    /// twice.
    ///
    /// Weights that a plan makes something else of need none: those without zeros, in bytes or in bfloat16,
    /// and those in front of a batch normalisation, which are folded in the plan's own layout.
    static func addOthers(
        to layouts: inout [ParameterLayout], for graph: Graph, batches: [Int], _ options: LoweringOptions,
        on engine: DNNEngine
    ) throws(PlanError) {
        guard options.precision == .float32 else { return }
        let absent = options.quantized?.absent ?? []
        var left = options.layoutByteCountMax
        for batch in Set(batches).sorted() where batch < samplesMin {
            let shapes = NodeShapes(graph: graph, batch: batch, element: options.precision)
            for node in graph.nodes {
                guard let weight = graph.parameter(.weight, of: node), !absent.contains(weight),
                    options.sparse[weight]?[batch: batch] == nil, !isFolded(node, graph),
                    !layouts[weight.index].others.contains(where: { $0.batches.contains(batch) })
                else { continue }
                let layout = try kernels { () throws(KernelError) in
                    try shapes.forward(node, weights: nil, fusing: [], training: false, on: engine).layouts[1]
                }
                guard layout.element == .float32, layout != layouts[weight.index].stored else { continue }
                let known = layouts[weight.index].others.firstIndex { $0.layout == layout }
                if let known {
                    layouts[weight.index].others[known].batches.insert(batch)
                } else if layout.byteCount <= left {
                    left -= layout.byteCount
                    layouts[weight.index].others.append((layout, [batch]))
                }
            }
        }
    }

    private static func isFolded(_ node: Graph.Node, _ graph: Graph) -> Bool {
        graph.consumers(of: node.output).contains { id in
            if case .batchNorm = graph[id].operation { true } else { false }
        }
    }
}
