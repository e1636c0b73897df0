internal import Graph
internal import Kernels
internal import Tensor

extension Lowering {
    /// Lowers one step of the backward graph.
    mutating func lower(_ step: Gradients.Step, of backward: Gradients) throws(PlanError) {
        switch step {
        case .accumulate(let total, let contribution):
            guard let left = gradients[total], let right = gradients[contribution] else { return }
            let count = batch * graph[backward[total].of].shape.elementCount
            emit("sum of gradients", Elementwise.add(count: count), [left, right, left])
        case .backward(let id, let incoming, let outgoing):
            guard let gradient = gradients[incoming] else { return }
            let result = try backwardPass(id, gradient, needsInput: outgoing.contains { $0 != nil })
            for case let target? in outgoing { gradients[target] = result }
        }
    }

    /// Lowers a node's backward pass and returns the gradient of its input.
    private mutating func backwardPass(
        _ id: Graph.NodeID, _ gradient: BufferID, needsInput: Bool
    ) throws(PlanError) -> BufferID? {
        let node = graph[id]
        switch node.kind {
        case .conv2d, .linear: return try backwardWeighted(id, node, gradient, needsInput)
        case .relu:
            let count = batch * graph[node.output].shape.elementCount
            emit(
                "\(node.name) backward", Elementwise.reluBackward(count: count),
                [activation(node.output), gradient, gradient], node: id)
            return gradient
        case .dropout(let probability):
            guard probability > 0 else { return gradient }
            let count = batch * graph[node.output].shape.elementCount
            emit(
                "\(node.name) backward", dropout(id, count, probability), [state, gradient, gradient],
                node: id)
            return gradient
        case .flatten: return gradient
        case .maxPool2d(let pool), .avgPool2d(let pool):
            return try backwardPooling(id, node, pool, gradient)
        case .batchNorm(let norm): return try backwardBatchNorm(id, node, norm, gradient, needsInput)
        }
    }

    private mutating func backwardWeighted(
        _ id: Graph.NodeID, _ node: Graph.Node, _ gradient: BufferID, _ needsInput: Bool
    ) throws(PlanError) -> BufferID? {
        guard let weight = graph.parameter(.weight, of: node) else { return nil }
        var outgoing: BufferID?
        // Before the weights change.
        if needsInput {
            let primitive = try preferringStored(weight) { layout throws(KernelError) in
                switch node.kind {
                case .conv2d(let conv):
                    try Convolution.backwardData(shapes.convolution(conv, node), weights: layout, on: engine)
                case .linear(let linear):
                    try InnerProduct.backwardData(
                        shapes.innerProduct(linear, node), weights: layout, on: engine)
                default: preconditionFailure("\(node.name) has no weights")
                }
            }
            let weights = try weights(weight, as: primitive.layouts[1], for: "\(node.name) backward data")
            let count = batch * graph[node.inputs[0]].shape.elementCount
            let result = addBuffer("\(node.name) input gradient", floats: count)
            emit(
                "\(node.name) backward data", primitive, [gradient, weights, result], node: id,
                macs: batch * node.macs)
            outgoing = result
        }
        let primitive = try preferringStored(weight) { layout throws(KernelError) in
            switch node.kind {
            case .conv2d(let conv):
                try Convolution.backwardWeights(shapes.convolution(conv, node), weights: layout, on: engine)
            case .linear(let linear):
                try InnerProduct.backwardWeights(
                    shapes.innerProduct(linear, node), weights: layout, on: engine)
            default: preconditionFailure("\(node.name) has no weights")
            }
        }
        let weightGradient = addBuffer("\(graph[weight].name) gradient", floats: 0)
        var operands = [activation(node.inputs[0]), gradient, weightGradient]
        let bias = graph.parameter(.bias, of: node)
        var biasGradient: BufferID?
        if let bias {
            let buffer = addBuffer("\(graph[bias].name) gradient", floats: graph[bias].shape.elementCount)
            operands.append(buffer)
            biasGradient = buffer
        }
        emit("\(node.name) backward weights", primitive, operands, node: id, macs: batch * node.macs)
        try finish(weight, weightGradient, primitive.layouts[2])
        if let bias, let biasGradient { try finish(bias, biasGradient, store[bias].layout) }
        return outgoing
    }

    private mutating func backwardPooling(
        _ id: Graph.NodeID, _ node: Graph.Node, _ pool: LayerKind.Pool2d, _ gradient: BufferID
    ) throws(PlanError) -> BufferID {
        let primitive = try kernels { () throws(KernelError) in
            try Pooling.backward(shapes.pooling(pool, node), node.kind.poolingKind, on: engine)
        }
        let count = batch * graph[node.inputs[0]].shape.elementCount
        let result = addBuffer("\(node.name) input gradient", floats: count)
        emit(
            "\(node.name) backward", primitive, [gradient] + (saved[id] ?? []) + [result], node: id)
        return result
    }

    private mutating func backwardBatchNorm(
        _ id: Graph.NodeID, _ node: Graph.Node, _ norm: LayerKind.BatchNorm, _ gradient: BufferID,
        _ needsInput: Bool
    ) throws(PlanError) -> BufferID? {
        guard let saved = saved[id], let scale = graph.parameter(.scale, of: node),
            let shift = graph.parameter(.shift, of: node)
        else { return nil }
        let shape = shapes.batchNormalization(norm, node)
        let primitive = try kernels { () throws(KernelError) in
            try BatchNormalization.backward(shape, on: engine)
        }
        let count = batch * graph[node.inputs[0]].shape.elementCount
        let result = addBuffer("\(node.name) input gradient", floats: count)
        let scaleGradient = addBuffer("\(graph[scale].name) gradient", floats: shape.channels)
        let shiftGradient = addBuffer("\(graph[shift].name) gradient", floats: shape.channels)
        emit(
            "\(node.name) backward", primitive,
            saved + [
                gradient, parameterBuffer(scale), parameterBuffer(shift), result, scaleGradient,
                shiftGradient,
            ], node: id)
        try finish(scale, scaleGradient, store[scale].layout)
        try finish(shift, shiftGradient, store[shift].layout)
        guard needsInput else { return nil }
        guard let image = graph.flattenedSource(of: node.inputs[0]) else { return result }
        return try restoreOrder(result, image)
    }

    /// Updates a parameter by its gradient, or keeps the gradient for the caller.
    private mutating func finish(
        _ id: Graph.ParameterID, _ gradient: BufferID, _ layout: TensorLayout
    ) throws(PlanError) {
        guard case .training(_, let optimizer) = mode else {
            buffers[gradient.index].isKept = true
            parameterGradients[id] = (gradient, layout)
            return
        }
        let entry = store[id]
        var gradient = gradient
        if layout != entry.layout {
            let reorder = try kernels { () throws(KernelError) in
                try Reorder.prepare(from: layout, to: entry.layout, on: engine)
            }
            let stored = addBuffer(
                "\(graph[id].name) gradient as stored", floats: entry.layout.paddedCount)
            emit("\(graph[id].name) gradient reorder", reorder, [gradient, stored])
            gradient = stored
        }
        let decays = optimizer.decaysBiasAndNorm || !graph[id].role.isBiasOrNorm
        let kernel = OptimizerUpdates.sgd(
            count: entry.layout.paddedCount, momentum: optimizer.momentum,
            weightDecay: decays ? optimizer.weightDecay : 0, nesterov: optimizer.nesterov)
        var operands = [state, parameterBuffer(id), gradient]
        if optimizer.momentum != 0 { operands.append(parameterBuffer(id, velocity: true)) }
        emit("\(graph[id].name) update", kernel, operands)
    }
}
