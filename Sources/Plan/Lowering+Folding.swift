internal import Graph
internal import Kernels
internal import Tensor

/// A batch normalisation by running statistics that becomes part of the layer in front of it.
struct FoldedNorm {
    let node: Graph.Node
    let epsilon: Float
    /// What the layer's call does behind it.
    var fusing: [PostOperation] = []
    /// The nodes that run inside the layer.
    var absorbed: [Graph.NodeID]
    /// What is added behind it, and is written over by the sum.
    var residual: BufferID?
}

/// Constant folding for inference: what follows from the parameters alone is computed in front of the steps,
/// and again only when the parameters have changed.
extension Lowering {
    /// Appends a call that the steps need the results of, run after run.
    mutating func prepare(_ label: String, _ kernel: any PreparedKernel, _ operands: [BufferID]) {
        preparation.append(makeStep(label, kernel, operands, at: 0))
    }

    /// A batch normalisation behind a layer that can be folded into its weights, with what runs behind that.
    ///
    /// A residual is added by the same call where it may be written over. Where it may not, the normalisation
    /// stays a pass of its own, which adds it.
    func foldedNorm(behind node: Graph.Node) -> FoldedNorm? {
        guard options.fuses, !mode.isTraining, !node.operation.isTransposed,
            graph.weight(of: node).map(isRounded) != true, let next = soleReader(of: node.output),
            case .batchNorm(let norm) = graph[next].operation
        else { return nil }
        var fold = FoldedNorm(node: graph[next], epsilon: Float(norm.epsilon), absorbed: [next])
        var value = graph[next].output
        if let next = soleReader(of: value), graph[next].operation == .add,
            let residual = graph[next].inputs.first(where: { $0 != value }), activations[residual] != nil
        {
            guard shapes.addsToDestination(node), let buffer = overwritable(residual, by: next, node) else {
                return nil
            }
            fold.residual = buffer
            fold.fusing.append(.addToDestination)
            fold.absorbed.append(next)
            value = graph[next].output
        }
        if let next = soleReader(of: value), let operation = graph[next].operation.postOperation {
            fold.fusing.append(operation)
            fold.absorbed.append(next)
        }
        return fold
    }

    /// The buffer of what an addition adds, when the layer in front may write over it.
    private func overwritable(
        _ residual: Graph.ValueID, by addition: Graph.NodeID, _ node: Graph.Node
    ) -> BufferID? {
        guard let buffer = inPlace(graph[addition], residual, at: addition) else { return nil }
        return buffer == activation(node.inputs[0]) ? nil : buffer
    }

    /// Lowers a layer with the batch normalisation behind it as one call over folded weights.
    mutating func forwardFolded(_ node: Graph.Node, _ fold: FoldedNorm) throws(PlanError) {
        guard let weight = graph.weight(of: node) else { return }
        let (kernel, weights, bias, macs) = try foldedKernel(node, weight, fold)
        let output = fold.residual ?? addBuffer("\(node.name) output", like: node.output)
        place(node.output, in: output)
        for id in fold.absorbed { place(graph[id].output, in: output) }
        absorbed.formUnion(fold.absorbed)
        let names = [node.name] + fold.absorbed.map { graph[$0].name }
        emit(
            "\(names.joined(separator: " + ")) forward", kernel,
            [activation(node.inputs[0]), weights, bias, output], macs: macs)
    }

    /// What computes a layer with a normalisation behind it, and what that reads.
    private mutating func foldedKernel(
        _ node: Graph.Node, _ weight: Graph.ParameterID, _ fold: FoldedNorm
    ) throws(PlanError) -> (kernel: any PreparedKernel, weights: BufferID, bias: BufferID, macs: Int) {
        if let product = sparseProduct(node, weight, fusing: fold.fusing, addingBias: true) {
            let (weights, bias) = try foldedWeights(weight, as: nil, node, fold)
            let packed = packed(weights, for: product, "\(node.name) weights")
            return (product.forward(fusing: fold.fusing), packed, bias, product.macs)
        }
        let primitive = try kernels { () throws(KernelError) in
            try shapes.forward(
                node, weights: nil, fusing: fold.fusing, training: false, addingBias: true, on: engine)
        }
        let (weights, bias) = try foldedWeights(weight, as: primitive.layouts[1], node, fold)
        buffers[weights.index].isKept = true
        return (primitive, weights, bias, batch * node.macs)
    }

    /// Prepares weights and bias that normalise as well, in the layout that a primitive takes; without one in
    /// PyTorch's order, and only until the next preparation.
    private mutating func foldedWeights(
        _ id: Graph.ParameterID, as layout: TensorLayout?, _ node: Graph.Node, _ fold: FoldedNorm
    ) throws(PlanError) -> (weights: BufferID, bias: BufferID) {
        let (plain, norm) = (store[id].plain, fold.node)
        guard let scale = graph.parameter(.scale, of: norm), let shift = graph.parameter(.shift, of: norm),
            let mean = graph.parameter(.runningMean, of: norm),
            let variance = graph.parameter(.runningVariance, of: norm)
        else { preconditionFailure("\(norm.name) has no statistics") }
        let rows = graph[norm.output].channels
        let given = graph.parameter(.bias, of: node)
        let kernel = NormFolding.fold(
            rows: rows, width: plain.paddedCount / rows, hasBias: given != nil, epsilon: fold.epsilon)
        let label = "\(node.name) + \(norm.name) weights"
        let work = workspace()
        let weights = try reordered(parameterBuffer(id), from: store[id].layout, to: plain, label, work)
        let isPacked = plain != layout
        let folded = isPacked ? work : addBuffer(label, bytes: plain.byteCount)
        let bias = addBuffer("\(node.name) + \(norm.name) bias")
        prepare(
            label, kernel,
            [weights] + (given.map { [parameterBuffer($0)] } ?? [])
                + [scale, shift, mean, variance].map { parameterBuffer($0) } + [folded, bias])
        buffers[bias.index].isKept = true
        guard isPacked, let layout else { return (folded, bias) }
        let packed = addBuffer(label, bytes: layout.byteCount)
        return (try reordered(folded, from: plain, to: layout, label, packed), bias)
    }

    /// Memory that preparations work in, one after the other.
    mutating func workspace() -> BufferID {
        if let preparing { return preparing }
        let buffer = addBuffer("weights being folded")
        preparing = buffer
        return buffer
    }

    /// A buffer's contents in another layout: itself where that is the same, else a copy in `copy`.
    mutating func reordered(
        _ buffer: BufferID, from source: TensorLayout, to destination: TensorLayout, _ label: String,
        _ copy: BufferID
    ) throws(PlanError) -> BufferID {
        if source == destination { return buffer }
        let reorder = try kernels { () throws(KernelError) in
            try Reorder.prepare(from: source, to: destination, on: engine)
        }
        prepare("\(label) reorder", reorder, [buffer, copy])
        return copy
    }
}
