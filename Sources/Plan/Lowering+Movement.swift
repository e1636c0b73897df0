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

    mutating func forwardConcat(_ node: Graph.Node, isInner: Bool) {
        let inputs = node.inputs.map { activation($0) }
        let output = addOutput(of: node)
        for (part, input) in zip(parts(node, isInner), inputs) {
            let kernel = Movement.insert(
                rows: part.rows, width: part.width, range: part.range, element: element(node.output))
            emit("\(node.name) forward", kernel, [input, output])
        }
    }

    mutating func backwardConcat(
        _ node: Graph.Node, isInner: Bool, _ gradient: BufferID, needs: [Bool]
    ) -> [BufferID?] {
        var results: [BufferID?] = []
        for (index, part) in parts(node, isInner).enumerated() {
            guard needs[index] else {
                results.append(nil)
                continue
            }
            let kernel = Movement.slice(
                rows: part.rows, width: part.width, range: part.range, element: element(node.output))
            let result = addBuffer("\(node.name) input gradient", like: node.inputs[index])
            emit("\(node.name) backward", kernel, [gradient, result])
            results.append(result)
        }
        return results
    }

    /// Where each input's elements lie in the output's rows.
    private func parts(
        _ node: Graph.Node, _ isInner: Bool
    ) -> [(rows: Int, width: Int, range: Range<Int>)] {
        let output = graph[node.output]
        let rows = isInner ? batch * output.positions : batch
        let width = isInner ? output.channels : output.shape.elementCount
        var begin = 0
        return node.inputs.map { input in
            let extent = isInner ? graph[input].channels : graph[input].shape.elementCount
            defer { begin += extent }
            return (rows, width, begin..<begin + extent)
        }
    }

    mutating func forwardMean(_ node: Graph.Node) {
        let input = graph[node.inputs[0]]
        let kernel = Broadcast.areaMean(
            batch: batch, area: input.positions, channels: input.channels, element: element(node.output),
            isPadded: node.inputs.count > 1)
        let source = activation(node.inputs[0])
        emit("\(node.name) forward", kernel, [source, addOutput(of: node)] + lengths(node))
    }

    mutating func backwardMean(_ node: Graph.Node, _ gradient: BufferID) -> BufferID {
        let input = graph[node.inputs[0]]
        let kernel = Broadcast.areaMeanBackward(
            batch: batch, area: input.positions, channels: input.channels, element: element(node.output),
            isPadded: node.inputs.count > 1)
        let result = addBuffer("\(node.name) input gradient", like: node.inputs[0])
        emit("\(node.name) backward", kernel, [gradient, result] + lengths(node))
        return result
    }
}
