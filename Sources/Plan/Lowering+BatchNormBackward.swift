internal import Graph
internal import Kernels
internal import Tensor

/// What a depthwise convolution's backward pass finds instead of the gradient of its output.
struct DeferredGradient {
    /// What the convolution yielded.
    let output: BufferID
    /// Of `FusedBatchNorm.backwardSums`.
    let coefficients: BufferID
    let activation: FusedBatchNorm.Activation
    /// Whose second pass it is, for people.
    let name: String
}

/// The first pass of a batch normalisation's backward pass, made by the convolution behind it.
struct GradientSums {
    let buffer: BufferID
    let parts: Int
}

/// The backward pass of batch normalisation, of which a depthwise convolution beside it may do a part.
extension Lowering {
    mutating func backwardBatchNorm(
        _ node: Graph.Node, _ gradient: BufferID, _ needsInput: Bool
    ) throws(PlanError) -> BufferID? {
        guard let saved = saved[current], let fusion = normFusions[current],
            let scale = graph.parameter(.scale, of: node), let shift = graph.parameter(.shift, of: node)
        else { return nil }
        let scaleGradient = addBuffer("\(graph[scale].name) gradient")
        let shiftGradient = addBuffer("\(graph[shift].name) gradient")
        let read =
            [activation(node.inputs[0])] + saved + [parameterBuffer(scale), parameterBuffer(shift), gradient]
        let result: BufferID
        if needsInput, let convolution = convolutionThatDifferentiates(node, fusion) {
            result = gradient
            let coefficients = addBuffer("\(node.name) backward coefficients")
            deferredGradients[convolution] = DeferredGradient(
                output: activation(node.inputs[0]), coefficients: coefficients,
                activation: fusion.kernel.activation, name: node.name)
            emit(
                "\(node.name) backward sums", fusion.kernel.backwardSums(),
                read + [
                    scaleGradient, shiftGradient, addBuffer("\(node.name) backward scratch"), coefficients,
                ])
        } else if let sums = gradientSums[fusion.output] {
            result = replacing(gradient, node)
            emit(
                "\(node.name) backward", fusion.kernel.backwardInput(sumParts: sums.parts),
                read + [result, scaleGradient, shiftGradient, sums.buffer])
        } else {
            result = replacing(gradient, node)
            var operands =
                read + [
                    result, scaleGradient, shiftGradient, addBuffer("\(node.name) backward scratch"),
                ]
            if fusion.kernel.backwardSplitsResidual, let residual = fusion.residualGradient {
                operands += [activation(fusion.output), residual]
            }
            emit("\(node.name) backward", fusion.kernel.backward(), operands)
        }
        try finish(scale, scaleGradient, store[scale].layout)
        try finish(shift, shiftGradient, store[shift].layout)
        return needsInput ? result : nil
    }

    /// The depthwise convolution whose output a normalisation alone reads, and whose backward pass does a
    /// part of this one's and of that in front of it: where there is one, and both have something to learn.
    private func convolutionThatDifferentiates(
        _ node: Graph.Node, _ fusion: NormFusion
    ) -> Graph.NodeID? {
        guard options.fuses, fusion.kernel.isNormalizedByReaders, soleReader(of: node.inputs[0]) == current,
            gradientSums[fusion.output] == nil, let maker = makers[node.inputs[0]]
        else { return nil }
        let id = Graph.NodeID(index: maker)
        guard case .convolution(let window) = graph[id].operation,
            deferredNorms[graph[id].inputs[0]] != nil, let weight = graph.weight(of: graph[id]),
            graph[weight].isTrained, let front = normInFront(of: graph[id]),
            let scale = graph.parameter(.scale, of: graph[front]), graph[scale].isTrained,
            Convolution.backwardSumParts(shapes.convolution(window, graph[id])) != nil
        else { return nil }
        return id
    }

    private func normInFront(of node: Graph.Node) -> Graph.NodeID? {
        guard let maker = makers[node.inputs[0]] else { return nil }
        let id = Graph.NodeID(index: maker)
        return normOwners[id] ?? (normFusions[id] == nil ? nil : id)
    }

    /// The whole backward pass of a convolution between two normalisations.
    mutating func backwardBetweenNorms(
        _ node: Graph.Node, _ window: Operation.Window, _ gradient: BufferID, _ behind: DeferredGradient,
        _ front: DeferredNorm
    ) throws(PlanError) -> BufferID? {
        let shape = shapes.convolution(window, node)
        guard let weight = graph.weight(of: node), let parts = Convolution.backwardSumParts(shape) else {
            return nil
        }
        let bias = graph.parameter(.bias, of: node)
        let primitive = try preferringStored(weight) { layout throws(KernelError) in
            try Convolution.backwardBetweenNorms(
                shape, element: options.precision, weights: layout, front: front.activation,
                behind: behind.activation)
        }
        let weights = try weights(weight, as: primitive.layouts[2], for: "\(node.name) backward")
        let result = addBuffer("\(node.name) input gradient", like: node.inputs[0])
        let weightGradient = addBuffer("\(graph[weight].name) gradient")
        let biasGradient = bias.map { addBuffer("\(graph[$0].name) gradient") }
        let sums = addBuffer("\(node.name) sums for \(front.name)")
        gradientSums[node.inputs[0]] = GradientSums(buffer: sums, parts: parts)
        emit(
            "\(behind.name) + \(node.name) backward", primitive,
            [
                activation(node.inputs[0]), front.coefficients, weights, behind.output, gradient,
                behind.coefficients, result, weightGradient,
            ] + [biasGradient].compactMap(\.self) + [sums], macs: 2 * batch * node.macs)
        try finish(weight, weightGradient, primitive.layouts[7])
        if let bias, let biasGradient { try finish(bias, biasGradient, store[bias].layout) }
        return result
    }
}
