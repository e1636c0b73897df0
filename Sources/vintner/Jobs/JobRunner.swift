import Data
import FailPoints
import Files
import Graph
import Host
import JSON
import Jobs
import Kernels
import Plan
import Synchronization
import Tensor
import Training

/// Runs jobs: the one place where jobs meet training.
final class JobRunner: JobExecutor {
    let catalogue: DatasetCatalogue
    private let models: any ModelRepository
    private let jobs: any JobSource
    let folder: DataFolder
    let cores: Int
    let time: any TimeSource
    let identifiers: IdentifierGenerator
    private let limits: MachineLimits
    /// Takes what an operator should read.
    let report: @Sendable (_ message: String, _ cause: FileError) -> Void
    /// FLOP/s of a large product, by number of threads: the best that any job measured.
    private let peaks = Mutex<[[Int]: Double]>([:])

    init(
        catalogue: DatasetCatalogue, models: any ModelRepository, jobs: any JobSource, folder: DataFolder,
        cores: Int,
        identifiers: IdentifierGenerator, time: any TimeSource, limits: MachineLimits,
        report: @escaping @Sendable (_ message: String, _ cause: FileError) -> Void
    ) {
        (self.catalogue, self.models, self.jobs, self.folder) = (catalogue, models, jobs, folder)
        (self.cores, self.limits) = (cores, limits)
        (self.identifiers, self.time, self.report) = (identifiers, time, report)
    }

    func run(_ job: ClaimedJob, control: JobControl, sink: any JobSink) -> JobOutcome {
        // What the attempt freed goes back to the system: an idle server stays small after work too.
        defer { Heap.settle() }
        defer { ThreadTeam.release() }
        do throws(JobFailure) {
            // Whatever this thread computes, it does on the job's threads.
            ThreadTeam.use(job.job.threads)
            switch job.job.type {
            case .evaluate: return try evaluate(job, control, sink)
            case .quantize where !ByteTrainingRequest.isAsked(job.job.spec):
                return try quantize(job, control, sink)
            default: return try attempt(job, control, sink)
            }
        } catch { return .failed(error) }
    }

    /// Lets the trainer time some of its first steps, and the run tell of them.
    func profile(_ trainer: Trainer, _ run: JobRun, _ request: JobRequest) throws(JobFailure) {
        let stepsLeft = trainer.steps - trainer.state.step
        guard stepsLeft > 0 else { return }
        run.roof = try translate { () throws(TrainingError) in
            do throws(PlanError) {
                return try limits.roofline(threads: request.threads, request.options.precision.element)
            } catch { throw .plan(error) }
        }
        trainer.profiler = StepProfiler(stepsLeft: stepsLeft) { [time] in time.monotonicNanoseconds() }
    }

    func outcome(of reason: StopReason) -> JobOutcome {
        switch reason {
        case .cancel: .cancelled
        case .pause: .paused
        case .drain: .yielded
        }
    }

    func read(_ spec: JSONValue) throws(JobFailure) -> JobRequest {
        try reading { () throws(InvalidInput) in
            try JobRequest.read(spec, catalogue: catalogue, models: models, jobs: jobs, cores: cores)
        }
    }

    /// Where the models lie that jobs name.
    var lookup: ModelLookup { ModelLookup(models: models, jobs: jobs) }

    /// What was submitted may not be possible any more.
    func reading<R>(_ body: () throws(InvalidInput) -> R) throws(JobFailure) -> R {
        do { return try body() } catch {
            throw JobFailure(
                code: "invalid_spec", message: error.description, pointer: error.violations.first?.pointer)
        }
    }

    /// Decodes a dataset on a thread of its own; it is shared with whoever else uses it.
    ///
    /// Who only waits for another job's decoding shows that it is alive: it stands no stiller than that one.
    func load(_ dataset: DatasetInfo, _ control: JobControl) throws(JobFailure) -> Dataset {
        do throws(DataError) {
            let (pending, isShared) = try catalogue.startLoading(dataset.id)
            return isShared ? try pending.wait { _ = control.signal } : try pending.wait()
        } catch {
            throw JobFailure(
                code: "dataset_unusable", message: catalogue.describe(error), pointer: "/dataset")
        }
    }

    /// Makes a model in a folder of its own, which goes again where no model comes of it, or one too large.
    func makeModel(
        of job: JobID, _ limits: JobSettings.Limits, _ sink: any JobSink,
        _ body: (ModelID, _ place: String) throws(JobFailure) -> JobOutcome
    ) throws(JobFailure) -> JobOutcome {
        let id: ModelID = identifiers.next(at: time.now())
        let place = DataFolder.folder(of: id)
        var isKept = false
        defer { if !isKept { removeModel(in: place, sink) } }
        try limits.checkDisk([DataFolder.folder(of: job)], in: folder)
        let outcome = try body(id, place)
        if case .succeeded = outcome {
            try limits.checkDisk([DataFolder.folder(of: job), place], in: folder)
            isKept = true
            FailPoint.afterModelFiles.pass()
        }
        return outcome
    }

    private func removeModel(in place: String, _ sink: any JobSink) {
        do throws(FileError) { try Folder.removeTree(folder.absolute(place)) } catch {
            sink.event(.warning, "cleanup", "A file of the job could not be deleted.", .null)
        }
    }

    /// What was stored of a training that is over.
    private struct Remains {
        let test: EvaluationResult
        let peer: EvaluationResult?
        let receipt: AtomicFile.Receipt
        let adapters: AtomicFile.Receipt?
        let state: TrainingState
        let dataset: Dataset
    }

    /// Measures the test split, stores the model and writes the report.
    ///
    /// The trainer is let go before models are measured side by side.
    func conclude(
        _ held: inout Trainer?, _ request: JobRequest, _ claim: ClaimedJob, _ ledger: RunLedger,
        _ sink: any JobSink, _ run: JobRun, _ id: ModelID, in place: String
    ) throws(JobFailure) -> JobOutcome {
        let path = "\(place)/model.safetensors"
        guard let remains = try store(held, request, sink, run, id, at: path) else {
            return outcome(of: run.stopReason ?? .cancel)
        }
        held = nil
        guard let sparse = try sparsify(request, path, remains.receipt, run) else {
            return outcome(of: run.stopReason ?? .cancel)
        }
        let (test, receipt) = (remains.test, sparse.receipt)
        run.finish(step: remains.state.step)
        let cost = CostModel(of: request.model.graph)
        var report = self.report(remains.state, test, cost, run.totals, receipt)
        if request.keepsMasks { report["sparse"] = sparse.block }
        let latency = try self.latency(of: path)
        (report["latency_ms"], report["threads"]) = (latency, JSONValue(run.threads))
        if let distill = request.distill {
            let measured = try measure(distill, studentPath: path, on: remains.dataset, run)
            guard let measured else { return outcome(of: run.stopReason ?? .cancel) }
            for (key, value) in measured.members { report[key] = value }
            let trainings = request.trainings.suffix(1).map {
                RunLedger.Entry(training: $0, accuracy: test.accuracy, peer: remains.peer?.accuracy)
            }
            if let peer = remains.peer, let model = request.peer {
                report["peer"] = block(ofPeer: model, peer)
            }
            for (key, value) in RunLedger.report(ledger.entries + trainings).members { report[key] = value }
        }
        let model = ModelRecord(
            id: id, name: claim.job.name.isEmpty ? claim.job.id.rawValue : claim.job.name,
            jobID: claim.job.id, createdAt: time.now(),
            architecture: request.model.json, parameters: Int64(cost.parameters),
            macs: Int64(cost.macsPerSample), path: path, byteCount: Int64(receipt.byteCount),
            sha256: receipt.sha256.hex,
            metrics: Self.metrics(test, latency, threads: run.threads, report),
            lineage: .object(lineage(claim, request, remains.adapters)))
        return .succeeded(JobResult(models: [model], report: .object(report), resources: run.totals))
    }

    /// Measures the test split and stores what was trained; nil where it was stopped half way.
    private func store(
        _ trainer: Trainer?, _ request: JobRequest, _ sink: any JobSink, _ run: JobRun, _ id: ModelID,
        at path: String
    ) throws(JobFailure) -> Remains? {
        guard let trainer, let (test, peer) = try test(trainer, request, sink, run) else { return nil }
        if request.distill != nil || request.keepsMasks {
            // Stopped while models are measured, the run leads back here.
            try translate { () throws(TrainingError) in try run.storeCheckpoint(of: trainer, isBest: false) }
            if let failure = run.failure { throw failure }
        }
        let receipt = try storeModel(trainer, request, in: DataFolder.folder(of: id), at: path)
        let adapters = try storeAdapters(trainer, request, of: id)
        return Remains(
            test: test, peer: peer, receipt: receipt, adapters: adapters, state: trainer.state,
            dataset: trainer.task.dataset)
    }

    func lineage(
        _ claim: ClaimedJob, _ request: JobRequest, _ adapters: AtomicFile.Receipt?
    ) -> JSONObject {
        var lineage: JSONObject = [
            "job": .string(claim.job.id.rawValue), "dataset": .string(request.dataset.name),
            "dataset_sha256": .string(request.dataset.sha256), "seed": .string(String(request.seed)),
        ]
        if let base = request.base {
            lineage["parent"] = .string(base.id.rawValue)
            lineage["parent_sha256"] = .string(base.sha256)
        }
        if let distill = request.distill {
            lineage["teachers"] = .array(distill.teachers.map { JSONValue($0.record?.id.rawValue) })
            lineage["teachers_sha256"] = .array(distill.teachers.map { JSONValue($0.record?.sha256) })
            lineage["peer"] = request.peer?.json
        }
        lineage["adapters"] = adapters.flatMap { request.adapterLineage($0) }
        if request.keepsMasks { lineage[ModelRecord.masksKey] = true }
        return lineage
    }

    /// Stores the weights, and beside them what is needed to use them: architecture, classes, normalisation.
    private func storeModel(
        _ trainer: Trainer, _ request: JobRequest, in folder: String, at path: String
    ) throws(JobFailure) -> AtomicFile.Receipt {
        let description = trainer.task.modelDescription
        try describe(request.model, request, description, in: folder)
        return try translate { () throws(TrainingError) in
            try trainer.saveModel(to: self.folder.absolute(path), description: description)
        }
    }

    /// Writes what is needed to use a model beside its weights.
    func describe(
        _ model: ModelSpec, _ request: JobRequest, _ description: JSONObject, in folder: String
    ) throws(JobFailure) {
        var beside = description
        beside["model"] = model.json
        beside["spec"] = .object(request.resolved)
        do throws(FileError) {
            try Folder.make(self.folder.absolute(folder))
            let text = JSONValue.object(beside).encoded(pretty: true)
            _ = try AtomicFile.write(Array(text.utf8), to: self.folder.absolute("\(folder)/model.json"))
        } catch {
            throw JobFailure(error, "The model could not be stored.")
        }
    }

    /// Stores what was trained beside a frozen model, alone; nil where everything was trained.
    private func storeAdapters(
        _ trainer: Trainer, _ request: JobRequest, of id: ModelID
    ) throws(JobFailure) -> AtomicFile.Receipt? {
        guard request.options.adapters != nil else { return nil }
        return try translate { () throws(TrainingError) in
            try trainer.saveAdapters(
                to: folder.absolute(DataFolder.adapters(of: id)), description: request.adapterDescription)
        }
    }

    /// Goes back to the weights of the best epoch; a damaged file leaves the last ones, and says so.
    func takeBest(
        _ best: CheckpointRecord, _ trainer: Trainer, _ sink: any JobSink
    ) throws(JobFailure) {
        do throws(TrainingError) {
            try trainer.restoreParameters(from: folder.absolute(best.path), sha256: best.sha256)
        } catch {
            guard case .badCheckpoint = error else {
                return try translate { () throws(TrainingError) in throw error }
            }
            sink.event(
                .warning, "checkpoint_corrupt",
                "The best checkpoint, of step \(best.step), cannot be used; the last weights are kept.", .null
            )
        }
    }

    func report(
        _ state: TrainingState, _ test: EvaluationResult, _ cost: CostModel, _ used: JobResources,
        _ receipt: AtomicFile.Receipt
    ) -> JSONObject {
        [
            "test_accuracy": .number(test.accuracy), "test_loss": .number(test.loss),
            "test_samples": JSONValue(test.samples),
            "best_val_accuracy": state.bestAccuracy.map { .number($0) } ?? .null,
            "best_step": JSONValue(state.bestStep), "steps": JSONValue(state.step),
            "seconds": .number(used.wallSeconds), "cpu_seconds": .number(used.cpuSeconds),
            "joules": .number(used.joules), "energy_method": .string(used.energyMethod),
            "peak_memory_bytes": .integer(used.peakMemoryBytes),
            "parameters": JSONValue(cost.parameters), "macs_per_sample": JSONValue(cost.macsPerSample),
            "file_bytes": JSONValue(receipt.byteCount), "model_sha256": .string(receipt.sha256.hex),
        ]
    }

    /// The best rate measured so far: one measurement may have met a busy machine.
    func peak(threads: Int, _ element: ElementType) throws(TrainingError) -> Double {
        do throws(PlanError) {
            let measured = try PeakMeasurement.flopsPerSecond(element) { time.monotonicNanoseconds() }
            return peaks.withLock { peaks in
                let key = [threads, element.byteCount]
                let best = max(measured, peaks[key] ?? 0)
                peaks[key] = best
                return best
            }
        } catch { throw .plan(error) }
    }
}
