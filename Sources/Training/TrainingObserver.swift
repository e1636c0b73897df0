/// Why a run should stop before its end.
public enum StopReason: Sendable { case cancel, pause, drain }

/// A point of the training curves.
public struct StepReport: Sendable {
    /// Steps done.
    public let step: Int
    public let steps: Int
    /// Counted from 0.
    public let epoch: Int
    public let epochs: Int
    /// Mean over the steps since the last report.
    public let loss: Double
    public let learningRate: Double
    /// The size of all gradients together at the last step, where they are clipped.
    public let gradientNorm: Double?
    /// Samples since the last report.
    public let samples: Int
    /// Multiply-accumulates since the last report.
    public let macs: Int
    /// Nanoseconds since the last report in which the step waited for its batch.
    public let waitNanoseconds: Int64
    /// What the loss is made of, where there is a teacher.
    public let distillation: DistillationReport?
}

/// How close a student is to its labels and to its teacher: means over the samples, or tokens, since the last
/// report.
public struct DistillationReport: Sendable, Equatable {
    /// Cross-entropy against the labels.
    public let hardLoss: Double
    /// The loss against the teacher, whatever its weight.
    public let softLoss: Double
    /// Part of the samples whose largest output is the teacher's.
    public let agreement: Double
    /// The weighted sum of the features' losses, which the loss has as it is; nil where none are compared.
    public let featureLoss: Double?
}

/// Something that whoever reads about a run should know.
public struct TrainingNote: Sendable, Equatable {
    /// Stable, for programs.
    public let code: String
    /// For people.
    public let message: String
}

/// A sweep over learning rates, before training.
public struct LearningRateReport: Sendable {
    /// The rates that were tried, rising, and the smoothed loss that each led to.
    public let points: [(rate: Double, loss: Double)]
    /// The rate that training goes on with.
    public let rate: Double
}

/// A change of the masks.
public struct PruneReport: Sendable, Equatable {
    /// Steps done before it.
    public let step: Int
    /// Part of the original's prunable weights or channels that is gone now.
    public let sparsity: Double
    /// Whether it was the last one.
    public let isLast: Bool
}

/// The end of an epoch, or of the steps between two evaluations.
public struct EpochReport: Sendable {
    /// Counted from 0.
    public let epoch: Int
    public let step: Int
    public let trainLoss: Double
    public let trainAccuracy: Double
    public let validation: EvaluationResult
    /// The same of the student that learns beside it.
    public let peer: EvaluationResult?
    /// Whether it is the best evaluation so far.
    public let isBest: Bool
}

/// Who follows a run and steers it; called on the run's own thread, between steps.
public protocol TrainingObserver: AnyObject {
    /// Read between steps: a reason to stop.
    var stopReason: StopReason? { get }
    /// Read between steps: whether it is time for a checkpoint.
    var isCheckpointDue: Bool { get }
    /// A learning rate has been found; not called when a run is resumed.
    func didFindLearningRate(_ report: LearningRateReport)
    func didStep(_ report: StepReport)
    /// The trainer's profiler is done; not called without one.
    func didProfile(_ profile: StepProfile)
    /// Told before training starts, at every attempt.
    func didNote(_ note: TrainingNote)
    /// The model is about to be pruned for the first time.
    func willPrune(_ trainer: Trainer) throws(TrainingError)
    /// The masks have changed.
    func didPrune(_ report: PruneReport)
    /// An evaluation begins.
    func willEvaluate(step: Int)
    func didFinishEpoch(_ report: EpochReport)
    /// Asked to store the run's state, by `Trainer.save`.
    func storeCheckpoint(of trainer: Trainer, isBest: Bool) throws(TrainingError)
}

extension TrainingObserver {
    public func didProfile(_ profile: StepProfile) {}
    public func didNote(_ note: TrainingNote) {}
    public func willPrune(_ trainer: Trainer) throws(TrainingError) {}
    public func didPrune(_ report: PruneReport) {}
}
