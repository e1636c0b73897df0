internal import Compression
internal import Data
internal import Graph
internal import JSON
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
    /// Steps of the whole run.
    public let steps: Int
    /// Steps of an epoch.
    public let stepsPerEpoch: Int
    /// Times some of the steps where it is set; it then reports once and is let go.
    public var profiler: StepProfiler?
    /// Steps that one point of the curves stands for, so that a long run's curve stays within `pointsMax`.
    public let stepsPerPoint: Int
    private let feed: BatchFeed
    /// What the teachers say, where there are any.
    let lesson: Lesson?
    /// The other student, where two learn from each other.
    let peer: Peer?
    /// What prunes the model, where something does.
    let pruner: Pruner?
    /// The parameters, states and averages that are gone back to after a pruning.
    var rewindPoint: [ParameterStore.Part: [[Float]]] = [:]
    private var rates: LearningRateSchedule

    /// Points of one curve at the most.
    public static let pointsMax = 20_000

    /// Compiles and allocates the program and draws the parameters.
    public init(_ task: TrainingTask) throws(TrainingError) {
        self.task = task
        do { try task.dataset.info.check(task.reading) } catch { throw .data(error) }
        feed = task.dataset.trainingFeed(task.reading)
        (steps, stepsPerEpoch) = (task.steps, task.stepsPerEpoch)
        pruner = try Pruner(task)
        stepsPerPoint = (steps + Self.pointsMax - 1) / Self.pointsMax
        rates = task.options.learningRates(stepsPerEpoch: stepsPerEpoch)
        let options = TrainingTask.programOptions(
            task.dataset.info, task.model, task.options, distillation: task.distillation?.options,
            pruning: task.shrunk == nil ? task.pruning?.options : nil, bytes: task.bytes,
            isMasked: task.start?.isMasked ?? false)
        let graph = try task.trainedGraph
        program = try planning { () throws(PlanError) in
            let engine: DNNEngine
            do throws(KernelError) { engine = try DNNEngine() } catch { throw .kernel(error) }
            let program = try Program(graph, options, on: engine)
            try program.allocate()
            return program
        }
        let (feed, engine) = (feed, program.engine)
        lesson = try task.distillation.flatMap { distillation throws(TrainingError) in
            distillation.peer == nil ? try Lesson(distillation, task, feed, on: engine) : nil
        }
        peer = try task.distillation?.peer.map { model throws(TrainingError) in
            try Peer(model, task, on: engine)
        }
        try initialize()
    }

    /// Bytes of the arena, of the teachers or the other student, and of the prefetched batches.
    public var byteCount: Int {
        program.byteCount + (lesson?.byteCount ?? 0) + (peer?.byteCount ?? 0)
            + (TrainingTask.inputByteCount(task.dataset.info, task.model, task.options) ?? 0)
    }

    /// Whether training has stopped because nothing got better any more.
    public var hasStoppedEarly: Bool {
        guard let stopping = task.options.earlyStopping else { return false }
        return state.evaluationsSinceBest >= stopping.patience
    }

    /// Trains to the end, or until the observer asks to stop.
    ///
    /// - Returns: nil at the end; the reason otherwise. Before a pause or a drain the observer has been asked
    ///   to store a checkpoint.
    public func run(_ observer: any TrainingObserver) throws(TrainingError) -> StopReason? {
        if let lesson, state.step < steps, try !lesson.prepare(observer) { return try stop(observer) }
        if task.options.findsLearningRate {
            if state.foundRate == nil, try !findLearningRate(observer) { return try stop(observer) }
            rates = task.options.learningRates(stepsPerEpoch: stepsPerEpoch, base: state.foundRate)
        }
        try preparePruning()
        var prefetcher = try prefetch(from: state.position)
        var pending = Pending()
        while isUnfinished {
            if isPruningDue {
                try prune(observer)
                if isReadyToShrink { return nil }
                if observer.stopReason != nil { return try stop(observer) }
                prefetcher = try prefetch(from: state.position)
                pending.waited = 0
                continue
            }
            if !isEvaluationDue {
                guard let batch = prefetcher.next() else { break }
                try train(on: batch, &pending)
                if profiler?.isDone == true { reportProfile(observer) }
                if state.step % stepsPerPoint == 0 || state.step == steps {
                    report(prefetcher, observer, &pending)
                }
            }
            if isEvaluationDue, try !evaluate(observer) { return try stop(observer) }
            if observer.stopReason != nil { return try stop(observer) }
            if observer.isCheckpointDue || task.options.keepsCheckpoint(at: state.step) {
                try observer.storeCheckpoint(of: self, isBest: false)
            }
        }
        reportProfile(observer)
        return nil
    }

    private func reportProfile(_ observer: any TrainingObserver) {
        if let profile = profiler?.profile { observer.didProfile(profile) }
        profiler = nil
    }

    private var isUnfinished: Bool {
        isPruningDue || isEvaluationDue || (state.step < steps && !hasStoppedEarly)
    }

    /// Whether the state is to be evaluated before the next step.
    var isEvaluationDue: Bool {
        guard state.step > state.evaluatedStep else { return false }
        return state.step == steps || state.step % (task.options.evaluationSteps ?? stepsPerEpoch) == 0
    }

    /// The training batches from a position on.
    func prefetch(from position: BatchPosition) throws(TrainingError) -> Prefetcher {
        let epochs = (steps + stepsPerEpoch - 1) / stepsPerEpoch
        do {
            return try feed.prefetcher(from: position, epochs: epochs)
        } catch { throw .data(error) }
    }

    /// What has been done since the last point, besides what the state keeps.
    private struct Pending {
        var samples = 0
        var macs = 0
        var waited: Int64 = 0
    }

    private func train(on batch: borrowing Batch, _ pending: inout Pending) throws(TrainingError) {
        let count = batch.count
        // A short last batch would only blur the picture.
        let isWhole = count == task.options.batchSize || stepsPerEpoch == 1
        if isWhole { profiler?.begin() }
        try keepRewindPoint()
        let (result, macs) = try step(batch, number: number(of: state.step), rate: rate(at: state.step))
        if isWhole { profiler?.end() }
        state.step += 1
        let loss = result.lossSum / Double(max(result.counted, 1))
        guard loss.isFinite else {
            throw .nonFiniteLoss(step: state.step, epoch: state.position.epoch, loss: loss)
        }
        state.position.batch += 1
        if state.position.batch == stepsPerEpoch {
            state.position = BatchPosition(epoch: state.position.epoch + 1, batch: 0)
        }
        state.window.add(result)
        state.epoch.add(result)
        pending.samples += count
        pending.macs += macs
    }

    /// The learning rate of a step, counted from 0.
    private func rate(at step: Int) -> Double {
        guard let pruner else { return rates.rate(at: step) }
        return pruner.rate(at: step, training: rates)
    }

    /// Updates the parameters once by a batch, in parts where it does not run as a whole.
    ///
    /// - Parameters:
    ///   - batch: The samples.
    ///   - number: The step's, counted from 0; decides dropout and the optimiser's corrections.
    ///   - rate: The learning rate.
    /// - Returns: The loss over the batch, and the multiply-accumulates that it took.
    /// - Throws: `TrainingError.plan` when a call fails.
    func step(
        _ batch: borrowing Batch, number: Int, rate: Double
    ) throws(TrainingError) -> (result: LossResult, macs: Int) {
        var step = StepState(
            seed: task.seed, step: 0, learningRate: Float(rate),
            inverseCount: 1 / Float(max(batch.targetCount, 1)))
        step.inverseSamples = 1 / Float(max(batch.count, 1))
        step.correctBias(of: task.options.optimizer.rule, update: number + 1)
        step.gathersScores = pruner?.gathersScores(at: state) == true ? 1 : 0
        step.movesRanges = task.bytes.map { state.step < $0.rangeSteps(of: steps) } == true ? 1 : 0
        step.softWeight = task.distillation?.options.softWeight(epoch: batch.position.epoch) ?? 1
        let parts = task.options.parts(of: batch.count)
        let partsMax = task.options.parts(of: task.options.batchSize).count
        var (first, macs) = (0, 0)
        var sum = LossResult()
        for (index, part) in parts.enumerated() {
            guard let plan = program.stepPlan(batch: part) else {
                preconditionFailure("no plan trains on \(part) samples")
            }
            let samples = first..<first + part
            let (arena, input, target) = (batch.arena, batch.inputSlot(samples), batch.targetSlot(samples))
            let taught = try lesson?.answers(for: batch, samples)
            // Parts draw random numbers of their own.
            step.step = UInt64(number * partsMax + index)
            step.microBatch = UInt32(index)
            let result = try planning { () throws(PlanError) in
                try plan.bindBatch(input: input, target: target, in: arena)
                guard let peer else {
                    try taught?.bind(to: plan)
                    return try run(plan, step)
                }
                return try run(plan, step) { () throws(PlanError) in
                    try peer.learn(with: plan, from: (input, target, arena), step)
                }
            }
            sum.add(result)
            macs += plan.macs + (taught?.macs ?? 0) + (peer?.macs(batch: part) ?? 0)
            first += part
        }
        try planning { () throws(PlanError) in
            if let update = program.updatePlan { _ = try run(update, step) }
            try peer?.update(step)
        }
        return (sum, macs)
    }

    private func run(_ plan: ExecutionPlan, _ state: StepState) throws(PlanError) -> LossResult {
        if let profiler { try profiler.run(plan, state) } else { try plan.run(state) }
    }

    private func run(
        _ plan: ExecutionPlan, _ state: StepState, beforeLoss body: () throws(PlanError) -> Void
    ) throws(PlanError) -> LossResult {
        if let profiler {
            try profiler.run(plan, state, beforeLoss: body)
        } else {
            try plan.run(state, beforeLoss: body)
        }
    }

    private func report(
        _ prefetcher: Prefetcher, _ observer: any TrainingObserver, _ pending: inout Pending
    ) {
        let waited = prefetcher.waitNanoseconds
        observer.didStep(
            StepReport(
                step: state.step, steps: steps, epoch: (state.step - 1) / stepsPerEpoch,
                epochs: (steps + stepsPerEpoch - 1) / stepsPerEpoch, loss: state.window.loss,
                learningRate: rate(at: state.step - 1), gradientNorm: program.gradientNorm?.norm,
                samples: pending.samples, macs: pending.macs, waitNanoseconds: waited - pending.waited,
                distillation: task.distillation == nil
                    ? nil
                    : DistillationReport(
                        hardLoss: state.window.hardLoss, softLoss: state.window.softLoss,
                        agreement: state.window.agreement,
                        featureLoss: program.graph.features.isEmpty ? nil : state.window.featureLoss)))
        state.window = TrainingState.Tally()
        pending = Pending(waited: waited)
    }

    /// Evaluates what the last steps led to; false when the observer stopped it half way.
    private func evaluate(_ observer: any TrainingObserver) throws(TrainingError) -> Bool {
        observer.willEvaluate(step: state.step)
        guard let validation = try evaluate(.validation, observer: observer) else { return false }
        let other = try evaluatePeer(.validation, observer: observer)
        guard (other == nil) == (peer == nil) else { return false }
        let isBest = state.judge(validation, task.options)
        observer.didFinishEpoch(
            EpochReport(
                epoch: (state.step - 1) / stepsPerEpoch, step: state.step, trainLoss: state.epoch.loss,
                trainAccuracy: state.epoch.accuracy, validation: validation, peer: other, isBest: isBest))
        state.epoch = TrainingState.Tally()
        if isBest { try observer.storeCheckpoint(of: self, isBest: true) }
        return true
    }

    private func stop(_ observer: any TrainingObserver) throws(TrainingError) -> StopReason? {
        let reason = observer.stopReason
        // Also of what is cancelled: who asks for another attempt goes on from there.
        if reason != nil { try observer.storeCheckpoint(of: self, isBest: false) }
        return reason
    }
}

extension TrainingState {
    /// Takes note of an evaluation at the present step.
    ///
    /// - Returns: Whether it is the best so far.
    mutating func judge(_ validation: EvaluationResult, _ options: TrainOptions) -> Bool {
        let found = options.metric == .accuracy ? validation.accuracy : -validation.loss
        let isBest = best.map { found > $0 + (options.earlyStopping?.minDelta ?? 0) } ?? !found.isNaN
        if isBest { (best, bestStep) = (found, step) }
        evaluationsSinceBest = isBest ? 0 : evaluationsSinceBest + 1
        bestAccuracy = max(bestAccuracy ?? 0, validation.accuracy)
        evaluatedStep = step
        return isBest
    }
}
