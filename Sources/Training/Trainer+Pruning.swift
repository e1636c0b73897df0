internal import Compression
internal import Data
internal import Graph
internal import JSON
internal import Kernels
internal import Plan
internal import Tensor

/// Changing the masks of a run.
extension Trainer {
    /// Whether the masks change before anything else: at the end before the evaluation, which judges what is
    /// left; on the way behind it.
    var isPruningDue: Bool {
        guard let pruner, state.pruning?.step != state.step, pruner.isUpdateStep(state.step) else {
            return false
        }
        return state.step == steps || !isEvaluationDue
    }

    /// Whether the channels that go are final, and the run goes on with what is left.
    public var isReadyToShrink: Bool {
        guard let pruner, case .channels = pruner.method, pruner.options.shrinks, let pruned = state.pruning
        else { return false }
        return pruned.step == pruner.timeline.lastUpdateStep && !pruned.removed.isEmpty
    }

    /// What a step draws its random numbers by.
    func number(of step: Int) -> Int { pruner?.number(of: step) ?? step }

    /// Finds how many channels must go for the constraints to be met, before anything is trained.
    func preparePruning() throws(TrainingError) {
        guard let pruner, state.pruning == nil else { return }
        state.pruning = PruningState()
        guard case .channels(let selection) = pruner.method, !pruner.options.constraints.isEmpty else {
            return
        }
        // Before training all that can be told is sizes; what will be gathered is not there yet.
        var options = selection.options
        if options.criterion.readsGradients { options.criterion = .magnitude }
        let sized: ChannelSelection
        do throws(InvalidInput) {
            sized = try ChannelSelection(options, graph: program.graph, at: "", seed: task.seed)
        } catch { throw .pruning(.nothingToPrune(reasons: error.violations.map(\.detail))) }
        let numbers = try self.values { $0.isLearned }
        state.pruning?.target = try search(sized, numbers, previous: nil).ratio
    }

    /// Changes the masks as the schedule asks at the present step.
    func prune(_ observer: any TrainingObserver) throws(TrainingError) {
        guard let pruner, var pruned = state.pruning else { return }
        if pruned.step == nil { try observer.willPrune(self) }
        let isLast = state.step == pruner.timeline.lastUpdateStep
        let sparsity = { [step = state.step] (target: Double) in
            pruner.schedule(to: target).sparsity(at: step)
        }
        switch pruner.method {
        case .masks(let selection):
            let numbers = try numbers(for: pruner.options.criterion) { id in
                selection.targets.contains { $0.parameter == id }
            }
            pruned.sparsity = try choose(selection, numbers, sparsity)
        case .channels(let selection):
            let graph = program.graph
            let numbers = try numbers(for: pruner.options.criterion) { graph[$0].role.isLearned }
            let previous = ChannelChoice(groups: selection.groups, removed: Set(pruned.removed))
            let choice: ChannelChoice
            if isLast, !pruner.options.constraints.isEmpty {
                choice = try search(selection, numbers, previous: previous).choice
            } else {
                choice = try compressing { () throws(CompressionError) in
                    try selection.choose(
                        numbers, previous: previous, sparsity: sparsity, target: pruned.target)
                }
            }
            try hold(choice.masks)
            (pruned.removed, pruned.sparsity) = (choice.removed.sorted(), choice.sparsity)
        case .done: return
        }
        pruned.step = state.step
        state.pruning = pruned
        if pruner.options.criterion == .taylor { try forgetScores() }
        try rewind(by: pruner)
        // What was best before had other masks.
        (state.best, state.bestStep, state.bestAccuracy, state.evaluationsSinceBest) = (nil, 0, nil, 0)
        observer.didPrune(PruneReport(step: state.step, sparsity: pruned.sparsity, isLast: isLast))
    }

    /// Chooses and sets the masks of single weights, tiles or groups; returns the sparsity.
    private func choose(
        _ selection: MaskSelection, _ numbers: [Graph.ParameterID: [Float]], _ sparsity: (Double) -> Double
    ) throws(TrainingError) -> Double {
        var previous: [Graph.ParameterID: Mask] = [:]
        for target in selection.targets {
            let mask = try planning { () throws(PlanError) in try program.mask(of: target.parameter) }
            previous[target.parameter] = mask.map { Mask($0) }
        }
        let masks = try compressing { () throws(CompressionError) in
            try selection.masks(numbers, previous: previous, sparsity: sparsity)
        }
        try hold(masks)
        let (kept, whole) = masks.values.reduce((0, 0)) { ($0.0 + $1.keptCount, $0.1 + $1.count) }
        return whole == 0 ? 0 : Double(whole - kept) / Double(whole)
    }

    /// Holds zeros where the masks are 0, besides those that are held already.
    private func hold(_ masks: [Graph.ParameterID: Mask]) throws(TrainingError) {
        for id in program.graph.parameterIDs {
            guard let mask = masks[id], program.graph[id].isTrained else { continue }
            try planning { () throws(PlanError) in
                let held = try program.mask(of: id).map { mask.intersection(Mask($0)) } ?? mask
                try program.setMask(held.elements, of: id)
            }
        }
    }

    private func search(
        _ selection: ChannelSelection, _ numbers: [Graph.ParameterID: [Float]], previous: ChannelChoice?
    ) throws(TrainingError) -> ConstraintSearch.Result {
        let clock = task.pruning?.now ?? { 0 }
        return try compressing { () throws(CompressionError) in
            let search = try ConstraintSearch(
                selection, of: task.model, numbers: numbers, previous: previous)
            return try search.run { model throws(CompressionError) in
                do throws(TrainingError) {
                    return try LatencyMeasurement.milliseconds(of: model, now: clock)
                } catch { throw .invalidModel(error.description) }
            }
        }
    }

    /// What a criterion looks at, of some parameters.
    private func numbers(
        for criterion: PruneOptions.Criterion, of isWanted: (Graph.ParameterID) -> Bool
    ) throws(TrainingError) -> [Graph.ParameterID: [Float]] {
        let wanted = program.graph.parameterIDs.filter { isWanted($0) && program.graph[$0].isTrained }
        var numbers: [Graph.ParameterID: [Float]] = [:]
        switch criterion {
        case .random: break
        case .magnitude, .bnScale: for id in wanted { numbers[id] = try read(id) }
        case .taylor: for id in wanted { numbers[id] = try read(id, .score) }
        case .movement: for id in wanted { numbers[id] = try read(id, .score).map { -$0 } }
        case .snip:
            let gradients = try batchGradients(of: wanted)
            for (id, gradient) in zip(wanted, gradients) {
                numbers[id] = zip(try read(id), gradient).map { $0 * $1 }
            }
        }
        return numbers
    }

    private func values(
        of isWanted: (Graph.Parameter.Role) -> Bool
    ) throws(TrainingError) -> [Graph.ParameterID: [Float]] {
        var values: [Graph.ParameterID: [Float]] = [:]
        for id in program.graph.parameterIDs where isWanted(program.graph[id].role) {
            values[id] = try read(id)
        }
        return values
    }

    /// The gradients of the loss over the batch that is next, as a step would have them.
    private func batchGradients(of wanted: [Graph.ParameterID]) throws(TrainingError) -> [[Float]] {
        let prefetcher = try prefetch(from: state.position)
        var sums = wanted.map { [Float](repeating: 0, count: program.graph[$0].shape.elementCount) }
        guard let batch = prefetcher.next() else { return sums }
        var step = StepState(
            seed: task.seed, step: 0, learningRate: 0, inverseCount: 1 / Float(max(batch.targetCount, 1)))
        step.inverseSamples = 1 / Float(max(batch.count, 1))
        let parts = task.options.parts(of: batch.count)
        let partsMax = task.options.parts(of: task.options.batchSize).count
        var first = 0
        for (index, part) in parts.enumerated() {
            guard let plan = program.gradientPlan(batch: part) else {
                preconditionFailure("no plan has the gradients of \(part) samples")
            }
            let samples = first..<first + part
            let (arena, input, target) = (batch.arena, batch.inputSlot(samples), batch.targetSlot(samples))
            let taught = try lesson?.answers(for: batch, samples)
            step.step = UInt64(number(of: state.step) * partsMax + index)
            let gradients = try planning { () throws(PlanError) in
                try plan.bindBatch(input: input, target: target, in: arena)
                try taught?.bind(to: plan)
                _ = try plan.run(step)
                var gradients: [[Float]] = []
                for id in wanted { gradients.append(try plan.gradient(of: id, on: program.engine) ?? []) }
                return gradients
            }
            for (place, gradient) in gradients.enumerated() {
                for element in gradient.indices { sums[place][element] += gradient[element] }
            }
            first += part
        }
        return sums
    }

    private func forgetScores() throws(TrainingError) {
        for id in program.graph.parameterIDs where program.graph[id].isTrained {
            let zeros = [Float](repeating: 0, count: program.graph[id].shape.elementCount)
            try planning { () throws(PlanError) in try program.write(zeros, to: id, .score) }
        }
    }
}
