public import Data
public import Plan

/// How a model is trained.
public struct TrainOptions: Sendable {
    /// The arithmetic of a step.
    public enum Precision: String, Sendable, CaseIterable { case fp32 }

    /// The update rule.
    public enum OptimizerName: String, Sendable, CaseIterable { case sgd }

    /// The learning rate's curve.
    public enum ScheduleName: String, Sendable, CaseIterable { case constant, step, linear, cosine }

    /// What the output is compared by.
    public enum LossName: String, Sendable, CaseIterable {
        case crossEntropy = "cross_entropy"
        case mse
    }

    /// Whose weights become the model.
    public enum Keep: String, Sendable, CaseIterable { case last, best }

    public var epochs = 10
    public var batchSize = 64
    public var loss = LossKind.crossEntropy(labelSmoothing: 0)
    public var learningRate = 0.1
    public var optimizer = OptimizerOptions()
    public var schedule = ScheduleName.constant
    public var warmupSteps = 0
    public var minRatio = 0.0
    /// Epochs between the drops of the schedule `step`.
    public var stepSize = 1
    public var gamma = 0.1
    /// Part of the training split that is set aside for validation; 0 uses the test split.
    public var validationFraction = 0.0
    public var augmentation = Augmentation.none
    /// Longest time between checkpoints, in seconds.
    public var checkpointSeconds = 30.0
    public var keep = Keep.last

    public init() {}

    /// The schedule over a number of steps.
    public func learningRates(stepsPerEpoch: Int) -> LearningRateSchedule {
        let curve: LearningRateSchedule.Curve =
            switch schedule {
            case .constant: .constant
            case .step: .step(stepSize: stepSize * stepsPerEpoch, gamma: gamma)
            case .linear: .linear(minRatio: minRatio)
            case .cosine: .cosine(minRatio: minRatio)
            }
        return LearningRateSchedule(
            base: learningRate, curve: curve, warmupSteps: warmupSteps, totalSteps: epochs * stepsPerEpoch)
    }
}
