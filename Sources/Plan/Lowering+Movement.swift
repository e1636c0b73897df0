internal import Graph
internal import Kernels
internal import Tensor

/// Elements that change their places.
extension Lowering {
    mutating func forwardPermute(_ node: Graph.Node, _ axes: [Int]) throws(PlanError) {
        let (from, to) = try shapes.permutation(node, axes)
        let reorder = try kernels { () throws(KernelError) in
            try Reorder.prepare(from: from, to: to, on: engine)
        }
        let input = activation(node.inputs[0])
        emit("\(node.name) forward", reorder, [input, addOutput(of: node)])
    }

    mutating func backwardPermute(
        _ node: Graph.Node, _ axes: [Int], _ gradient: BufferID
    ) throws(PlanError) -> BufferID {
        let (from, to) = try shapes.permutation(node, axes)
        let reorder = try kernels { () throws(KernelError) in
            try Reorder.prepare(from: to, to: from, on: engine)
        }
        let result = addBuffer("\(node.name) input gradient", like: node.inputs[0])
        emit("\(node.name) backward", reorder, [gradient, result])
        return result
    }
}
