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
            try refreshCopy(of: id)
        case .training: keep(id, try stored(id, gradient, layout))
        case .accumulation: accumulate(id, try stored(id, gradient, layout))
        case .evaluation, .inference, .update: break
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
        let count = store[id].layout.paddedCount
        if let slot = store.slot(id, .score) {
            let score = persistent(slot, "\(graph[id].name) score")
            emit(
                "\(graph[id].name) score", Masking.score(count: count),
                [state, parameterBuffer(id), gradient, score], pass: .update)
        }
        let kernel = OptimizerUpdates.update(
            optimizer.rule, segments: [optimizer.segment(0, count, of: graph[id])],
            averagingDecay: optimizer.averageDecay, masked: optimizer.isMasked)
        var operands = [state, parameterBuffer(id), gradient]
        operands += kept(id, optimizer)
        emit("\(graph[id].name) update", kernel, operands, pass: .update)
    }

    /// What an update of a parameter looks at beside its value: the rule's states, the average, the mask.
    private mutating func kept(_ id: Graph.ParameterID, _ optimizer: OptimizerOptions) -> [BufferID] {
        var kept: [BufferID] = []
        for (index, name) in optimizer.rule.stateNames.enumerated() {
            guard let slot = store.slot(id, .state(index)) else { continue }
            kept.append(persistent(slot, "\(graph[id].name) \(name)"))
        }
        if let slot = store.slot(id, .average) {
            kept.append(persistent(slot, "\(graph[id].name) average"))
        }
        if let slot = store.maskSlot(id) { kept.append(persistent(slot, "\(graph[id].name) mask")) }
        return kept
    }

    /// What computes a linear layer's gradients and updates its parameters by them in one call, where nothing
    /// else needs the gradients; nil where something does, or there is no such kernel for the layer.
    func gradientUpdate(
        _ node: Graph.Node, weight: Graph.ParameterID, bias: Graph.ParameterID?
    ) -> (any PreparedKernel)? {
        guard options.fuses, case .linear(let hasBias) = node.operation,
            case .training(_, let optimizer) = mode, !optimizer.keepsGradients, !optimizer.gathersScores,
            isOnlyGradient(of: weight), bias.map({ isOnlyGradient(of: $0) || !graph[$0].isTrained }) ?? true
        else { return nil }
        let trainedBias = bias.flatMap { graph[$0].isTrained ? $0 : nil }
        return LinearGradient.update(
            shapes.innerProduct(hasBias: hasBias, node), options.precision, weights: store[weight].layout,
            by: .init(
                optimizer.rule, weightDecay: optimizer.decay(of: graph[weight]),
                biasDecay: trainedBias.map { optimizer.decay(of: graph[$0]) },
                averagingDecay: optimizer.averageDecay, copies: store[weight].copy != nil,
                isMasked: optimizer.isMasked))
    }

    /// Runs what `gradientUpdate` found; to be called once nothing needs the weights any more.
    mutating func update(
        by kernel: any PreparedKernel, _ node: Graph.Node, _ gradient: BufferID, weight: Graph.ParameterID,
        bias: Graph.ParameterID?
    ) {
        guard case .training(_, let optimizer) = mode else { return }
        let trainedBias = bias.flatMap { graph[$0].isTrained ? $0 : nil }
        var operands = [state, operand(of: node), gradient]
        for id in [weight, trainedBias].compactMap(\.self) {
            operands += [parameterBuffer(id)] + kept(id, optimizer)
            waitingNodes[id] = 0
        }
        if let copy = store[weight].copy { operands.append(copyBuffer(weight, copy.slot)) }
        emit("\(node.name) backward weights + update", kernel, operands, macs: batch * node.macs)
    }

    /// Whether the node being lowered alone brings a parameter's gradient.
    private func isOnlyGradient(of id: Graph.ParameterID) -> Bool {
        graph[id].isTrained && waitingNodes[id] == 1 && parameterSums[id] == nil
    }

    /// The buffer of a parameter's bfloat16 copy.
    mutating func copyBuffer(_ id: Graph.ParameterID, _ slot: Slot) -> BufferID {
        persistent(slot, "\(graph[id].name) as bfloat16")
    }

    /// Lets the bfloat16 copy of a parameter, if there is one, follow its update.
    private mutating func refreshCopy(of id: Graph.ParameterID) throws(PlanError) {
        guard let copy = store[id].copy else { return }
        let kernel = try kernels { () throws(KernelError) in
            try WeightCopy.prepare(from: store[id].layout, to: copy.layout, on: engine)
        }
        emit(
            "\(graph[id].name) as bfloat16", kernel, [parameterBuffer(id), copyBuffer(id, copy.slot)],
            pass: .update)
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
    mutating func updateAll(_ optimizer: OptimizerOptions) throws(PlanError) {
        guard let gradients = store.gradients else { return }
        let segments = graph.parameterIDs.filter { graph[$0].isTrained }.map { id in
            optimizer.segment(
                store[id].offset / MemoryLayout<Float>.stride, store[id].layout.paddedCount, of: graph[id])
        }
        let gradient = persistent(gradients, "gradients")
        let count = store.values.byteCount / MemoryLayout<Float>.stride
        var operands = [state, persistent(store.values, "parameters"), gradient]
        if let slot = store.scores {
            emit("scores", Masking.score(count: count), operands + [persistent(slot, "scores")])
        }
        for (slot, name) in zip(store.states, optimizer.rule.stateNames) {
            operands.append(persistent(slot, name))
        }
        if let slot = store.averages { operands.append(persistent(slot, "averages")) }
        if let slot = store.masks {
            let masks = persistent(slot, "masks")
            operands.append(masks)
            // What is held at zero counts for nothing in the norm.
            if optimizer.clipNorm != nil {
                emit("masked gradients", Masking.apply(count: count), [gradient, masks])
            }
        }
        if optimizer.clipNorm != nil {
            let norm = persistent(store.norm, "gradient norm")
            let kernel = OptimizerUpdates.gradientNorm(segments: segments, normMax: optimizer.clipNorm)
            emit("gradient norm", kernel, [gradient, norm])
            operands.append(norm)
        }
        let kernel = OptimizerUpdates.update(
            optimizer.rule, segments: segments, averagingDecay: optimizer.averageDecay,
            masked: optimizer.isMasked, clipped: optimizer.clipNorm != nil)
        emit("update", kernel, operands)
        for id in graph.parameterIDs where graph[id].isTrained { try refreshCopy(of: id) }
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
        .init(offset: offset, count: count, weightDecay: decay(of: parameter))
    }

    /// The decay of one parameter.
    fileprivate func decay(of parameter: Graph.Parameter) -> Float {
        decaysBiasAndNorm || !parameter.role.isBiasOrNorm ? weightDecay : 0
    }
}
