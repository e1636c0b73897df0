internal import Data
internal import Kernels
internal import Plan
internal import Tensor

/// What an evaluation measured.
public struct EvaluationResult: Sendable, Equatable {
    /// Mean over the samples.
    public let loss: Double
    /// Part of the samples whose largest output is their label's.
    public let accuracy: Double
    public let samples: Int

    /// What was found over some samples.
    public init(loss: Double, accuracy: Double, samples: Int) {
        (self.loss, self.accuracy, self.samples) = (loss, accuracy, samples)
    }
}

extension Trainer {
    /// Which samples to measure on.
    public enum Split: Sendable { case validation, test }

    /// Runs the model in evaluation mode over a split; changes nothing.
    ///
    /// Where weights are averaged, it is the averages that are measured.
    ///
    /// - Returns: nil when the observer asked to stop half way.
    public func evaluate(
        _ split: Split, observer: (any TrainingObserver)? = nil
    ) throws(TrainingError) -> EvaluationResult? {
        try evaluate(program, split, observer)
    }

    /// The same of the student that learns beside it; nil too where there is none.
    public func evaluatePeer(
        _ split: Split, observer: (any TrainingObserver)? = nil
    ) throws(TrainingError) -> EvaluationResult? {
        guard let peer else { return nil }
        return try evaluate(peer.program, split, observer)
    }

    private func evaluate(
        _ program: Program, _ split: Split, _ observer: (any TrainingObserver)?
    ) throws(TrainingError) -> EvaluationResult? {
        program.swapAverages()
        defer { program.swapAverages() }
        let (dataset, reading) = (task.dataset, task.reading)
        let feed = split == .test ? dataset.testFeed(reading) : dataset.validationFeed(reading)
        let prefetcher: Prefetcher
        do { prefetcher = try feed.prefetcher(epochs: 1) } catch { throw .data(error) }
        var tally = TrainingState.Tally()
        while let batch = prefetcher.next() {
            if observer?.stopReason != nil { return nil }
            guard let plan = program.evaluationPlan(batch: batch.count) else {
                preconditionFailure("no plan evaluates \(batch.count) samples")
            }
            let result = try planning { () throws(PlanError) in
                try plan.bindBatch(input: batch.inputSlot, target: batch.targetSlot, in: batch.arena)
                return try plan.run(
                    StepState(seed: task.seed, step: 0, learningRate: 0, inverseCount: 1))
            }
            tally.add(result)
        }
        return EvaluationResult(loss: tally.loss, accuracy: tally.accuracy, samples: tally.samples)
    }
}
