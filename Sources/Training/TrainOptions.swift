public import Data
public import Graph
public import JSON
public import Plan
public import Tensor

/// How a model is trained.
public struct TrainOptions: Sendable {
    /// The arithmetic of a step.
    public enum Precision: String, Sendable, CaseIterable {
        case fp32
        /// Activations and their gradients in bfloat16; parameters, statistics and losses in float32.
        case bf16

        /// What activations are stored as.
        public var element: ElementType { self == .bf16 ? .bfloat16 : .float32 }
    }

    /// The update rule.
    public enum OptimizerName: String, Sendable, CaseIterable { case sgd, adam, adamw, lion, rmsprop }

    /// The learning rate's curve.
    public enum ScheduleName: String, Sendable, CaseIterable {
        case constant, step, exponential, linear, cosine
        case oneCycle = "one_cycle"
        case warmupStableDecay = "warmup_stable_decay"
    }

    /// What the output is compared by.
    public enum LossName: String, Sendable, CaseIterable {
        case crossEntropy = "cross_entropy"
        case mse, l1, huber, bce, kl
    }

    /// Whose weights become the model.
    public enum Keep: String, Sendable, CaseIterable { case last, best }

    /// What an evaluation is judged by.
    public enum Metric: String, Sendable, CaseIterable {
        case loss = "val_loss"
        case accuracy = "val_accuracy"
    }

    /// When to stop because nothing gets better any more.
    public struct EarlyStopping: Sendable, Hashable {
        /// Evaluations without a better one after which training stops.
        public var patience: Int
        /// What counts as better.
        public var minDelta: Double
        public var metric: Metric

        public init(patience: Int = 3, minDelta: Double = 0, metric: Metric = .loss) {
            (self.patience, self.minDelta, self.metric) = (patience, minDelta, metric)
        }
    }

    public var epochs = 10
    /// Steps of the whole run, instead of `epochs`.
    public var steps: Int?
    /// Steps between evaluations; nil evaluates at the end of each epoch.
    public var evaluationSteps: Int?
    public var batchSize = 64
    /// Samples that are in memory at once; nil for the whole batch.
    public var microBatchSize: Int?
    /// Whether that is left to the planner; see `cutBatch`.
    public var choosesMicroBatch = true
    /// Parts of the forward pass, of which all but the last are computed again instead of being kept.
    public var checkpointSegments = 1
    /// Whether their number is left to the service; not part of what decides a run.
    public var choosesSegments = true
    public var precision = Precision.fp32
    public var loss = LossKind.crossEntropy(labelSmoothing: 0)
    public var learningRate = 0.1
    /// Whether the rate is found by a sweep before training starts, instead of `learningRate`.
    public var findsLearningRate = false
    public var optimizer = OptimizerOptions()
    public var schedule = ScheduleName.constant
    public var warmupSteps = 0
    public var minRatio = 0.0
    /// Epochs between the drops of the schedule `step`, or over which `exponential` falls by `gamma`.
    public var stepSize = 1
    public var gamma = 0.1
    /// Parts of the steps in which `one_cycle` rises and `warmup_stable_decay` falls.
    public var riseFraction = 0.3
    public var fallFraction = 0.2
    public var startDivisor = 25.0
    public var endDivisor = 1e4
    /// Part of the training split that is set aside for validation; 0 uses the test split.
    public var validationFraction = 0.0
    public var augmentation = Augmentation.none
    /// Longest time between checkpoints, in seconds; the service's choice by default.
    public var checkpointSeconds = Automatic<Double>.automatic
    /// Steps between checkpoints that stay; nil keeps none.
    public var keptCheckpointSteps: Int?
    public var keep = Keep.last
    public var earlyStopping: EarlyStopping?
    /// What alone is trained, beside frozen weights; nil trains everything.
    public var adapters: LowRankAdapters?

    public init() {}

    /// Whether the state after so many steps stays.
    public func keepsCheckpoint(at step: Int) -> Bool {
        keptCheckpointSteps.map { step > 0 && step % $0 == 0 } ?? false
    }

    /// The metric by which an evaluation is the best so far.
    public var metric: Metric { earlyStopping?.metric ?? .accuracy }

    /// Samples of the largest part of a batch that runs at once.
    public var largestPart: Int { min(microBatchSize ?? batchSize, batchSize) }

    /// Cuts the batch as the planner likes it for each of the networks that are trained on it together, where
    /// that is left to it.
    public mutating func cutBatch(for graphs: [Graph]) {
        guard choosesMicroBatch else { return }
        let size = graphs.map { MicroBatch.size(of: batchSize, $0, precision.element) }.max() ?? batchSize
        microBatchSize = size < batchSize ? size : nil
    }

    /// Cuts the batch once more, where that is left to the planner and it would.
    ///
    /// - Returns: Whether the parts are smaller now.
    public mutating func cutBatchFurther(for graphs: [Graph]) -> Bool {
        let sizes = graphs.compactMap { MicroBatch.size(below: largestPart, $0) }
        guard choosesMicroBatch, sizes.count == graphs.count, let size = sizes.max() else { return false }
        microBatchSize = size
        return true
    }

    /// How batches of this size are cut.
    public func parts(of count: Int) -> [Int] {
        let full = [Int](repeating: largestPart, count: count / largestPart)
        return count % largestPart == 0 ? full : full + [count % largestPart]
    }

    /// The optimiser as the plans take it.
    var plannedOptimizer: OptimizerOptions {
        var planned = optimizer
        planned.accumulates = largestPart < batchSize
        return planned
    }

    /// How graphs are lowered.
    var lowering: LoweringOptions {
        var options = LoweringOptions()
        options.precision = precision.element
        options.segments = checkpointSegments
        return options
    }

    /// Steps of the whole run.
    public func totalSteps(stepsPerEpoch: Int) -> Int { steps ?? epochs * stepsPerEpoch }

    /// The schedule over a number of steps, from `base` where that is not `learningRate`.
    public func learningRates(stepsPerEpoch: Int, base: Double? = nil) -> LearningRateSchedule {
        let curve: LearningRateSchedule.Curve =
            switch schedule {
            case .constant: .constant
            case .step: .step(stepSize: stepSize * stepsPerEpoch, gamma: gamma)
            case .exponential: .exponential(stepSize: stepSize * stepsPerEpoch, gamma: gamma)
            case .linear: .linear(minRatio: minRatio)
            case .cosine: .cosine(minRatio: minRatio)
            case .oneCycle:
                .oneCycle(rise: riseFraction, startDivisor: startDivisor, endDivisor: endDivisor)
            case .warmupStableDecay: .warmupStableDecay(fall: fallFraction, minRatio: minRatio)
            }
        return LearningRateSchedule(
            base: base ?? learningRate, curve: curve, warmupSteps: warmupSteps,
            totalSteps: totalSteps(stepsPerEpoch: stepsPerEpoch))
    }
}
