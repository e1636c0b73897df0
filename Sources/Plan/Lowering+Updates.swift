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

    /// Where a node should put a parameter's gradient: in the gradients' region, when it is the whole of it
    /// and lies there as it comes; else in a buffer of its own.
    mutating func gradientBuffer(_ id: Graph.ParameterID, in layout: TensorLayout?) -> BufferID {
        if case .training(_, let optimizer) = mode, optimizer.keepsGradients, waitingNodes[id] == 1,
            parameterSums[id] == nil, layout == nil || layout == store[id].layout,
            let slot = store.gradientSlot(id)
        {
            return persistent(slot, "\(graph[id].name) gradient")
        }
        return addBuffer("\(graph[id].name) gradient")
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
        case .training, .accumulation: try keep(id, gradient, layout)
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

    private func segment(
        _ id: Graph.ParameterID, at offset: Int, _ optimizer: OptimizerOptions
    ) -> OptimizerUpdates.Segment {
        let decays = optimizer.decaysBiasAndNorm || !graph[id].role.isBiasOrNorm
        return OptimizerUpdates.Segment(
            offset: offset / MemoryLayout<Float>.stride, count: store[id].layout.paddedCount,
            weightDecay: decays ? optimizer.weightDecay : 0)
    }

    /// Updates one parameter right behind its gradient.
    private mutating func update(
        _ id: Graph.ParameterID, _ gradient: BufferID, _ optimizer: OptimizerOptions
    ) {
        let kernel = OptimizerUpdates.update(
            optimizer.rule, segments: [segment(id, at: 0, optimizer)],
            averagingDecay: optimizer.averageDecay)
        var operands = [state, parameterBuffer(id), gradient]
        let kept = optimizer.rule.stateNames.indices.map { ParameterStore.Part.state($0) }
        for part in kept + (optimizer.averageDecay == nil ? [] : [.average]) {
            guard let slot = store.slot(id, part) else { continue }
            operands.append(persistent(slot, "\(graph[id].name) \(part)"))
        }
        emit("\(graph[id].name) update", kernel, operands)
    }

    /// Brings a gradient into the gradients' region.
    private mutating func keep(
        _ id: Graph.ParameterID, _ gradient: BufferID, _ layout: TensorLayout
    ) throws(PlanError) {
        guard let slot = store.gradientSlot(id) else { return }
        let kept = persistent(slot, "\(graph[id].name) gradient")
        if case .accumulation = mode {
            let stored = try stored(id, gradient, layout)
            emit(
                "\(graph[id].name) gradient",
                OptimizerUpdates.accumulate(count: store[id].layout.paddedCount), [state, stored, kept])
        } else if gradient != kept {
            let reorder = try kernels { () throws(KernelError) in
                try Reorder.prepare(from: layout, to: store[id].layout, on: engine)
            }
            emit("\(graph[id].name) gradient", reorder, [gradient, kept])
        }
    }

    /// Updates all parameters by the gradients' region in one pass.
    mutating func updateAll(_ optimizer: OptimizerOptions) {
        guard let gradients = store.gradients else { return }
        let segments = graph.parameterIDs.filter { graph[$0].isTrained }.map { id in
            segment(id, at: store[id].offset, optimizer)
        }
        let all = persistent(gradients, "gradients")
        let norm = persistent(store.norm, "gradient norm")
        if let most = optimizer.clipNorm {
            emit(
                "gradient norm", OptimizerUpdates.gradientNorm(segments: segments, normMax: most),
                [all, norm])
        }
        let kernel = OptimizerUpdates.update(
            optimizer.rule, segments: segments, averagingDecay: optimizer.averageDecay,
            clipped: optimizer.clipNorm != nil)
        var operands = [state, persistent(store.values, "parameters"), all]
        for (index, slot) in store.states.enumerated() { operands.append(persistent(slot, "state \(index)")) }
        if let averages = store.averages { operands.append(persistent(averages, "averages")) }
        if optimizer.clipNorm != nil { operands.append(norm) }
        emit("update", kernel, operands)
    }

    /// Lets the averages follow the running statistics, which no update changes.
    mutating func averageStatistics(_ optimizer: OptimizerOptions) {
        guard let decay = optimizer.averageDecay else { return }
        for id in graph.parameterIDs where !graph[id].role.isLearned {
            guard let slot = store.slot(id, .average) else { continue }
            let kernel = OptimizerUpdates.average(count: store[id].layout.paddedCount, decay: decay)
            emit(
                "\(graph[id].name) average", kernel,
                [parameterBuffer(id), persistent(slot, "\(graph[id].name) average")])
        }
    }
}
