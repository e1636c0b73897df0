internal import Graph
internal import Kernels
internal import Tensor

/// Convolutions and products.
extension Lowering {
    mutating func forwardWeighted(_ node: Graph.Node) throws(PlanError) {
        guard let weight = graph.weight(of: node) else { return }
        let activationNode = activationBehind(node)
        let fusing = activationNode.flatMap { graph[$0].operation.postOperation }.map { [$0] } ?? []
        let primitive = try preferringStored(weight) { layout throws(KernelError) in
            try shapes.forward(
                node, weights: layout, fusing: fusing, training: mode.isTraining, on: engine)
        }
        let weights = try weights(weight, as: primitive.layouts[1], for: "\(node.name) forward")
        let output = addOutput(of: node)
        let bias = graph.parameter(.bias, of: node).map { [parameterBuffer($0)] } ?? []
        let operands = [activation(node.inputs[0]), weights] + bias + [output]
        var label = "\(node.name) forward"
        if let activationNode {
            label = "\(node.name) + \(graph[activationNode].name) forward"
            absorbed.insert(activationNode)
            place(graph[activationNode].output, in: output)
        }
        emit(label, primitive, operands, macs: batch * node.macs)
    }

    /// The activation that alone reads the node's output, and so can run inside it.
    private func activationBehind(_ node: Graph.Node) -> Graph.NodeID? {
        guard options.fuses, !node.operation.isTransposed, let reader = soleReader(of: node.output) else {
            return nil
        }
        guard graph[reader].operation.postOperation != nil else { return nil }
        // Its derivative is taken from the output, or from nothing at all.
        let reads = graph[reader].operation.backwardReads
        return mode.isTraining && reads.contains(.input) ? nil : reader
    }

    mutating func backwardWeighted(
        _ node: Graph.Node, _ gradient: BufferID, _ needsInput: Bool
    ) throws(PlanError) -> BufferID? {
        guard let weight = graph.weight(of: node) else { return nil }
        let bias = graph.parameter(.bias, of: node)
        let isTrained = graph[weight].isTrained || bias.map { graph[$0].isTrained } == true
        // Behind the weight gradient nobody needs the input, whose gradient can take its place: unless the
        // weight gradient, which then waits for the update, is the larger of the two.
        let input = node.inputs[0]
        let isInputLarger = count(input) * element(input).byteCount > store[weight].layout.byteCount
        var gradients: WeightGradients?
        if isTrained, isInputLarger { gradients = try backwardWeights(node, weight, bias, gradient) }
        // Before the weights change.
        let outgoing = needsInput ? try backwardData(node, weight, gradient) : nil
        if isTrained, !isInputLarger { gradients = try backwardWeights(node, weight, bias, gradient) }
        if let gradients { try finish(weight, gradients.weight, gradients.layout) }
        if let bias, let buffer = gradients?.bias { try finish(bias, buffer, store[bias].layout) }
        return outgoing
    }

    private struct WeightGradients {
        let weight: BufferID
        let layout: TensorLayout
        var bias: BufferID?
    }

    private mutating func backwardData(
        _ node: Graph.Node, _ weight: Graph.ParameterID, _ gradient: BufferID
    ) throws(PlanError) -> BufferID {
        let primitive = try preferringStored(weight) { layout throws(KernelError) in
            try shapes.backwardData(node, weights: layout, on: engine)
        }
        let weights = try weights(weight, as: primitive.layouts[1], for: "\(node.name) backward data")
        let result = addBuffer("\(node.name) input gradient", like: node.inputs[0])
        emit("\(node.name) backward data", primitive, [gradient, weights, result], macs: batch * node.macs)
        return result
    }

    private mutating func backwardWeights(
        _ node: Graph.Node, _ weight: Graph.ParameterID, _ bias: Graph.ParameterID?, _ gradient: BufferID
    ) throws(PlanError) -> WeightGradients {
        let primitive = try preferringStored(weight) { layout throws(KernelError) in
            try shapes.backwardWeights(node, weights: layout, on: engine)
        }
        var found = WeightGradients(
            weight: addBuffer("\(graph[weight].name) gradient"), layout: primitive.layouts[2])
        var operands = [activation(node.inputs[0]), gradient, found.weight]
        if let bias {
            let buffer = addBuffer("\(graph[bias].name) gradient")
            operands.append(buffer)
            found.bias = buffer
        }
        emit("\(node.name) backward weights", primitive, operands, macs: batch * node.macs)
        return found
    }

    /// The weights in the layout that a primitive takes: the parameter itself, or a reordered copy.
    private mutating func weights(
        _ id: Graph.ParameterID, as layout: TensorLayout, for label: String
    ) throws(PlanError) -> BufferID {
        let parameter = parameterBuffer(id)
        if store[id].layout == layout { return parameter }
        let reorder = try kernels { () throws(KernelError) in
            try Reorder.prepare(from: store[id].layout, to: layout, on: engine)
        }
        let copy = addBuffer("\(graph[id].name) for \(label)", bytes: layout.byteCount)
        emit("\(label) weights", reorder, [parameter, copy])
        return copy
    }

    /// Makes a primitive over the parameter's own layout, or over any where that one has only plain loops.
    private func preferringStored(
        _ id: Graph.ParameterID, _ make: (TensorLayout?) throws(KernelError) -> any LayerKernel
    ) throws(PlanError) -> any LayerKernel {
        try kernels { () throws(KernelError) in
            if options.precision == .float32, let stored = try? make(store[id].layout),
                !stored.isReference
            {
                return stored
            }
            return try make(nil)
        }
    }
}

extension Operation {
    /// oneDNN's transposed convolution takes no post-operations.
    fileprivate var isTransposed: Bool {
        if case .transposedConvolution = self { true } else { false }
    }

    /// The same as a post-operation of oneDNN's.
    var postOperation: PostOperation? {
        guard case .activation(let kind) = self else { return nil }
        return switch kind {
        case .relu: .relu
        case .relu6: .relu6
        case .leakyReLU(let slope): .leakyReLU(Float(slope))
        case .gelu(let tanh): tanh ? .geluTanh : .geluErf
        case .silu: .silu
        case .sigmoid: .sigmoid
        case .tanh: .tanh
        case .hardSwish: .hardSwish
        }
    }
}
