internal import Graph
internal import Kernels
internal import Tensor

/// Normalisation of rows and of groups.
extension Lowering {
    mutating func forwardRowNorm(_ node: Graph.Node, _ kind: RowNorm.Kind, epsilon: Double) {
        let norm = rowNorm(node, kind, epsilon)
        let input = activation(node.inputs[0])
        let statistics = addBuffer("\(node.name) statistics")
        saved[current] = [statistics]
        let operands =
            [input] + node.parameters.map { parameterBuffer($0) } + [addOutput(of: node), statistics]
        emit("\(node.name) forward", norm.forward(), operands)
    }

    mutating func backwardRowNorm(
        _ node: Graph.Node, _ kind: RowNorm.Kind, epsilon: Double, _ gradient: BufferID
    ) throws(PlanError) -> BufferID {
        let norm = rowNorm(node, kind, epsilon)
        var operands = [activation(node.inputs[0])] + (saved[current] ?? [])
        if let scale = graph.parameter(.scale, of: node) { operands.append(parameterBuffer(scale)) }
        let result = replacing(gradient, node)
        operands += [gradient, result]
        let gradients = node.parameters.map { addBuffer("\(graph[$0].name) gradient") }
        operands += gradients
        if !gradients.isEmpty { operands.append(addBuffer("\(node.name) scratch")) }
        emit("\(node.name) backward", norm.backward(), operands)
        for (parameter, gradient) in zip(node.parameters, gradients) {
            try finish(parameter, gradient, store[parameter].layout)
        }
        return result
    }

    private func rowNorm(_ node: Graph.Node, _ kind: RowNorm.Kind, _ epsilon: Double) -> RowNorm {
        let value = graph[node.output]
        var norm = RowNorm(
            kind, rows: batch * value.positions, width: value.channels, epsilon: Float(epsilon))
        norm.affine = [.none, .scale, .scaleAndShift][min(node.parameters.count, 2)]
        norm.type = element(node.output)
        return norm
    }

    mutating func forwardGroupNorm(_ node: Graph.Node, groups: Int, epsilon: Double) {
        let norm = groupNorm(node, groups, epsilon)
        let input = activation(node.inputs[0])
        let statistics = addBuffer("\(node.name) statistics")
        saved[current] = [statistics]
        let operands =
            [input] + node.parameters.map { parameterBuffer($0) }
            + [addOutput(of: node), statistics, addBuffer("\(node.name) scratch")]
        emit("\(node.name) forward", norm.forward(), operands)
    }

    mutating func backwardGroupNorm(
        _ node: Graph.Node, groups: Int, epsilon: Double, _ gradient: BufferID
    ) throws(PlanError) -> BufferID {
        let norm = groupNorm(node, groups, epsilon)
        var operands = [activation(node.inputs[0])] + (saved[current] ?? [])
        if let scale = graph.parameter(.scale, of: node) { operands.append(parameterBuffer(scale)) }
        let result = replacing(gradient, node)
        operands += [gradient, result]
        let gradients = node.parameters.map { addBuffer("\(graph[$0].name) gradient") }
        operands += gradients + [addBuffer("\(node.name) scratch")]
        emit("\(node.name) backward", norm.backward(), operands)
        for (parameter, gradient) in zip(node.parameters, gradients) {
            try finish(parameter, gradient, store[parameter].layout)
        }
        return result
    }

    private func groupNorm(_ node: Graph.Node, _ groups: Int, _ epsilon: Double) -> GroupNorm {
        let value = graph[node.output]
        var norm = GroupNorm(
            batch: batch, area: value.positions, channels: value.channels, groups: groups,
            epsilon: Float(epsilon))
        norm.isAffine = !node.parameters.isEmpty
        norm.type = element(node.output)
        return norm
    }
}
