internal import Graph
internal import Kernels
internal import Tensor

/// Convolutions and products.
extension Lowering {
    mutating func forwardWeighted(_ node: Graph.Node) throws(PlanError) {
        guard let weight = graph.weight(of: node) else { return }
        if let fold = foldedNorm(behind: node) { return try forwardFolded(node, fold) }
        let tail = tail(behind: node)
        let norm = deferredNorms[node.inputs[0]]
        // First of all: how weights are rounded depends on the range of what they are multiplied by.
        let input = operand(of: node)
        let (kernel, weights, macs) = try forwardKernel(
            node, weight, tail, normalizing: norm?.activation)
        let output = tail.output ?? addBuffer("\(node.name) output", like: node.output)
        let kept = keep(tail, node)
        place(node.output, in: kept ?? output)
        let bias = graph.parameter(.bias, of: node).map { [parameterBuffer($0)] } ?? []
        let coefficients = norm.map { [$0.coefficients] } ?? []
        let operands = [input, weights] + bias + [output, kept].compactMap(\.self) + coefficients
        for id in tail.nodes {
            absorbed.insert(id)
            place(graph[id].output, in: output)
        }
        let names = [norm?.name, node.name].compactMap(\.self) + tail.nodes.map { graph[$0].name }
        emit(
            "\(names.joined(separator: " + ")) forward", kernel, operands, macs: macs)
    }

    /// What computes a layer, the weights that it reads, and its multiply-accumulates.
    private mutating func forwardKernel(
        _ node: Graph.Node, _ weight: Graph.ParameterID, _ tail: Tail,
        normalizing norm: FusedBatchNorm.Activation?
    ) throws(PlanError) -> (kernel: any PreparedKernel, weights: BufferID, macs: Int) {
        if let product = sparseProduct(node, weight, fusing: tail.operations) {
            let packed = try packed(weight, for: product, node)
            return (product.forward(fusing: tail.operations), packed, product.macs)
        }
        let primitive = try preferringStored(weight) { layout throws(KernelError) in
            try shapes.forward(
                node, weights: layout, fusing: tail.operations, activation: tail.activation,
                training: mode.isTraining, normalizing: norm, on: engine)
        }
        let weights = try weights(weight, as: primitive.layouts[1], for: "\(node.name) forward")
        return (primitive, weights, batch * node.macs)
    }

    /// What a convolution or product does behind its own result.
    func postOperations(behind node: Graph.Node) -> [PostOperation] { tail(behind: node).operations }

    /// What runs inside a product or convolution: a sum, an activation, both.
    private struct Tail {
        var nodes: [Graph.NodeID] = []
        var operations: [PostOperation] = []
        /// Where the sum's other term lies, to which the result is added.
        var output: BufferID?
        /// An activation that is none of the operations: one that leaves something for the backward pass, or
        /// that the layer's kernel cannot run itself.
        var activation: LayerActivation?
    }

    /// Where an activation leaves what its backward pass reads, in the place of its input.
    private mutating func keep(_ tail: Tail, _ node: Graph.Node) -> BufferID? {
        guard let activation = tail.activation, let id = tail.nodes.last else { return nil }
        if activation.kept == .derivative { derivatives.insert(id) } else { derivatives.remove(id) }
        return activation.kept == .nothing ? nil : addBuffer("\(node.name) kept", like: node.output)
    }

    private func tail(behind node: Graph.Node) -> Tail {
        var tail = Tail()
        guard options.fuses else { return tail }
        var value = node.output
        if let (sum, output) = sumBehind(node) {
            tail = Tail(nodes: [sum], operations: [.addToDestination], output: output)
            value = graph[sum].output
        }
        guard let (id, operation) = activationBehind(value) else { return tail }
        // What is kept lies in the place of the activation's input, which a sum would have elsewhere.
        let reads = mode.isTraining && graph[id].operation.backwardReads.contains(.input)
        if !reads, shapes.fuses(operation, node) {
            tail.nodes.append(id)
            tail.operations.append(operation)
        } else if tail.nodes.isEmpty, deferredNorms[node.inputs[0]] == nil, let kind = operation.activation {
            tail.nodes.append(id)
            tail.activation = LayerActivation(kind, training: mode.isTraining)
        }
        return tail
    }

    /// The activation that alone reads a value.
    private func activationBehind(_ value: Graph.ValueID) -> (Graph.NodeID, PostOperation)? {
        guard let reader = soleReader(of: value), let operation = graph[reader].operation.postOperation else {
            return nil
        }
        return (reader, operation)
    }

    /// The sum that alone reads a product's output, and where its other term lies: already computed, and read
    /// by nobody else.
    private func sumBehind(_ node: Graph.Node) -> (Graph.NodeID, BufferID)? {
        guard case .linear = node.operation, let reader = soleReader(of: node.output),
            graph[reader].operation == .add, normOwners[reader] == nil,
            let other = graph[reader].inputs.first(where: { $0 != node.output }),
            makers[other].map({ $0 < current.index }) == true,
            let buffer = inPlace(graph[reader], other, at: reader), buffer != activation(node.inputs[0])
        else { return nil }
        return (reader, buffer)
    }

    mutating func backwardWeighted(
        _ node: Graph.Node, _ gradient: BufferID, _ needsInput: Bool
    ) throws(PlanError) -> BufferID? {
        guard let weight = graph.weight(of: node) else { return nil }
        if case .convolution(let window) = node.operation, let behind = deferredGradients[current],
            let front = deferredNorms[node.inputs[0]]
        {
            return try backwardBetweenNorms(node, window, gradient, behind, front)
        }
        let bias = graph.parameter(.bias, of: node)
        let isTrained = graph[weight].isTrained || bias.map { graph[$0].isTrained } == true
        if let update = gradientUpdate(node, weight: weight, bias: bias) {
            let outgoing = needsInput ? try backwardData(node, weight, gradient) : nil
            self.update(by: update, node, gradient, weight: weight, bias: bias)
            return outgoing
        }
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
        backwardRounding(node, result)
        return result
    }

    private mutating func backwardWeights(
        _ node: Graph.Node, _ weight: Graph.ParameterID, _ bias: Graph.ParameterID?, _ gradient: BufferID
    ) throws(PlanError) -> WeightGradients {
        let norm = deferredNorms[node.inputs[0]]
        let primitive = try preferringStored(weight, asFloats: true) { layout throws(KernelError) in
            try shapes.backwardWeights(node, weights: layout, normalizing: norm?.activation, on: engine)
        }
        var found = WeightGradients(
            weight: addBuffer("\(graph[weight].name) gradient"), layout: primitive.layouts[2])
        let input = isRounded(weight) ? operand(of: node) : activationAgain(node.inputs[0])
        var operands = [input, gradient, found.weight]
        if let bias {
            let buffer = addBuffer("\(graph[bias].name) gradient")
            operands.append(buffer)
            found.bias = buffer
        }
        if let norm { operands.append(norm.coefficients) }
        emit("\(node.name) backward weights", primitive, operands, macs: batch * node.macs)
        return found
    }

    /// The weights in the layout that a primitive takes: the parameter itself, or a reordered copy.
    mutating func weights(
        _ id: Graph.ParameterID, as layout: TensorLayout, for label: String
    ) throws(PlanError) -> BufferID {
        if let rounded = try roundedWeights(id, as: layout, for: label) { return rounded }
        let parameter = parameterBuffer(id)
        if store[id].layout == layout { return parameter }
        if let copy = store[id].copy, copy.layout == layout { return copyBuffer(id, copy.slot) }
        if let other = store[id].others.first(where: { $0.layout == layout }) {
            return persistent(other.slot, "\(graph[id].name) for few samples")
        }
        let reorder = try kernels { () throws(KernelError) in
            try WeightCopy.prepare(from: store[id].layout, to: layout, on: engine)
        }
        let copy = addBuffer("\(graph[id].name) for \(label)", bytes: layout.byteCount)
        guard mode.isRepeated else {
            emit("\(label) weights", reorder, [parameter, copy])
            return copy
        }
        buffers[copy.index].isKept = true
        prepare("\(label) weights", reorder, [parameter, copy])
        return copy
    }

    /// Makes a primitive over the layout of the parameter, or of its bfloat16 copy unless it takes weights
    /// `asFloats` in any case; over any layout where these have only plain loops.
    func preferringStored(
        _ id: Graph.ParameterID, asFloats: Bool = false,
        _ make: (TensorLayout?) throws(KernelError) -> any LayerKernel
    ) throws(PlanError) -> any LayerKernel {
        let (isFloats, copy) = (options.precision == .float32 || engine.widens, store[id].copy)
        // What is rounded is a copy in any case, in the layout that suits the call best.
        let stored = isFloats || asFloats && copy != nil ? store[id].layout(batch: batch) : copy?.layout
        let layout = isRounded(id) ? nil : stored
        return try kernels { () throws(KernelError) in
            if let layout, let stored = try? make(layout), !stored.isReference { return stored }
            return try make(nil)
        }
    }
}

extension Operation {
    var isTransposed: Bool {
        if case .transposedConvolution = self { true } else { false }
    }

    /// The same as a post-operation of oneDNN's.
    var postOperation: PostOperation? {
        if case .scale(let factor) = self { return .scaled(Float(factor)) }
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
