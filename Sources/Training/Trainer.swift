internal import Data
internal import Graph
internal import Kernels
public import Plan
internal import Tensor

/// One training run: its program, its parameters and where it stands.
///
/// Belongs to the thread that makes it, whose `ThreadTeam` it computes on. The same task gives the same bits
/// on the same machine with the same number of threads, whether or not it is interrupted and resumed.
public final class Trainer {
    public let task: TrainingTask
    public let program: Program
    public internal(set) var state = TrainingState()
    /// Steps of an epoch.
    public let stepsPerEpoch: Int
    /// Steps that one point of the curves stands for, so that a long run's curve stays within `pointsMax`.
    public let stepsPerPoint: Int
    private let feed: BatchFeed
    private let rates: LearningRateSchedule

    /// Points of one curve at the most.
    public static let pointsMax = 20_000

    /// Compiles and allocates the program and draws the parameters.
    public init(_ task: TrainingTask) throws(TrainingError) {
        self.task = task
        do { try task.dataset.info.check(task.reading) } catch { throw .data(error) }
        feed = task.dataset.trainingFeed(task.reading)
        stepsPerEpoch = feed.batcher.batchCount
        let steps = task.options.epochs * stepsPerEpoch
        stepsPerPoint = (steps + Self.pointsMax - 1) / Self.pointsMax
        rates = task.options.learningRates(stepsPerEpoch: stepsPerEpoch)
        let options = TrainingTask.programOptions(task.dataset.info, task.model, task.options)
        program = try planning { () throws(PlanError) in
            let engine: DNNEngine
            do throws(KernelError) { engine = try DNNEngine() } catch { throw .kernel(error) }
            let program = try Program(task.model.graph, options, on: engine)
            try program.allocate()
            return program
        }
        for (index, id) in program.graph.parameterIDs.enumerated() {
            let values = Initializer.values(
                of: program.graph[id], index: index, rule: task.model.initialization, seed: task.seed)
            try planning { () throws(PlanError) in try program.write(values, to: id) }
        }
    }

    public var steps: Int { task.options.epochs * stepsPerEpoch }

    /// Bytes of the arena and of the prefetched batches.
    public var byteCount: Int {
        program.byteCount
            + (TrainingTask.inputByteCount(task.dataset.info, task.model, task.options) ?? 0)
    }

    /// Trains to the end, or until the observer asks to stop.
    ///
    /// - Returns: nil at the end; the reason otherwise. Before a pause or a drain the observer has been asked
    ///   to store a checkpoint.
    public func run(_ observer: any TrainingObserver) throws(TrainingError) -> StopReason? {
        let prefetcher: Prefetcher
        do {
            prefetcher = try feed.prefetcher(from: state.position, epochs: task.options.epochs)
        } catch { throw .data(error) }
        var pending = Pending()
        while state.position.epoch < task.options.epochs {
            if state.position.batch < stepsPerEpoch {
                guard let batch = prefetcher.next() else { break }
                try step(batch, &pending)
                if state.step % stepsPerPoint == 0 || state.step == steps {
                    report(prefetcher, observer, &pending)
                }
            }
            if state.position.batch >= stepsPerEpoch, try !finishEpoch(observer) {
                return try stop(observer)
            }
            if observer.stopReason != nil { return try stop(observer) }
            if observer.isCheckpointDue { try observer.storeCheckpoint(of: self, isBest: false) }
        }
        return nil
    }

    /// What has been done since the last point, besides what the state keeps.
    private struct Pending {
        var samples = 0
        var macs = 0
        var waited: Int64 = 0
    }

    private func step(_ batch: borrowing Batch, _ pending: inout Pending) throws(TrainingError) {
        guard let plan = program.trainingPlan(batch: batch.count) else {
            preconditionFailure("no plan trains on \(batch.count) samples")
        }
        let count = batch.count
        let (arena, input, target) = (batch.arena, batch.inputSlot, batch.targetSlot)
        let step = StepState(
            seed: task.seed, step: UInt64(state.step), learningRate: Float(rates.rate(at: state.step)),
            inverseCount: 1 / Float(count))
        let result = try planning { () throws(PlanError) in
            try plan.bindBatch(input: input, target: target, in: arena)
            return try plan.run(step)
        }
        state.step += 1
        let loss = result.lossSum / Double(count)
        guard loss.isFinite else {
            throw .nonFiniteLoss(step: state.step, epoch: state.position.epoch, loss: loss)
        }
        state.position.batch += 1
        state.window.add(lossSum: result.lossSum, correct: Int(result.correct), samples: count)
        state.epoch.add(lossSum: result.lossSum, correct: Int(result.correct), samples: count)
        pending.samples += count
        pending.macs += plan.macs
    }

    private func report(
        _ prefetcher: Prefetcher, _ observer: any TrainingObserver, _ pending: inout Pending
    ) {
        let waited = prefetcher.waitNanoseconds
        observer.didStep(
            StepReport(
                step: state.step, steps: steps, epoch: state.position.epoch, epochs: task.options.epochs,
                loss: state.window.loss, learningRate: rates.rate(at: state.step - 1),
                samples: pending.samples, macs: pending.macs, waitNanoseconds: waited - pending.waited))
        state.window = TrainingState.Tally()
        pending = Pending(waited: waited)
    }

    /// Evaluates at the end of an epoch; false when the observer stopped it half way.
    private func finishEpoch(_ observer: any TrainingObserver) throws(TrainingError) -> Bool {
        observer.willEvaluate(step: state.step)
        guard let validation = try evaluate(.validation, observer: observer) else { return false }
        let isBest = validation.accuracy > state.bestAccuracy ?? -1
        if isBest { (state.bestAccuracy, state.bestStep) = (validation.accuracy, state.step) }
        observer.didFinishEpoch(
            EpochReport(
                epoch: state.position.epoch, step: state.step, trainLoss: state.epoch.loss,
                trainAccuracy: state.epoch.accuracy, validation: validation, isBest: isBest))
        state.epoch = TrainingState.Tally()
        state.position.epoch += 1
        state.position.batch = 0
        if isBest { try observer.storeCheckpoint(of: self, isBest: true) }
        return true
    }

    private func stop(_ observer: any TrainingObserver) throws(TrainingError) -> StopReason? {
        let reason = observer.stopReason
        if reason == .pause || reason == .drain { try observer.storeCheckpoint(of: self, isBest: false) }
        return reason
    }
}
