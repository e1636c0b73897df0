internal import Graph
internal import Kernels
internal import Tensor

/// What becomes of the parameters' gradients.
extension Lowering {
    /// Takes one node's gradient of a parameter, whose buffer is transient; acts on the last node's.
    mutating func finish(
        _ id: Graph.ParameterID, _ gradient: BufferID, _ layout: TensorLayout
    ) throws(PlanError) {
        guard graph[id].isTrained else { return }
        waitingNodes[id, default: 1] -= 1
        let isLast = waitingNodes[id, default: 0] == 0
        var (total, totalLayout) = (gradient, layout)
        if let sum = parameterSums[id] {
            total = try stored(id, gradient, layout)
            let count = store[id].layout.paddedCount
            emit(
                "\(graph[id].name) sum of gradients", Elementwise.add(count: count),
                [sum.buffer, total, sum.buffer])
            (total, totalLayout) = (sum.buffer, store[id].layout)
        } else if !isLast {
            total = try stored(id, gradient, layout)
            totalLayout = store[id].layout
        }
        guard isLast else {
            parameterSums[id] = (total, totalLayout)
            return
        }
        try use(id, total, totalLayout)
    }

    /// Updates a parameter by its whole gradient, or keeps that.
    private mutating func use(
        _ id: Graph.ParameterID, _ gradient: BufferID, _ layout: TensorLayout
    ) throws(PlanError) {
        switch mode {
        case .gradients:
            buffers[gradient.index].isKept = true
            parameterGradients[id] = (gradient, layout)
        case .training(_, let optimizer) where !optimizer.keepsGradients:
            update(id, try stored(id, gradient, layout), optimizer)
        case .training: try keep(id, gradient, layout, adds: false)
        case .accumulation(_, let isFirst): try keep(id, gradient, layout, adds: !isFirst)
        case .evaluation, .update: break
        }
    }

    /// The gradient in the parameter's own layout.
    private mutating func stored(
        _ id: Graph.ParameterID, _ gradient: BufferID, _ layout: TensorLayout
    ) throws(PlanError) -> BufferID {
        guard layout != store[id].layout else { return gradient }
        let reorder = try kernels { () throws(KernelError) in
            try Reorder.prepare(from: layout, to: store[id].layout, on: engine)
        }
        let copy = addBuffer("\(graph[id].name) gradient as stored", bytes: store[id].layout.byteCount)
        emit("\(graph[id].name) gradient reorder", reorder, [gradient, copy])
        return copy
    }

    private mutating func update(
        _ id: Graph.ParameterID, _ gradient: BufferID, _ optimizer: OptimizerOptions
    ) {
        guard case .sgd(let momentum, let nesterov) = optimizer.rule else { return }
        let decays = optimizer.decaysBiasAndNorm || !graph[id].role.isBiasOrNorm
        let kernel = OptimizerUpdates.sgd(
            count: store[id].layout.paddedCount, momentum: momentum,
            weightDecay: decays ? optimizer.weightDecay : 0, nesterov: nesterov)
        var operands = [state, parameterBuffer(id), gradient]
        for index in 0..<optimizer.rule.stateCount {
            guard let slot = store.slot(id, .state(index)) else { continue }
            operands.append(persistent(slot, "\(graph[id].name) state \(index)"))
        }
        emit("\(graph[id].name) update", kernel, operands)
    }

    /// Stores a gradient in the gradients' region, or adds it to what is there.
    private mutating func keep(
        _ id: Graph.ParameterID, _ gradient: BufferID, _ layout: TensorLayout, adds: Bool
    ) throws(PlanError) {
    }

    /// Updates all parameters by the gradients' region in one pass.
    mutating func updateAll(_ optimizer: OptimizerOptions) {
    }
}
