import Data
import Graph
import Host
import JSON
import Jobs
import Kernels
import Tensor
import Training

extension JobRunner {
    /// Runs an evaluate job.
    ///
    /// Nothing of it is kept when it is interrupted: it begins anew.
    func evaluate(
        _ claim: ClaimedJob, _ control: JobControl, _ sink: any JobSink
    ) throws(JobFailure) -> JobOutcome {
        let request = try reading { () throws(InvalidInput) in
            try EvaluateRequest.read(
                claim.job.spec, catalogue: catalogue, lookup: lookup, cores: cores)
        }
        let record = try record(of: request.subject)
        let attempt = MeasuringAttempt(claim, control: control, sink: sink, request.settings, time)
        let evaluation = Evaluation(attempt: attempt, time: time)
        let dataset = try load(request.dataset, control)
        let found = try translate { () throws(TrainingError) -> Evaluation.Findings? in
            return try evaluation.run(try stored(record), on: dataset, request.split)
        }
        if let failure = attempt.failure { throw failure }
        guard let found else { return outcome(of: control.signal.stopReason ?? .cancel) }
        let totals = attempt.totals()
        let report = self.report(request, record, found, totals)
        return .succeeded(JobResult(models: [], report: report, resources: totals))
    }

    /// The stored model that a job is about.
    func record(of subject: ModelLookup.Reference) throws(JobFailure) -> ModelRecord {
        guard let record = subject.record else {
            throw JobFailure(
                code: "model_unusable", message: "The model that was waited for is not there.",
                pointer: "/model/job")
        }
        return record
    }

    /// Opens the file of a record, whose hash it must have.
    func stored(_ record: ModelRecord) throws(TrainingError) -> StoredModel {
        do throws(TrainingError) {
            return try StoredModel(folder.absolute(record.path), sha256: record.sha256)
        } catch { throw .badStart(reason: error.description) }
    }

    private func report(
        _ request: EvaluateRequest, _ record: ModelRecord, _ found: Evaluation.Findings,
        _ totals: JobResources
    ) -> JSONValue {
        let (tally, cost) = (found.tally, CostModel(of: request.model.graph))
        var report: JSONObject = [
            "split": .string(request.split.rawValue), "samples": JSONValue(tally.count),
            "accuracy": .number(tally.accuracy), "loss": .number(tally.loss),
            "macro_f1": .number(tally.macroF1), "calibration_error": .number(tally.calibrationError),
            "latency_ms": .object(JSONObject(latencies: found.latencies)),
            "threads": JSONValue(request.settings.threads),
            "model": .string(record.id.rawValue), "model_sha256": .string(record.sha256),
            "parameters": JSONValue(cost.parameters),
            "macs_per_sample": JSONValue(cost.macsPerSample),
            "file_bytes": .integer(record.byteCount),
            "dataset": .string(request.dataset.name), "dataset_sha256": .string(request.dataset.sha256),
            "seconds": .number(totals.wallSeconds), "cpu_seconds": .number(totals.cpuSeconds),
            "joules": .number(totals.joules), "energy_method": .string(totals.energyMethod),
            "peak_memory_bytes": .integer(totals.peakMemoryBytes),
        ]
        // Of another split they are not known.
        let isTest = request.split == .test
        report["test_accuracy"] = isTest ? .number(tally.accuracy) : .null
        report["test_loss"] = isTest ? .number(tally.loss) : .null
        let names = request.dataset.classNames
        // Of running text each token is a class; their scores would say nothing to anybody.
        guard names.count == tally.classCount else { return .object(report) }
        report["per_class"] = .array(
            zip(names, tally.scores).map { name, score in
                [
                    "name": .string(name), "precision": .number(score.precision),
                    "recall": .number(score.recall), "f1": .number(score.f1),
                    "support": JSONValue(score.support),
                ]
            })
        if !tally.confusion.isEmpty {
            let width = tally.classCount
            report["confusion"] = .array(
                (0..<width).map { label in
                    .array(tally.confusion[label * width..<(label + 1) * width].map { JSONValue($0) })
                })
        }
        return .object(report)
    }
}

extension JSONObject {
    /// Milliseconds by batch size, as reports have them.
    init(latencies: [Int: LatencyMeasurement.Figures]) {
        self.init()
        for (batch, figures) in latencies.sorted(by: { $0.key < $1.key }) {
            self["\(batch)"] = [
                "p50": .number(figures.median * 1000), "p95": .number(figures.p95 * 1000),
                "runs": JSONValue(figures.runs),
            ]
        }
    }
}

/// What an evaluate job measures.
private struct Evaluation {
    struct Findings {
        let tally: ClassificationTally
        let latencies: [Int: LatencyMeasurement.Figures]
    }

    let attempt: MeasuringAttempt
    let time: any TimeSource

    /// nil when the attempt has to end before.
    func run(
        _ stored: StoredModel, on dataset: Dataset, _ split: SplitName
    ) throws(TrainingError) -> Findings? {
        guard let tally = try measure(stored, on: dataset, split) else { return nil }
        let model = try InferenceModel(stored, batches: EvaluateRequest.latencyBatches)
        let found = try LatencyMeasurement.measure(
            [model], batches: EvaluateRequest.latencyBatches, now: { time.monotonicNanoseconds() },
            isStopped: { attempt.isStopped(0.9) })
        return found?.first.map { Findings(tally: tally, latencies: $0) }
    }

    /// The evaluator is let go before latencies are measured: both need not be there at once.
    private func measure(
        _ stored: StoredModel, on dataset: Dataset, _ split: SplitName
    ) throws(TrainingError) -> ClassificationTally? {
        let evaluator = try Evaluator(stored, on: dataset, split: split)
        attempt.prepared(byteCount: evaluator.byteCount)
        return try evaluator.run { attempt.isStopped(0.9 * $0) }
    }
}
