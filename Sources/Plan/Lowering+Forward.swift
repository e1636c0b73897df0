internal import Graph
internal import Kernels
internal import Tensor

/// The forward pass: one operation after the other.
extension Lowering {
    /// Places the batch; pixels are brought into the plan's element type first.
    mutating func lowerInput() throws(PlanError) {
        let bytes = count(graph.input) * MemoryLayout<Float>.stride
        let given = addBuffer("input", bytes: bytes, home: .external(.input))
        guard graph[graph.input].element == .real, options.precision != .float32 else {
            return place(graph.input, in: given)
        }
        let cast = try kernels { () throws(KernelError) in
            let layout = try TensorLayout.rowMajor([count(graph.input)])
            return try Reorder.prepare(from: layout, to: layout.storing(options.precision), on: engine)
        }
        let stored = addBuffer("input as \(options.precision.rawValue)", like: graph.input)
        emit("input to \(options.precision.rawValue)", cast, [given, stored])
        place(graph.input, in: stored)
    }

    /// Lowers one node's forward pass.
    mutating func forward(_ id: Graph.NodeID) throws(PlanError) {
        current = id
        guard !absorbed.contains(id) else { return }
        let node = graph[id]
        if try forwardInBytes(node) { return }
        defer { placePooledActivation() }
        switch node.operation {
        case .convolution, .linear, .transposedConvolution: try forwardWeighted(node)
        case .activation(let kind): forwardActivation(node, kind)
        case .dropout(let probability): forwardDropout(node, probability)
        case .pooling(let pool): try forwardPooling(node, pool)
        case .adaptiveAveragePooling: forwardAdaptivePooling(node)
        case .batchNorm(let norm): forwardBatchNorm(node, norm)
        case .layerNorm(let epsilon): forwardRowNorm(node, .layer, epsilon: epsilon)
        case .rmsNorm(let epsilon): forwardRowNorm(node, .rms, epsilon: epsilon)
        case .groupNorm(let groups, let epsilon): forwardGroupNorm(node, groups: groups, epsilon: epsilon)
        case .view: place(node.output, in: activation(node.inputs[0]))
        case .permute(let axes): try forwardPermute(node, axes)
        case .scale(let factor): forwardScale(node, factor)
        case .add: forwardAdd(node)
        case .multiply: forwardMultiply(node)
        case .softmax: forwardSoftmax(node)
        case .concat(let isInner): forwardConcat(node, isInner: isInner)
        case .mean: forwardMean(node)
        case .embedding: forwardEmbedding(node)
        case .lengths(let padding): forwardLengths(node, padding: padding)
        case .positions: forwardPositions(node)
        case .prependToken: forwardPrependToken(node)
        case .selectToken(let index): forwardSelectToken(node, index)
        case .rotary(let heads, let base): try forwardRotary(node, heads: heads, base: base)
        case .attention(let attention): forwardAttention(node, attention)
        }
    }
}
