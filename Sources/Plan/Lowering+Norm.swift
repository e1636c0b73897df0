internal import Graph
internal import Kernels
internal import Tensor

/// Normalisation of rows and of groups.
extension Lowering {
    mutating func forwardRowNorm(_ node: Graph.Node, _ kind: RowNorm.Kind, epsilon: Double) {
        var norm = rowNorm(node, kind, epsilon)
        let behind = activationBehindNorm(current)
        norm.activation = normActivations[current]
        let input = activation(node.inputs[0])
        let statistics = addBuffer("\(node.name) statistics")
        saved[current] = [statistics]
        let operands =
            [input] + node.parameters.map { parameterBuffer($0) } + [
                addOutput(of: behind ?? node), statistics,
            ]
        emit("\(label(node, behind)) forward", norm.forward(), operands)
    }

    /// The activation that alone reads what a normalisation yields, and then runs inside it.
    ///
    /// Segments do not part them.
    private mutating func activationBehindNorm(_ id: Graph.NodeID) -> Graph.Node? {
        guard options.fuses, let reader = soleReader(of: graph[id].output),
            case .activation(let kind) = graph[reader].operation
        else { return nil }
        normActivations[id] = kind.kernelKind
        normOwners[reader] = id
        absorbed.insert(reader)
        return graph[reader]
    }

    private func label(_ node: Graph.Node, _ behind: Graph.Node?) -> String {
        [node.name, behind?.name].compactMap(\.self).joined(separator: " + ")
    }

    /// A normalisation of rows that reads a sum and can run with it.
    ///
    /// Not across a segment's end: what is behind it is computed again without the sum.
    func normBehind(_ sum: Graph.Node) -> Graph.NodeID? {
        guard options.fuses, let part = segments.ranges.first(where: { $0.contains(current.index) }) else {
            return nil
        }
        return graph.consumers(of: sum.output).first { id in
            switch graph[id].operation {
            case .layerNorm, .rmsNorm: part.contains(id.index)
            default: false
            }
        }
    }

    /// Adds and normalises in one pass; the sum is kept for its other readers and the backward pass.
    mutating func forwardSummedNorm(
        _ id: Graph.NodeID, of sum: Graph.Node, _ left: BufferID, _ right: BufferID, _ total: BufferID
    ) {
        let node = graph[id]
        guard var norm = rowNorm(node) else { return }
        norm.addsResidual = true
        let behind = activationBehindNorm(id)
        norm.activation = normActivations[id]
        let statistics = addBuffer("\(node.name) statistics")
        saved[id] = [statistics]
        absorbed.insert(id)
        let operands =
            [left, right, total] + node.parameters.map { parameterBuffer($0) }
            + [addOutput(of: behind ?? node), statistics]
        emit("\(sum.name) + \(label(node, behind)) forward", norm.forward(), operands)
    }

    /// Whether a node normalises rows, and so can add another gradient to its own.
    func normalisesRows(_ node: Graph.Node) -> Bool { rowNorm(node) != nil }

    private func rowNorm(_ node: Graph.Node) -> RowNorm? {
        switch node.operation {
        case .layerNorm(let epsilon): rowNorm(node, .layer, epsilon)
        case .rmsNorm(let epsilon): rowNorm(node, .rms, epsilon)
        default: nil
        }
    }

    /// With an `addend`, another gradient of what was normalised, the result is the sum of both.
    mutating func backwardRowNorm(
        _ node: Graph.Node, _ kind: RowNorm.Kind, epsilon: Double, _ gradient: BufferID,
        adding addend: BufferID?
    ) throws(PlanError) -> BufferID {
        var norm = rowNorm(node, kind, epsilon)
        norm.addsResidual = addend != nil
        norm.activation = normActivations[current]
        var operands = [activation(node.inputs[0])] + (saved[current] ?? []) + affine(node)
        let result = replacing(gradient, node)
        operands += [gradient] + (addend.map { [$0] } ?? []) + [result]
        let gradients = node.parameters.map { addBuffer("\(graph[$0].name) gradient") }
        operands += gradients
        if !gradients.isEmpty || norm.activation != nil {
            operands.append(addBuffer("\(node.name) scratch"))
        }
        emit("\(node.name) backward", norm.backward(), operands)
        for (parameter, gradient) in zip(node.parameters, gradients) {
            try finish(parameter, gradient, store[parameter].layout)
        }
        return result
    }

    /// The parameters that a backward pass reads: the scale, and the shift where an activation's input is
    /// made again.
    private mutating func affine(_ node: Graph.Node) -> [BufferID] {
        let roles: [Graph.Parameter.Role] = normActivations[current] == nil ? [.scale] : [.scale, .shift]
        return roles.compactMap { graph.parameter($0, of: node) }.map { parameterBuffer($0) }
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
        var norm = groupNorm(node, groups, epsilon)
        let behind = activationBehindNorm(current)
        norm.activation = normActivations[current]
        let input = activation(node.inputs[0])
        let statistics = addBuffer("\(node.name) statistics")
        saved[current] = [statistics]
        let operands =
            [input] + node.parameters.map { parameterBuffer($0) }
            + [addOutput(of: behind ?? node), statistics, addBuffer("\(node.name) scratch")]
        emit("\(label(node, behind)) forward", norm.forward(), operands)
    }

    mutating func backwardGroupNorm(
        _ node: Graph.Node, groups: Int, epsilon: Double, _ gradient: BufferID
    ) throws(PlanError) -> BufferID {
        var norm = groupNorm(node, groups, epsilon)
        norm.activation = normActivations[current]
        var operands = [activation(node.inputs[0])] + (saved[current] ?? []) + affine(node)
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
