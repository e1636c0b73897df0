public import Compression
internal import Graph
internal import JSON
internal import Tensor

/// How a run prunes its model.
public struct Pruning: Sendable {
    public let options: PruneOptions
    /// Whether the model has been trained before.
    public let isStored: Bool
    /// A monotonic clock in nanoseconds, for constraints on the latency.
    let now: @Sendable () -> UInt64

    public init(_ options: PruneOptions, isStored: Bool, now: @escaping @Sendable () -> UInt64) {
        (self.options, self.isStored, self.now) = (options, isStored, now)
    }
}

extension PruneOptions {
    /// What happens when in a run that trains as `training` has it.
    public func timeline(
        _ training: TrainOptions, stepsPerEpoch: Int, isStored: Bool
    ) -> PruneTimeline {
        PruneTimeline(
            self, trainSteps: training.totalSteps(stepsPerEpoch: stepsPerEpoch),
            stepsPerEpoch: stepsPerEpoch, isStored: isStored)
    }
}

/// What decides when a run prunes what.
struct Pruner {
    /// What goes.
    enum Method {
        case masks(MaskSelection)
        case channels(ChannelSelection)
        /// Nothing any more: the channels are gone.
        case done
    }

    let pruning: Pruning
    let timeline: PruneTimeline
    let method: Method

    /// nil where the task does not prune; throws where the model has nothing that can be pruned as asked.
    init?(_ task: TrainingTask) throws(TrainingError) {
        guard let pruning = task.pruning, let timeline = task.pruneTimeline else { return nil }
        (self.pruning, self.timeline) = (pruning, timeline)
        guard task.shrunk == nil else {
            method = .done
            return
        }
        let (options, graph) = (pruning.options, task.model.graph)
        do throws(InvalidInput) {
            method =
                options.structure == .channel
                ? .channels(try ChannelSelection(options, graph: graph, at: "", seed: task.seed))
                : .masks(
                    MaskSelection(
                        options, targets: try options.targets(in: graph, at: ""), graph: graph,
                        seed: task.seed))
        } catch { throw .pruning(.nothingToPrune(reasons: error.violations.map(\.detail))) }
    }

    var options: PruneOptions { pruning.options }

    /// The schedule towards a target.
    func schedule(to target: Double) -> SparsitySchedule { timeline.schedule(to: target) }

    /// Whether the masks change at a step, before it is trained.
    func isUpdateStep(_ step: Int) -> Bool {
        if case .done = method { return false }
        return schedule(to: options.targetSparsity).isUpdateStep(step)
    }

    /// Whether a step's gradients count for the scores.
    func gathersScores(at state: TrainingState) -> Bool {
        if case .done = method { return false }
        return options.criterion.isGathered && state.step < timeline.lastUpdateStep
    }

    /// The learning rate of a step, counted from 0.
    func rate(at step: Int, training rates: LearningRateSchedule) -> Double {
        let phase = timeline.phase(at: step)
        switch phase.kind {
        case .training: return rates.rate(at: step)
        case .again(let first): return rates.rate(at: first + step - phase.firstStep)
        case .fineTuning:
            return LearningRateSchedule(
                base: rates.base * options.fineTuning.rateFactor, curve: rates.curve,
                totalSteps: phase.stepCount
            ).rate(at: step - phase.firstStep)
        }
    }

    /// What a step draws its random numbers by, counted from 0: a step that comes again draws the same.
    func number(of step: Int) -> Int {
        let phase = timeline.phase(at: step)
        guard case .again(let first) = phase.kind else { return step }
        return first + step - phase.firstStep
    }
}
