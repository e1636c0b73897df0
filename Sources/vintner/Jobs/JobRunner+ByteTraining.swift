import Data
import Files
import JSON
import Jobs
import Training

extension JobRunner {
    /// Ends a job that trained for layers in bytes: stores them, and measures them against the float model.
    ///
    /// - Parameters:
    ///   - held: The trainer at its end; let go before anything is measured.
    ///   - quantization: What was asked for.
    ///   - request: The same as a job that trains.
    ///   - claim: The attempt.
    ///   - sink: Where events go.
    ///   - run: What follows the attempt.
    ///   - id: The model's.
    ///   - place: Its folder.
    /// - Returns: The model that is kept, or why the run has to stop before: its last checkpoint leads back
    ///   here.
    /// - Throws: `JobFailure` where something cannot be stored, or the model lost too much.
    func concludeByteTraining(
        _ held: inout Trainer?, _ quantization: QuantizeRequest, _ request: JobRequest, _ claim: ClaimedJob,
        _ sink: any JobSink, _ run: JobRun, _ id: ModelID, in place: String
    ) throws(JobFailure) -> JobOutcome {
        let record = try record(of: quantization.subject)
        let float = try translate { () throws(TrainingError) in try stored(record) }
        guard let remains = try store(held, float, quantization, request, in: place, sink, run) else {
            return outcome(of: run.stopReason ?? .cancel)
        }
        held = nil
        let found = try translate { () throws(TrainingError) in
            let bytes = try StoredModel(folder.absolute("\(place)/model.safetensors"))
            return try measure([float, bytes], on: remains.dataset, run)
        }
        if let failure = run.failure { throw failure }
        guard let found else { return outcome(of: run.stopReason ?? .cancel) }
        let state = remains.state
        run.finish(step: state.step)
        let made = Quantized(
            place: place, receipt: remains.receipt, before: found[0], after: found[1],
            details: [
                "steps": JSONValue(state.step), "best_step": JSONValue(state.bestStep),
                "best_val_accuracy": JSONValue(state.bestAccuracy),
                "rounded_test_accuracy": .number(remains.test.accuracy),
            ])
        return try conclude(made, quantization, record, claim, id, run.totals, sink)
    }

    /// What was stored of a training for bytes.
    private struct Remains {
        let receipt: AtomicFile.Receipt
        let state: TrainingState
        let test: EvaluationResult
        let dataset: Dataset
    }

    /// Measures the test split and stores what was trained; nil where it was stopped half way.
    private func store(
        _ trainer: Trainer?, _ float: StoredModel, _ quantization: QuantizeRequest, _ request: JobRequest,
        in place: String, _ sink: any JobSink, _ run: JobRun
    ) throws(JobFailure) -> Remains? {
        guard let trainer, let (test, _) = try test(trainer, request, sink, run) else { return nil }
        // Stopped while it is measured, the run leads back here.
        try translate { () throws(TrainingError) in try run.storeCheckpoint(of: trainer, isBest: false) }
        if let failure = run.failure { throw failure }
        let weights = try translate { () throws(TrainingError) in try trainer.quantizedWeights(of: float) }
        return Remains(
            receipt: try store(weights, quantization, in: place), state: trainer.state, test: test,
            dataset: trainer.task.dataset)
    }
}
