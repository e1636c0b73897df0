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
        case .training: keep(id, try stored(id, gradient, layout))
        case .accumulation: accumulate(id, try stored(id, gradient, layout))
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

    /// Updates one parameter right behind its gradient.
    private mutating func update(
        _ id: Graph.ParameterID, _ gradient: BufferID, _ optimizer: OptimizerOptions
    ) {
        let segment = optimizer.segment(0, store[id].layout.paddedCount, of: graph[id])
        let kernel = OptimizerUpdates.update(
            optimizer.rule, segments: [segment], averagingDecay: optimizer.averageDecay)
        var operands = [state, parameterBuffer(id), gradient]
        for (index, name) in optimizer.rule.stateNames.enumerated() {
            guard let slot = store.slot(id, .state(index)) else { continue }
            operands.append(persistent(slot, "\(graph[id].name) \(name)"))
        }
        if let slot = store.slot(id, .average) {
            operands.append(persistent(slot, "\(graph[id].name) average"))
        }
        emit("\(graph[id].name) update", kernel, operands, pass: .update)
    }

    /// Lets a gradient be computed in its place in the gradients' region.
    private mutating func keep(_ id: Graph.ParameterID, _ gradient: BufferID) {
        guard let slot = store.gradientSlot(id) else { return }
        // What one node computes for one parameter is nobody else's buffer.
        buffers[gradient.index].home = .persistent(slot)
    }

    /// Adds a gradient to those of the step's earlier micro-batches.
    private mutating func accumulate(_ id: Graph.ParameterID, _ gradient: BufferID) {
        guard let slot = store.gradientSlot(id) else { return }
        emit(
            "\(graph[id].name) gradient sum",
            OptimizerUpdates.accumulate(count: store[id].layout.paddedCount),
            [state, gradient, persistent(slot, "\(graph[id].name) gradient")])
    }

    /// Updates all parameters by the gradients' region in one pass.
    mutating func updateAll(_ optimizer: OptimizerOptions) {
        guard let gradients = store.gradients else { return }
        let segments = graph.parameterIDs.filter { graph[$0].isTrained }.map { id in
            optimizer.segment(
                store[id].offset / MemoryLayout<Float>.stride, store[id].layout.paddedCount, of: graph[id])
        }
        let gradient = persistent(gradients, "gradients")
        var operands = [state, persistent(store.values, "parameters"), gradient]
        for (slot, name) in zip(store.states, optimizer.rule.stateNames) {
            operands.append(persistent(slot, name))
        }
        if let slot = store.averages { operands.append(persistent(slot, "averages")) }
        if optimizer.clipNorm != nil {
            let norm = persistent(store.norm, "gradient norm")
            let kernel = OptimizerUpdates.gradientNorm(segments: segments, normMax: optimizer.clipNorm)
            emit("gradient norm", kernel, [gradient, norm])
            operands.append(norm)
        }
        let kernel = OptimizerUpdates.update(
            optimizer.rule, segments: segments, averagingDecay: optimizer.averageDecay,
            clipped: optimizer.clipNorm != nil)
        emit("update", kernel, operands)
    }

    /// Lets the averages of running statistics follow, which no update changes.
    ///
    /// What is frozen is its own average.
    mutating func averageStatistics(_ optimizer: OptimizerOptions) {
        guard let decay = optimizer.averageDecay else { return }
        for id in graph.parameterIDs where !graph[id].role.isLearned {
            guard let slot = store.slot(id, .average) else { continue }
            emit(
                "\(graph[id].name) average",
                OptimizerUpdates.average(count: store[id].layout.paddedCount, decay: decay),
                [parameterBuffer(id), persistent(slot, "\(graph[id].name) average")])
        }
    }
}

extension OptimizerOptions {
    /// A parameter's place in an update, with its decay.
    fileprivate func segment(
        _ offset: Int, _ count: Int, of parameter: Graph.Parameter
    ) -> OptimizerUpdates.Segment {
        let decays = decaysBiasAndNorm || !parameter.role.isBiasOrNorm
        return .init(offset: offset, count: count, weightDecay: decays ? weightDecay : 0)
    }
}
