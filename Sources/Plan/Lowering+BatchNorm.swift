internal import Graph
internal import Kernels
internal import Tensor

/// A batch normalisation and what runs in the same pass.
struct NormFusion {
    var kernel: FusedBatchNorm
    /// The addition behind it, and what that adds.
    var addition: (node: Graph.NodeID, residual: Graph.ValueID)?
    var activation: Graph.NodeID?
    /// What comes out of all of it.
    var output: Graph.ValueID
    /// Where the backward pass puts the residual's gradient.
    var residualGradient: BufferID?
}

/// Batch normalisation, with the residual and the activation behind it.
extension Lowering {
    mutating func forwardBatchNorm(_ node: Graph.Node, _ norm: Operation.BatchNorm) {
        let fusion = fusion(behind: node, norm)
        let input = activation(node.inputs[0])
        let parameters = node.parameters.map { parameterBuffer($0) }
        let residual = fusion.addition.map { [activation($0.residual)] } ?? []
        absorbed.formUnion([fusion.addition?.node, fusion.activation].compactMap(\.self))
        let place = fusion.addition.flatMap { inPlace(node, $0.residual) }
        let output = place ?? addBuffer("\(node.name) output", like: fusion.output)
        self.place(fusion.output, in: output)
        var label = node.name
        if let addition = fusion.addition { label += " + \(graph[addition.node].name)" }
        if let activation = fusion.activation { label += " + \(graph[activation].name)" }
        if mode.isTraining {
            let statistics = addBuffer("\(node.name) statistics", floats: fusion.kernel.savedCount)
            saved[current] = [statistics]
            // Repeated or only looked at, the pass must leave the running statistics as they are.
            let moves = mode.learns && !isRecomputing
            let operands =
                [input, parameters[0], parameters[1]] + residual
                + [output, statistics, parameters[2], parameters[3], addBuffer("\(node.name) scratch")]
            let kernel = fusion.kernel.training(momentum: moves ? Float(norm.momentum) : 0)
            emit("\(label) forward", kernel, operands)
        } else {
            let operands =
                [input, parameters[0], parameters[1]] + residual + [output, parameters[2], parameters[3]]
            emit("\(label) forward", fusion.kernel.inference(), operands)
        }
        normFusions[current] = fusion
        for id in [fusion.addition?.node, fusion.activation].compactMap(\.self) { normOwners[id] = current }
    }

    /// What behind a batch normalisation can run in its pass.
    private func fusion(behind node: Graph.Node, _ norm: Operation.BatchNorm) -> NormFusion {
        let value = graph[node.output]
        var kernel = FusedBatchNorm(
            rows: batch * value.positions, channels: value.channels, epsilon: Float(norm.epsilon))
        kernel.type = element(node.output)
        var fusion = NormFusion(kernel: kernel, output: node.output)
        guard options.fuses else { return fusion }
        if let next = soleReader(of: fusion.output), graph[next].operation == .add,
            next.index == current.index + 1,
            let residual = graph[next].inputs.first(where: { $0 != node.output }),
            activations[residual] != nil
        {
            fusion.kernel.addsResidual = true
            fusion.addition = (next, residual)
            fusion.output = graph[next].output
        }
        if let next = soleReader(of: fusion.output) {
            switch graph[next].operation {
            case .activation(.relu): fusion.kernel.activation = .relu
            case .activation(.relu6): fusion.kernel.activation = .relu6
            default: return fusion
            }
            fusion.activation = next
            fusion.output = graph[next].output
        }
        return fusion
    }

    /// The backward pass of a node that ran inside a batch normalisation: hands the gradient on to it.
    mutating func backwardAbsorbed(
        _ node: Graph.Node, by owner: Graph.NodeID, _ gradient: BufferID, needs: [Bool]
    ) -> [BufferID?] {
        guard let addition = normFusions[owner]?.addition, addition.node == current else { return [gradient] }
        var residualGradient: BufferID? = gradient
        if normFusions[owner]?.kernel.backwardSplitsResidual == true {
            residualGradient = addBuffer("\(node.name) residual gradient", like: addition.residual)
            normFusions[owner]?.residualGradient = residualGradient
        }
        return zip(node.inputs, needs).map { input, isNeeded in
            guard isNeeded else { return nil }
            return input == addition.residual ? residualGradient : gradient
        }
    }

    mutating func backwardBatchNorm(
        _ node: Graph.Node, _ gradient: BufferID, _ needsInput: Bool
    ) throws(PlanError) -> BufferID? {
        guard let saved = saved[current], let fusion = normFusions[current],
            let scale = graph.parameter(.scale, of: node), let shift = graph.parameter(.shift, of: node)
        else { return nil }
        let result = replacing(gradient, node)
        let scaleGradient = addBuffer("\(graph[scale].name) gradient")
        let shiftGradient = addBuffer("\(graph[shift].name) gradient")
        var operands =
            [activation(node.inputs[0])] + saved + [
                parameterBuffer(scale), parameterBuffer(shift), gradient, result, scaleGradient,
                shiftGradient, addBuffer("\(node.name) backward scratch"),
            ]
        if fusion.kernel.backwardSplitsResidual, let residual = fusion.residualGradient {
            operands += [activation(fusion.output), residual]
        }
        emit("\(node.name) backward", fusion.kernel.backward(), operands)
        try finish(scale, scaleGradient, store[scale].layout)
        try finish(shift, shiftGradient, store[shift].layout)
        return needsInput ? result : nil
    }
}
