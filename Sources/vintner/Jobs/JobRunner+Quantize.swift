import Compression
import Data
import Files
import Graph
import Host
import JSON
import Jobs
import Kernels
import Tensor
import Training

extension JobRunner {
    /// Runs a quantize job.
    ///
    /// Nothing of it is kept when it is interrupted: it begins anew.
    func quantize(
        _ claim: ClaimedJob, _ control: JobControl, _ sink: any JobSink
    ) throws(JobFailure) -> JobOutcome {
        let request = try reading { () throws(InvalidInput) in
            try QuantizeRequest.read(
                claim.job.spec, catalogue: catalogue, lookup: lookup, cores: cores)
        }
        let record = try record(of: request.subject)
        let attempt = MeasuringAttempt(claim, control: control, sink: sink, request.settings, time)
        let dataset = try load(request.dataset, control)
        return try makeModel(of: claim.job.id, request.settings.limits, sink) {
            id, place throws(JobFailure) in
            try quantize(record, request, on: dataset, attempt, claim, control, sink, id, in: place)
        }
    }

    private func quantize(
        _ record: ModelRecord, _ request: QuantizeRequest, on dataset: Dataset, _ attempt: MeasuringAttempt,
        _ claim: ClaimedJob, _ control: JobControl, _ sink: any JobSink, _ id: ModelID, in place: String
    ) throws(JobFailure) -> JobOutcome {
        let path = "\(place)/model.safetensors"
        let dense = try translate { () throws(TrainingError) in try stored(record) }
        let weights = try translate { () throws(TrainingError) in
            try quantize(dense, request, dataset, attempt)
        }
        guard let weights else { return try stopped(attempt, control) }
        let receipt = try store(weights, request, in: place)
        let found = try translate { () throws(TrainingError) in
            let models = [dense, try StoredModel(folder.absolute(path))]
            return try measure(
                models, on: dataset, threads: request.settings.threads,
                isStopped: { attempt.isStopped(0.6) })
        }
        guard let found else { return try stopped(attempt, control) }
        let made = Quantized(
            place: place, receipt: receipt, before: found[0], after: found[1],
            details: [
                "calibration_samples": JSONValue(
                    min(request.options.calibrationSamples, request.dataset.trainCount))
            ])
        return try conclude(made, request, record, claim, id, attempt.totals(), sink)
    }

    /// A quantized model that has been stored and measured.
    struct Quantized {
        /// The folder of the model.
        let place: String
        let receipt: AtomicFile.Receipt
        let before: MeasuredModel
        let after: MeasuredModel
        /// Members of the report that only one method has.
        let details: JSONObject

        var path: String { "\(place)/model.safetensors" }
    }

    /// Keeps the quantized model or the one that it was made of, and writes the report.
    func conclude(
        _ made: Quantized, _ request: QuantizeRequest, _ record: ModelRecord, _ claim: ClaimedJob,
        _ id: ModelID, _ totals: JobResources, _ sink: any JobSink
    ) throws(JobFailure) -> JobOutcome {
        let proof = try translate { () throws(TrainingError) in
            try Equivalence.prove(StoredModel(folder.absolute(made.path)), seed: request.settings.seed)
        }
        let comparison = QuantizeComparison(before: made.before, after: made.after, equivalence: proof)
        let verdict = request.gate.map {
            DropVerdict($0, from: made.before, to: made.after, changed: "quantized")
        }
        let keepsDense = verdict?.kept == .dense
        var receipt = made.receipt
        if keepsDense {
            receipt = try keepDense(record, at: made.path)
            sink.event(.warning, "kept_dense", "The model is kept as it was before the quantization.", .null)
        }
        let kept = keepsDense ? comparison.before : comparison.after
        var report = self.report(kept, receipt, totals)
        for (key, value) in made.details.members + comparison.report.members { report[key] = value }
        let latency = JSONValue.object(JSONObject(latencies: kept.latencies))
        (report["latency_ms"], report["threads"]) = (latency, JSONValue(kept.threads))
        if let verdict { report["gate"] = verdict.json }
        if let verdict, verdict.kept == .none {
            throw rejection(verdict, from: made.before, report)
        }
        let cost = CostModel(of: request.model.graph)
        let model = ModelRecord(
            id: id, name: claim.job.name.isEmpty ? claim.job.id.rawValue : claim.job.name,
            jobID: claim.job.id, createdAt: time.now(), architecture: request.model.json,
            parameters: Int64(cost.parameters), macs: Int64(cost.macsPerSample), path: made.path,
            byteCount: Int64(receipt.byteCount), sha256: receipt.sha256.hex,
            metrics: Self.metrics(
                EvaluationResult(tally: kept.tally), latency, threads: kept.threads, report),
            lineage: .object(lineage(claim, request, record, keepsDense: keepsDense)))
        return .succeeded(JobResult(models: [model], report: .object(report), resources: totals))
    }

    /// The quantizer is let go before anything is measured.
    private func quantize(
        _ dense: StoredModel, _ request: QuantizeRequest, _ dataset: Dataset, _ attempt: MeasuringAttempt
    ) throws(TrainingError) -> QuantizedWeights? {
        let quantizer = try Quantizer(
            dense, layers: request.layers, on: dataset, request.options, seed: request.settings.seed)
        attempt.prepared(byteCount: quantizer.byteCount)
        return try quantizer.run { attempt.isStopped(0.5 * $0) }
    }

    private func stopped(
        _ attempt: MeasuringAttempt, _ control: JobControl
    ) throws(JobFailure) -> JobOutcome {
        if let failure = attempt.failure { throw failure }
        return outcome(of: control.signal.stopReason ?? .cancel)
    }

    func store(
        _ weights: QuantizedWeights, _ request: QuantizeRequest, in place: String
    ) throws(JobFailure) -> AtomicFile.Receipt {
        try describe(request, in: place)
        return try translate { () throws(TrainingError) in
            try weights.save(to: folder.absolute("\(place)/model.safetensors"))
        }
    }

    /// Writes the architecture and what was asked for beside the weights.
    private func describe(_ request: QuantizeRequest, in place: String) throws(JobFailure) {
        let beside: JSONObject = ["model": request.model.json, "spec": .object(request.resolved)]
        do throws(FileError) {
            try Folder.make(folder.absolute(place))
            let text = JSONValue.object(beside).encoded(pretty: true)
            _ = try AtomicFile.write(Array(text.utf8), to: folder.absolute("\(place)/model.json"))
        } catch {
            throw JobFailure(error, "The model could not be stored.")
        }
    }

    /// Puts the model as it was in the place of the quantized one.
    private func keepDense(
        _ record: ModelRecord, at path: String
    ) throws(JobFailure) -> AtomicFile.Receipt {
        do throws(FileError) {
            return try AtomicFile.copy(folder.absolute(record.path), to: folder.absolute(path))
        } catch {
            throw JobFailure(error, "The model could not be stored.")
        }
    }

    private func lineage(
        _ claim: ClaimedJob, _ request: QuantizeRequest, _ record: ModelRecord, keepsDense: Bool
    ) -> JSONObject {
        var lineage: JSONObject = [
            "job": .string(claim.job.id.rawValue), "dataset": .string(request.dataset.name),
            "dataset_sha256": .string(request.dataset.sha256),
            "seed": .string(String(request.settings.seed)),
            "parent": .string(record.id.rawValue), "parent_sha256": .string(record.sha256),
        ]
        if !keepsDense {
            lineage[ModelRecord.quantizationKey] = [
                "scheme": "int8", "method": request.options.training == nil ? "ptq_static" : "qat",
                "layers": .array(request.layers.map { .string(request.model.graph[$0].name) }),
            ]
        }
        return lineage
    }

    private func report(
        _ kept: MeasuredModel, _ receipt: AtomicFile.Receipt, _ totals: JobResources
    ) -> JSONObject {
        [
            "test_accuracy": .number(kept.tally.accuracy), "test_loss": .number(kept.tally.loss),
            "test_samples": JSONValue(kept.tally.count),
            "instructions": .string(Quantizer.supportsAllCodes ? "vnni" : "without vnni"),
            "seconds": .number(totals.wallSeconds), "cpu_seconds": .number(totals.cpuSeconds),
            "joules": .number(totals.joules), "energy_method": .string(totals.energyMethod),
            "peak_memory_bytes": .integer(totals.peakMemoryBytes),
            "parameters": JSONValue(kept.parameters), "macs_per_sample": JSONValue(kept.macs),
            "file_bytes": JSONValue(receipt.byteCount), "model_sha256": .string(receipt.sha256.hex),
        ]
    }
}
