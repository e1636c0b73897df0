import Data
import Files
import JSON
import Jobs
import Kernels
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

    /// A stored model whose layers leave out zeros where that was found to be faster.
    struct SparseModel {
        /// What is used.
        var layers = SparseLayers()
        var trials: [SparseTrial.Finding] = []
        /// What is known of its file now.
        let receipt: AtomicFile.Receipt

        /// What was tried, and what of it is used.
        var block: JSONValue {
            .array(
                trials.map { trial in
                    var found = trial.json(isUsed: layers[trial.layer, trial.batch] == trial.format)
                    found["name"] = .string(trial.layer)
                    return .object(found)
                })
        }
    }

    /// The same for what a training has left of a model with masks; of any other there is nothing to try.
    func sparsify(
        _ request: JobRequest, _ path: String, _ receipt: AtomicFile.Receipt, _ run: JobRun
    ) throws(JobFailure) -> SparseModel? {
        guard request.keepsMasks else { return SparseModel(receipt: receipt) }
        let sparse = try translate { () throws(TrainingError) in try sparsify(path, receipt, run) }
        if let failure = run.failure { throw failure }
        return sparse
    }

    /// Finds which layers of a model with masks are faster without the zeros of their weights, and says so in
    /// its file, so that whoever uses the model later gets the same kernels and bits.
    ///
    /// - Parameters:
    ///   - path: The model's file; it is replaced where a layer runs so.
    ///   - receipt: What is known of that file.
    ///   - run: Asked whether to stop.
    /// - Returns: nil when the run has to stop before.
    /// - Throws: `TrainingError` as loading, running and storing a model do.
    func sparsify(
        _ path: String, _ receipt: AtomicFile.Receipt, _ run: JobRun
    ) throws(TrainingError) -> SparseModel? {
        let stored = try StoredModel(folder.absolute(path))
        let trials = try SparseTrial.run(
            stored, batches: EvaluateRequest.latencyBatches, now: { time.monotonicNanoseconds() },
            isStopped: { run.stopReason != nil })
        guard let trials else { return nil }
        let sparse = SparseTrial.choose(from: trials)
        guard !sparse.isEmpty else { return SparseModel(trials: trials, receipt: receipt) }
        return SparseModel(layers: sparse, trials: trials, receipt: try stored.store(sparse))
    }

    /// Lets the layers of what is left that are faster so run without the zeros of their weights, and
    /// measures it against the model before, and others.
    ///
    /// The choice is a measurement: it may differ from one run of a job to the next.
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
        guard let sparse = try sparsify(path, receipt, run) else { return nil }
        var subjects = [try StoredModel(folder.absolute(dense)), try StoredModel(folder.absolute(path))]
        for path in others { subjects.append(try StoredModel(folder.absolute(path))) }
        let models = try measure(subjects, on: dataset, run)
        return models.map { PruneMeasurements(models: $0, trials: sparse.trials, receipt: sparse.receipt) }
    }
}

extension SparseTrial.Finding {
    /// What was measured, and whether it is used.
    func json(isUsed: Bool) -> JSONObject {
        [
            "batch": JSONValue(batch), "format": .string(format.rawValue),
            "dense_ms": .number(dense * 1000), "sparse_ms": .number(sparse * 1000),
            "used": .bool(isUsed),
        ]
    }
}
