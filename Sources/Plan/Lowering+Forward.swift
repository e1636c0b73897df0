internal import Graph
internal import Kernels
internal import Tensor

/// The forward pass: one operation after the other.
extension Lowering {
    /// Places the batch.
    mutating func lowerInput() throws(PlanError) {
        let bytes = count(graph.input) * MemoryLayout<Float>.stride
        place(graph.input, in: addBuffer("input", bytes: bytes, home: .external(.input)))
    }

    /// Lowers one node's forward pass.
    mutating func forward(_ id: Graph.NodeID) throws(PlanError) {
        current = id
        guard !absorbed.contains(id) else { return }
        let node = graph[id]
        switch node.operation {
        case .convolution, .linear, .transposedConvolution: try forwardWeighted(node)
        case .activation(let kind): forwardActivation(node, kind)
        case .dropout(let probability): forwardDropout(node, probability)
        case .pooling(let pool): try forwardPooling(node, pool)
        case .batchNorm(let norm): try forwardBatchNorm(node, norm)
        case .view: place(node.output, in: activation(node.inputs[0]))
        case .permute(let axes): try forwardPermute(node, axes)
        case .add: forwardAdd(node)
        default: preconditionFailure("\(node.name)")
        }
    }
}
