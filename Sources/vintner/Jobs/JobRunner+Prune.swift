import Compression
import Data
import Files
import Graph
import JSON
import Jobs
import Plan
import Tensor
import Training

/// Ending prune jobs: storing what is left, and measuring what that brought.
extension JobRunner {
    /// Goes on with what is left once the channels that go are final.
    func shrink(_ trainer: inout Trainer?, _ sink: any JobSink, _ run: JobRun) throws(JobFailure) {
        let before = trainer.map { CostModel(of: $0.program.graph).parameters } ?? 0
        let cut = try translate { () throws(TrainingError) in try trainer?.shrunk() }
        // The whole run is let go before the smaller one is made.
        trainer = nil
        let smaller = try translate { () throws(TrainingError) in try cut?.trainer() }
        trainer = smaller
        guard let smaller, let proof = smaller.state.pruning?.equivalence else { return }
        let after = CostModel(of: smaller.program.graph).parameters
        sink.event(
            .info, "shrunk",
            "\(after) of \(before) parameters are left; outputs differ by at most \(proof.maxAbsDifference).",
            ["parameters": JSONValue(after), "equivalence": proof.json])
        // From here on the checkpoints before are those of another model.
        try translate { () throws(TrainingError) in try run.storeCheckpoint(of: smaller, isBest: false) }
        if let failure = run.failure { throw failure }
    }

    /// What was stored of a run that is over.
    private struct Remains {
        let model: ModelSpec
        let description: JSONObject
        let receipt: AtomicFile.Receipt
        let state: TrainingState
        let equivalence: Equivalence?
        let test: EvaluationResult
        let dataset: Dataset
    }

    /// Measures what is left against what was, and keeps one of them.
    func concludePruning(
        _ trainer: inout Trainer?, _ prune: PruneRequest, _ request: JobRequest, _ claim: ClaimedJob,
        _ sink: any JobSink, _ run: JobRun, _ id: ModelID, in place: String
    ) throws(JobFailure) -> JobOutcome {
        let path = "\(place)/model.safetensors"
        guard let remains = try store(trainer, prune, request, in: place, at: path, sink, run) else {
            return outcome(of: run.stopReason ?? .cancel)
        }
        // Nothing is trained any more; what is measured needs memory of its own.
        trainer = nil
        let dense = DataFolder.dense(of: claim.job.id)
        // The model that it was is measured already.
        let teachers = (request.distill?.teachers ?? []).compactMap(\.record)
            .filter { $0.sha256 != request.base?.sha256 }
        let measured = try translate { () throws(TrainingError) in
            try compare(dense, path, remains.receipt, teachers.map(\.path), on: remains.dataset, run)
        }
        if let failure = run.failure { throw failure }
        guard let measured else { return outcome(of: run.stopReason ?? .cancel) }
        let found = measured.models
        let comparison = PruneComparison(before: found[0], after: found[1], trials: measured.trials)
        let verdict = prune.gate.map { comparison.verdict($0) }
        let keepsDense = verdict?.kept == .dense
        let kept = keepsDense ? request.model : remains.model
        var receipt = measured.receipt
        if keepsDense {
            receipt = try keepDense(dense, in: place, at: path, remains.description, request)
            sink.event(.warning, "kept_dense", "The model is kept as it was before the pruning.", .null)
        }
        run.finish(step: remains.state.step)
        let cost = CostModel(of: kept.graph)
        let test = EvaluationResult(tally: keepsDense ? found[0].tally : found[1].tally)
        var report = self.report(remains.state, test, cost, run.totals, receipt)
        for (key, value) in comparison.report(remains.state, remains.equivalence).members {
            report[key] = value
        }
        if !teachers.isEmpty { report["teacher"] = Self.block(of: found.dropFirst(2), teachers) }
        let latency = JSONValue.object(
            JSONObject(latencies: keepsDense ? found[0].latencies : found[1].latencies))
        (report["latency_ms"], report["threads"]) = (latency, JSONValue(run.threads))
        if let verdict { report["gate"] = verdict.json }
        if let verdict, verdict.kept == .none {
            throw rejection(verdict, from: found[0], report)
        }
        var lineage = self.lineage(claim, request, nil)
        lineage["pruning"] = [
            "structure": .string(prune.options.structure.rawValue),
            "criterion": .string(prune.options.criterion.rawValue),
            "sparsity": JSONValue(remains.state.pruning?.sparsity),
            "kept": .string(verdict?.word ?? "pruned"),
        ]
        let model = ModelRecord(
            id: id, name: claim.job.name.isEmpty ? claim.job.id.rawValue : claim.job.name,
            jobID: claim.job.id, createdAt: time.now(), architecture: kept.json,
            parameters: Int64(cost.parameters), macs: Int64(cost.macsPerSample), path: path,
            byteCount: Int64(receipt.byteCount), sha256: receipt.sha256.hex,
            metrics: Self.metrics(test, latency, threads: run.threads, report),
            lineage: .object(lineage))
        return .succeeded(JobResult(models: [model], report: .object(report), resources: run.totals))
    }

    /// Measures the test split and stores what is left, without channels that masks have emptied; nil where
    /// it was stopped half way.
    private func store(
        _ trainer: Trainer?, _ prune: PruneRequest, _ request: JobRequest, in place: String, at path: String,
        _ sink: any JobSink, _ run: JobRun
    ) throws(JobFailure) -> Remains? {
        guard let trainer, let (test, _) = try test(trainer, request, sink, run) else { return nil }
        // Stopped while it is measured, the run leads back here.
        try translate { () throws(TrainingError) in try run.storeCheckpoint(of: trainer, isBest: false) }
        if let failure = run.failure { throw failure }
        let (state, description) = (trainer.state, trainer.task.modelDescription)
        let compact = try translate { () throws(TrainingError) in
            prune.options.shrinks && prune.options.structure != .channel
                ? try trainer.withoutEmptyChannels() : nil
        }
        let model = compact?.model ?? trainer.task.model
        try describe(model, request, description, in: place)
        let receipt = try translate { () throws(TrainingError) in
            if let compact {
                return try compact.save(to: folder.absolute(path), description: description)
            }
            return try trainer.saveModel(to: folder.absolute(path), description: description)
        }
        return Remains(
            model: model, description: description, receipt: receipt, state: state,
            equivalence: compact?.equivalence ?? state.pruning?.equivalence, test: test,
            dataset: trainer.task.dataset)
    }

    /// Why a job ends whose model lost too much, with its report.
    func rejection(
        _ verdict: DropVerdict, from before: MeasuredModel, _ report: JSONObject
    ) -> JobFailure {
        JobFailure(
            code: "gate_failed",
            message: "The accuracy fell by \(percent(verdict.drop)) from "
                + "\(percent(before.tally.accuracy)); \(percent(verdict.maxDrop)) were allowed.",
            pointer: "/gate/max_drop", report: .object(report))
    }

    /// Puts the model as it was in the place of the pruned one.
    private func keepDense(
        _ dense: String, in place: String, at path: String, _ description: JSONObject, _ request: JobRequest
    ) throws(JobFailure) -> AtomicFile.Receipt {
        try describe(request.model, request, description, in: place)
        do throws(FileError) {
            return try AtomicFile.copy(folder.absolute(dense), to: folder.absolute(path))
        } catch {
            throw JobFailure(error, "The model could not be stored.")
        }
    }
}

extension EvaluationResult {
    /// What an evaluator counted.
    init(tally: ClassificationTally) {
        self.init(loss: tally.loss, accuracy: tally.accuracy, samples: tally.count)
    }
}
