internal import Compression
internal import Data
internal import Graph
internal import Plan
internal import Tensor

/// Going back to earlier weights (Frankle and Carbin, 2019; Frankle et al., 2020; Renda et al., 2020).
extension Trainer {
    /// What is gone back to: everything that training changes but masks and scores.
    private var rewoundParts: [ParameterStore.Part] { program.store.parts.filter { $0 != .score } }

    /// Keeps the present parameters where the run will come back to them.
    func keepRewindPoint() throws(TrainingError) {
        guard let pruner, rewindPoint.isEmpty, state.pruning?.step == nil else { return }
        switch pruner.options.rewind {
        case .none, .learningRate: return
        case .initial, .step: guard state.step == pruner.options.rewind.step else { return }
        }
        for part in rewoundParts {
            var values: [[Float]] = []
            for id in program.graph.parameterIDs { values.append(try read(id, part)) }
            rewindPoint[part] = values
        }
    }

    /// Puts what stays back to where training starts again, with the batches that came then.
    func rewind(by pruner: Pruner) throws(TrainingError) {
        guard let step = pruner.options.rewind.step else { return }
        let graph = program.graph
        for part in rewoundParts {
            for id in graph.parameterIDs where program.store.slot(id, part) != nil {
                let values: [Float]
                if let kept = rewindPoint[part]?[id.index], !kept.isEmpty {
                    values = kept
                } else if case .state = part {
                    // Weights stay, and training begins anew.
                    values = [Float](repeating: 0, count: graph[id].shape.elementCount)
                } else {
                    continue
                }
                try planning { () throws(PlanError) in try program.write(values, to: id, part) }
            }
        }
        try planning { () throws(PlanError) in try program.applyMasks() }
        state.position = BatchPosition(epoch: step / stepsPerEpoch, batch: step % stepsPerEpoch)
    }
}
