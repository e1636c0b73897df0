import Data
import Files
import Jobs
import Training

/// Measuring what is left of a model, first layer by layer.
extension JobRunner {
    /// What was measured at the end of a prune job.
    struct PruneMeasurements {
        /// The model before, what is left of it, and others.
        let models: [MeasuredModel]
        /// What leaving out zeros was found to bring to what is left.
        let trials: [SparseTrial.Finding]
        /// What is known of the file of what is left.
        let receipt: AtomicFile.Receipt
    }

    /// Lets the layers of what is left that are faster so run without the zeros of their weights, and
    /// measures it against the model before, and others.
    ///
    /// The choice is a measurement: it may differ from one run of a job to the next. It stands in the model's
    /// file, so that whoever uses the model later gets the same kernels and bits.
    ///
    /// - Parameters:
    ///   - dense: The file of the model before.
    ///   - path: The file of what is left; it is replaced where a layer runs so.
    ///   - receipt: What is known of that file.
    ///   - others: Files of more models.
    ///   - dataset: Its test split is what all are measured on.
    ///   - run: Asked whether to stop.
    /// - Returns: nil when the run has to stop before.
    /// - Throws: `TrainingError` as loading, running and storing a model do.
    func compare(
        _ dense: String, _ path: String, _ receipt: AtomicFile.Receipt, _ others: [String],
        on dataset: Dataset, _ run: JobRun
    ) throws(TrainingError) -> PruneMeasurements? {
        var (pruned, receipt) = (try StoredModel(folder.absolute(path)), receipt)
        let trials = try SparseTrial.run(
            pruned, batches: EvaluateRequest.latencyBatches, now: { time.monotonicNanoseconds() },
            isStopped: { run.stopReason != nil })
        guard let trials else { return nil }
        let sparse = SparseTrial.choose(from: trials)
        if !sparse.isEmpty {
            receipt = try pruned.store(sparse)
            pruned = try StoredModel(folder.absolute(path))
        }
        var subjects = [try StoredModel(folder.absolute(dense)), pruned]
        for path in others { subjects.append(try StoredModel(folder.absolute(path))) }
        let models = try measure(subjects, on: dataset, run)
        return models.map { PruneMeasurements(models: $0, trials: trials, receipt: receipt) }
    }
}
