internal import Graph
internal import Kernels
internal import Tensor

/// Parts of the forward pass that are computed again in the backward pass instead of being kept.
extension Lowering {
    /// The buffers of what is computed before a node and read from it on.
    func checkpointBuffers(behind bound: Int) -> [BufferID] {
        guard segments.ranges.count > 1, bound < graph.nodes.count else { return [] }
        return graph.nodes[bound...].flatMap(\.inputs).compactMap { input in
            makers[input].flatMap { $0 < bound ? activations[input] : nil }
        }
    }

    /// Repeats the part of the forward pass that a node is in, when its backward pass is the part's first.
    mutating func recompute(for id: Graph.NodeID) throws(PlanError) {
        guard let part = segments.ranges.firstIndex(where: { $0.contains(id.index) }),
            part + 1 < segments.ranges.count, repeated.insert(part).inserted
        else { return }
        let nodes = segments.ranges[part].map { Graph.NodeID(index: $0) }
        // As if they had never run, so that the same decisions are made again.
        for node in nodes {
            absorbed.remove(node)
            activations[graph[node].output] = nil
        }
        forgetRounded(nodes)
        isRecomputing = true
        for node in nodes { try forward(node) }
        isRecomputing = false
    }
}
