internal import Graph
internal import Kernels
internal import Tensor

extension Lowering {
    /// Lowers one node's forward pass.
    mutating func forward(_ id: Graph.NodeID) throws(PlanError) {
        let node = graph[id]
        switch node.kind {
        case .conv2d, .linear: try forwardWeighted(id, node)
        case .relu: forwardReLU(id, node)
        case .maxPool2d(let pool), .avgPool2d(let pool): try forwardPooling(id, node, pool)
        case .batchNorm(let norm): try forwardBatchNorm(id, node, norm)
        case .flatten: activations[node.output] = activation(node.inputs[0])
        case .dropout(let probability): forwardDropout(id, node, probability)
        }
    }

    private mutating func forwardWeighted(_ id: Graph.NodeID, _ node: Graph.Node) throws(PlanError) {
        guard let weight = graph.parameter(.weight, of: node) else { return }
        let relu = reluBehind(node)
        let primitive = try preferringStored(weight) { layout throws(KernelError) in
            switch node.kind {
            case .conv2d(let conv):
                try Convolution.forward(
                    shapes.convolution(conv, node), weights: layout, fusing: relu == nil ? [] : [.relu],
                    training: mode.isTraining, on: engine)
            case .linear(let linear):
                try InnerProduct.forward(
                    shapes.innerProduct(linear, node), weights: layout, fusing: relu == nil ? [] : [.relu],
                    training: mode.isTraining, on: engine)
            default: preconditionFailure("\(node.name) has no weights")
            }
        }
        let weights = try weights(weight, as: primitive.layouts[1], for: "\(node.name) forward")
        let output = addBuffer("\(node.name) output", floats: batch * graph[node.output].shape.elementCount)
        let bias = graph.parameter(.bias, of: node).map { [parameterBuffer($0)] } ?? []
        let operands = [activation(node.inputs[0]), weights] + bias + [output]
        let label = relu == nil ? "\(node.name) forward" : "\(node.name) + relu forward"
        emit(label, primitive, operands, node: id, macs: batch * node.macs)
        activations[node.output] = output
        if let relu { fusedReLUs.insert(relu) }
    }

    /// The ReLU that alone reads the node's output, and so can run inside it.
    private func reluBehind(_ node: Graph.Node) -> Graph.NodeID? {
        let readers = graph.consumers(of: node.output)
        guard readers.count == 1, case .relu = graph[readers[0]].kind else { return nil }
        return readers[0]
    }

    private mutating func forwardReLU(_ id: Graph.NodeID, _ node: Graph.Node) {
        let input = activation(node.inputs[0])
        if fusedReLUs.contains(id) {
            activations[node.output] = input
            return
        }
        let count = batch * graph[node.output].shape.elementCount
        let output = inPlace(node, input) ?? addBuffer("\(node.name) output", floats: count)
        emit("\(node.name) forward", Elementwise.relu(count: count), [input, output], node: id)
        activations[node.output] = output
    }

    private mutating func forwardDropout(_ id: Graph.NodeID, _ node: Graph.Node, _ probability: Double) {
        let input = activation(node.inputs[0])
        guard mode.isTraining, probability > 0 else {
            activations[node.output] = input
            return
        }
        let count = batch * graph[node.output].shape.elementCount
        let output = inPlace(node, input) ?? addBuffer("\(node.name) output", floats: count)
        emit("\(node.name) forward", dropout(id, count, probability), [state, input, output], node: id)
        activations[node.output] = output
    }

    func dropout(_ id: Graph.NodeID, _ count: Int, _ probability: Double) -> any PreparedKernel {
        Elementwise.dropout(
            count: count, probability: Float(probability), layer: UInt32(truncatingIfNeeded: id.index),
            purpose: RandomPurpose.dropout.rawValue)
    }

    /// The input's buffer, when nobody else reads it and the backward pass of what made it does not either.
    private func inPlace(_ node: Graph.Node, _ input: BufferID) -> BufferID? {
        guard graph.consumers(of: node.inputs[0]).count == 1, case .transient = buffers[input.index].home
        else {
            return nil
        }
        var source = node.inputs[0]
        while let producer = graph.producer(of: source) {
            switch producer.kind {
            case .flatten:
                source = producer.inputs[0]
                guard graph.consumers(of: source).count == 1 else { return nil }
            // A ReLU's gradient reads its output; what a dropout would zero there it zeroes in the gradient
            // too.
            case .relu, .conv2d, .linear, .maxPool2d, .avgPool2d, .batchNorm: return input
            case .dropout: return nil
            }
        }
        return nil
    }

    private mutating func forwardPooling(
        _ id: Graph.NodeID, _ node: Graph.Node, _ pool: LayerKind.Pool2d
    ) throws(PlanError) {
        let primitive = try kernels { () throws(KernelError) in
            try Pooling.forward(
                shapes.pooling(pool, node), node.kind.poolingKind, training: mode.isTraining, on: engine)
        }
        let output = addBuffer("\(node.name) output", floats: batch * graph[node.output].shape.elementCount)
        var operands = [activation(node.inputs[0]), output]
        let fixed = primitive.operands.count - (primitive.scratchpad == nil ? 0 : 1)
        if fixed == 3 {
            let winners = addBuffer("\(node.name) winners", floats: 0)
            operands.append(winners)
            saved[id] = [winners]
        }
        emit("\(node.name) forward", primitive, operands, node: id)
        activations[node.output] = output
    }

    private mutating func forwardBatchNorm(
        _ id: Graph.NodeID, _ node: Graph.Node, _ norm: LayerKind.BatchNorm
    ) throws(PlanError) {
        let shape = shapes.batchNormalization(norm, node)
        let parameters = node.parameters.map { parameterBuffer($0) }
        let input = try plainOrder(node.inputs[0])
        let output = addBuffer("\(node.name) output", floats: batch * graph[node.output].shape.elementCount)
        activations[node.output] = output
        guard mode.isTraining else {
            let primitive = try kernels { () throws(KernelError) in
                try BatchNormalization.inference(shape, on: engine)
            }
            emit("\(node.name) forward", primitive, [input] + parameters + [output], node: id)
            return
        }
        let primitive = try kernels { () throws(KernelError) in
            try BatchNormalization.training(shape, on: engine)
        }
        let mean = addBuffer("\(node.name) mean", floats: shape.channels)
        let variance = addBuffer("\(node.name) variance", floats: shape.channels)
        saved[id] = [input, mean, variance]
        emit(
            "\(node.name) forward", primitive, [input, parameters[0], parameters[1], mean, variance, output],
            node: id)
        guard case .training = mode else { return }
        emit(
            "\(node.name) running statistics",
            BatchNormalization.runningStatistics(shape, momentum: Float(norm.momentum)),
            [mean, variance, parameters[2], parameters[3]], node: id)
    }

    /// The value with its features in PyTorch's order: itself, unless it was flattened from an image.
    mutating func plainOrder(_ value: Graph.ValueID) throws(PlanError) -> BufferID {
        let buffer = activation(value)
        guard let image = graph.flattenedSource(of: value) else { return buffer }
        let reorder = try kernels { () throws(KernelError) in
            try Reorder.prepare(
                from: image.channelsLast(batch), to: image.channelsFirst(batch), on: engine)
        }
        let plain = addBuffer("flattened", floats: batch * graph[value].shape.elementCount)
        emit("flatten", reorder, [buffer, plain])
        return plain
    }

    /// Lowers the loss; its gradient takes the output's place where the backward pass does not read that.
    ///
    /// - Returns: The buffer of the output's gradient, in the order of the output's own activation.
    mutating func loss() throws(PlanError) -> BufferID {
        let width = graph.outputShape.elementCount
        let isGradient = mode.isTraining
        let logits = try plainOrder(graph.output)
        let targets = addBuffer("targets", floats: 0, home: .external(.target))
        let rowLoss = addBuffer("row loss", floats: batch)
        let rowCorrect = addBuffer("row correct", floats: batch)
        let kernel =
            switch mode.loss {
            case .crossEntropy(let smoothing):
                Loss.crossEntropy(
                    rows: batch, classes: width, labelSmoothing: smoothing, gradient: isGradient)
            case .meanSquaredError(let oneHot):
                Loss.squaredError(rows: batch, width: width, oneHot: oneHot, gradient: isGradient)
            }
        var operands = [state, logits, targets, rowLoss, rowCorrect, result]
        guard isGradient else {
            emit("loss", kernel, operands)
            return logits
        }
        let gradient = isReadBackward(graph.output) ? addBuffer("output gradient", floats: 0) : logits
        operands.append(gradient)
        emit("loss", kernel, operands)
        guard let image = graph.flattenedSource(of: graph.output) else { return gradient }
        return try restoreOrder(gradient, image)
    }

    /// Whether a backward pass reads this value's buffer: a ReLU's does.
    private func isReadBackward(_ value: Graph.ValueID) -> Bool {
        guard let producer = graph.producer(of: value) else { return true }
        return switch producer.kind {
        case .relu: true
        case .flatten, .dropout: isReadBackward(producer.inputs[0])
        case .conv2d, .linear, .maxPool2d, .avgPool2d, .batchNorm: false
        }
    }

    /// Brings a gradient in PyTorch's order back into channels-last order.
    mutating func restoreOrder(_ buffer: BufferID, _ image: ImageExtents) throws(PlanError) -> BufferID {
        let reorder = try kernels { () throws(KernelError) in
            try Reorder.prepare(
                from: image.channelsFirst(batch), to: image.channelsLast(batch), on: engine)
        }
        let restored = addBuffer(
            "unflattened", floats: batch * image.channels * image.height * image.width)
        emit("unflatten", reorder, [buffer, restored])
        return restored
    }
}
