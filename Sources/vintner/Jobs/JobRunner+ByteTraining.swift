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
    /// - Returns: The model that is kept, or why the run has to stop before: its last checkpoint leads back
    ///   here.
    /// - Throws: `JobFailure` where something cannot be stored, or the model lost too much.
    func concludeByteTraining(
        _ held: inout Trainer?, _ quantization: QuantizeRequest, _ request: JobRequest, _ claim: ClaimedJob,
        _ sink: any JobSink, _ run: JobRun
    ) throws(JobFailure) -> JobOutcome {
        guard let trainer = held, let (test, _) = try test(trainer, request, sink, run) else {
            return outcome(of: run.stopReason ?? .cancel)
        }
        try translate { () throws(TrainingError) in try run.storeCheckpoint(of: trainer, isBest: false) }
        if let failure = run.failure { throw failure }
        let record = try record(of: quantization.subject)
        let id: ModelID = identifiers.next(at: time.now())
        let place = DataFolder.folder(of: id)
        let float = try translate { () throws(TrainingError) in try stored(record) }
        let weights = try translate { () throws(TrainingError) in try trainer.quantizedWeights(of: float) }
        let receipt = try store(weights, quantization, in: place)
        let (state, dataset) = (trainer.state, trainer.task.dataset)
        held = nil
        let found = try translate { () throws(TrainingError) in
            let bytes = try StoredModel(folder.absolute("\(place)/model.safetensors"))
            return try measure([float, bytes], on: dataset, run)
        }
        if let failure = run.failure { throw failure }
        guard let found else { return outcome(of: run.stopReason ?? .cancel) }
        run.finish(step: state.step)
        let made = Quantized(
            place: place, receipt: receipt, before: found[0], after: found[1],
            details: [
                "steps": JSONValue(state.step), "best_step": JSONValue(state.bestStep),
                "best_val_accuracy": JSONValue(state.bestAccuracy),
                "rounded_test_accuracy": .number(test.accuracy),
            ])
        return try conclude(made, quantization, record, claim, id, run.totals, sink)
    }
}
