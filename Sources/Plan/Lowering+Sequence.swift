internal import Graph
internal import Kernels
internal import Tensor

/// Tokens, positions and attention.
extension Lowering {
    mutating func forwardEmbedding(_ node: Graph.Node) {
        guard let table = graph.parameter(.embedding, of: node) else { return }
        let kernel = Embedding.forward(
            rows: count(node.inputs[0]), width: graph[node.output].channels,
            vocabulary: graph[table].shape[0],
            element: element(node.output))
        let operands = [activation(node.inputs[0]), parameterBuffer(table), addOutput(of: node)]
        emit("\(node.name) forward", kernel, operands)
    }

    mutating func backwardEmbedding(_ node: Graph.Node, _ gradient: BufferID) throws(PlanError) {
        guard let table = graph.parameter(.embedding, of: node), graph[table].isTrained else { return }
        let kernel = Embedding.backward(
            rows: count(node.inputs[0]), width: graph[node.output].channels,
            vocabulary: graph[table].shape[0],
            element: element(node.output), accumulates: false)
        let result = addBuffer("\(graph[table].name) gradient")
        emit("\(node.name) backward", kernel, [activation(node.inputs[0]), gradient, result])
        try finish(table, result, store[table].layout)
    }

    mutating func forwardLengths(_ node: Graph.Node, padding: Int) {
        let tokens = graph[node.inputs[0]].shape.elementCount
        let kernel = Embedding.lengths(batch: batch, tokens: tokens, padding: padding)
        emit("\(node.name) forward", kernel, [activation(node.inputs[0]), addOutput(of: node)])
    }

    /// Where the samples' lengths lie: what a padded sequence's reader reads behind the sequence.
    func lengths(_ node: Graph.Node) -> [BufferID] { node.inputs.dropFirst().map { activation($0) } }

    mutating func forwardPositions(_ node: Graph.Node) {
        guard let table = graph.parameter(.embedding, of: node) else { return }
        let kernel = Broadcast.addToBatch(
            batch: batch, count: graph[node.output].shape.elementCount, element: element(node.output))
        let input = activation(node.inputs[0])
        emit("\(node.name) forward", kernel, [input, parameterBuffer(table), outputInPlace(of: node)])
    }

    mutating func backwardPositions(_ node: Graph.Node, _ gradient: BufferID) throws(PlanError) {
        let count = graph[node.output].shape.elementCount
        try backwardTable(node, gradient, count: count, stride: count)
    }

    /// The gradient of what every sample adds, or begins with.
    private mutating func backwardTable(
        _ node: Graph.Node, _ gradient: BufferID, count: Int, stride: Int
    ) throws(PlanError) {
        guard let table = graph.parameter(.embedding, of: node), graph[table].isTrained else { return }
        let kernel = Broadcast.sumOverBatch(
            batch: batch, count: count, stride: stride, offset: 0, element: element(node.output))
        let result = addBuffer("\(graph[table].name) gradient")
        emit("\(graph[table].name) gradient", kernel, [gradient, result])
        try finish(table, result, store[table].layout)
    }

    mutating func forwardPrependToken(_ node: Graph.Node) {
        guard let token = graph.parameter(.embedding, of: node) else { return }
        let input = graph[node.inputs[0]]
        let kernel = Movement.prependToken(
            batch: batch, tokens: input.positions, width: input.channels, element: element(node.output))
        let operands = [parameterBuffer(token), activation(node.inputs[0]), addOutput(of: node)]
        emit("\(node.name) forward", kernel, operands)
    }

    mutating func backwardPrependToken(
        _ node: Graph.Node, _ gradient: BufferID, _ needsInput: Bool
    ) throws(PlanError) -> BufferID? {
        let (width, total) = (graph[node.output].channels, graph[node.output].shape.elementCount)
        try backwardTable(node, gradient, count: width, stride: total)
        guard needsInput else { return nil }
        let kernel = Movement.slice(
            rows: batch, width: total, range: width..<total, element: element(node.output))
        let result = addBuffer("\(node.name) input gradient", like: node.inputs[0])
        emit("\(node.name) backward", kernel, [gradient, result])
        return result
    }

    mutating func forwardSelectToken(_ node: Graph.Node, _ index: Int) {
        let (sample, range) = tokenRange(node, index)
        let kernel = Movement.slice(rows: batch, width: sample, range: range, element: element(node.output))
        let input = activation(node.inputs[0])
        emit("\(node.name) forward", kernel, [input, addOutput(of: node)])
    }

    mutating func backwardSelectToken(
        _ node: Graph.Node, _ index: Int, _ gradient: BufferID
    ) -> BufferID {
        let (sample, range) = tokenRange(node, index)
        let kernel = Movement.sliceBackward(
            rows: batch, width: sample, range: range, element: element(node.output))
        let result = addBuffer("\(node.name) input gradient", like: node.inputs[0])
        emit("\(node.name) backward", kernel, [gradient, result])
        return result
    }

    private func tokenRange(_ node: Graph.Node, _ index: Int) -> (sample: Int, range: Range<Int>) {
        let input = graph[node.inputs[0]]
        return (input.shape.elementCount, index * input.channels..<(index + 1) * input.channels)
    }
}

/// Attention and what turns its queries and keys.
extension Lowering {
    mutating func forwardAttention(
        _ node: Graph.Node, _ attention: Operation.Attention
    ) {
        let shape = shapes.attention(attention, node)
        let kernel = Attention.forward(
            shape, element: element(node.output), threads: ThreadTeam.count, dropout: dropout(attention))
        let logSum = addBuffer("\(node.name) log-sum-exp")
        let scratch = addBuffer("\(node.name) scratch")
        saved[current] = [logSum]
        let operands = [activation(node.inputs[0]), addOutput(of: node), logSum, scratch]
        emit(
            "\(node.name) forward", kernel,
            operands + lengths(node) + (dropout(attention) == nil ? [] : [state]),
            macs: batch * node.macs)
    }

    mutating func backwardAttention(
        _ node: Graph.Node, _ attention: Operation.Attention, _ gradient: BufferID
    ) -> BufferID {
        let shape = shapes.attention(attention, node)
        let kernel = Attention.backward(
            shape, element: element(node.output), threads: ThreadTeam.count, dropout: dropout(attention))
        let result = addBuffer("\(node.name) input gradient", like: node.inputs[0])
        let scratch = addBuffer("\(node.name) backward scratch")
        let operands =
            [activation(node.inputs[0]), activation(node.output)] + (saved[current] ?? [])
            + [gradient, result, scratch]
        emit(
            "\(node.name) backward", kernel,
            operands + lengths(node) + (dropout(attention) == nil ? [] : [state]),
            macs: 2 * batch * node.macs)
        return result
    }

    private func dropout(_ attention: Operation.Attention) -> AttentionDropout? {
        guard mode.isTraining, attention.dropout > 0 else { return nil }
        return AttentionDropout(
            probability: Float(attention.dropout), layer: UInt32(truncatingIfNeeded: current.index),
            purpose: RandomPurpose.dropout.rawValue)
    }

    mutating func forwardRotary(
        _ node: Graph.Node, heads: Int, base: Double
    ) throws(PlanError) {
        let input = activation(node.inputs[0])
        let output = outputInPlace(of: node)
        try turn(node, input, output, heads: heads, base: base, inverse: false)
    }

    mutating func backwardRotary(
        _ node: Graph.Node, heads: Int, base: Double, _ gradient: BufferID
    ) throws(PlanError) -> BufferID {
        let target = replacing(gradient, node)
        try turn(node, gradient, target, heads: heads, base: base, inverse: true)
        return target
    }

    /// Turns in place, behind a copy where the two are not one buffer.
    private mutating func turn(
        _ node: Graph.Node, _ from: BufferID, _ to: BufferID, heads: Int, base: Double, inverse: Bool
    ) throws(PlanError) {
        let shape = shapes.attention(.init(heads: heads, isCausal: false), node)
        let label = inverse ? "\(node.name) backward" : "\(node.name) forward"
        if from != to {
            let width = count(node.output)
            let copy = Movement.slice(rows: 1, width: width, range: 0..<width, element: element(node.output))
            emit("\(label) copy", copy, [from, to])
        }
        let angles = try constant(
            Rotary.table(tokens: shape.tokens, headWidth: shape.headWidth, base: base), "\(node.name) angles")
        emit(label, Rotary.apply(shape, element: element(node.output), inverse: inverse), [angles, to])
    }
}
