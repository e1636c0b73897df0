import FailPoints
import Files
import JSON
import Jobs
import Plan
import Training

/// Follows one attempt of a job: reports its curves, stores its checkpoints, stops it when asked.
final class JobRun: TrainingObserver {
    private let claim: ClaimedJob
    private let control: JobControl
    private let sink: any JobSink
    private let folder: DataFolder
    private let time: any TimeSource
    private var watch: LimitWatch
    private let options: TrainOptions
    private let limits: JobSettings.Limits
    /// Steps whose states this attempt has stored for good.
    private var kept: Set<Int> = []
    private var sampler: ResourceSampler
    private var points: [MetricPoint] = []
    private var checkpoints: CheckpointPacing
    private var lastProgress: UInt64 = 0
    private var rate: Double?
    let threads: Int
    private let precision: TrainOptions.Precision
    /// What the machine can do at the most, once that is measured.
    var roof: Roofline?
    /// Which of the job's trainings runs.
    private var part = Part(training: JobTraining(seed: 0, isControl: false, label: ""), index: 0, count: 1)
    /// The best checkpoint of the training.
    private(set) var best: CheckpointRecord?
    /// Set when the attempt must end for a reason of its own.
    private(set) var failure: JobFailure?

    init(
        _ claim: ClaimedJob, control: JobControl, sink: any JobSink, folder: DataFolder,
        request: JobRequest, sampler: ResourceSampler, time: any TimeSource
    ) {
        (self.claim, self.control, self.sink, self.folder) = (claim, control, sink, folder)
        (self.sampler, self.time) = (sampler, time)
        watch = LimitWatch(request.limits, time)
        (options, limits) = (request.options, request.limits)
        (threads, precision) = (claim.job.threads, request.options.precision)
        checkpoints = CheckpointPacing(request.options.checkpointSeconds, now: time.monotonicNanoseconds())
    }

    /// One of a job's trainings.
    struct Part {
        let training: JobTraining
        let index: Int
        let count: Int

        /// The checkpoints of a training of so many steps are counted from here, so that each job's go up.
        func firstCheckpoint(steps: Int) -> Int { index * (steps + 1) }

        /// What its curve of a kind is called.
        func series(_ name: String) -> String {
            training.label.isEmpty ? name : "\(name).\(training.label)"
        }

        /// How messages of it start.
        var prefix: String {
            guard count > 1 else { return "" }
            return "Seed \(training.seed), \(training.isControl ? "alone" : "taught"): "
        }
    }

    /// Starts to follow one of the job's trainings.
    ///
    /// - Parameters:
    ///   - part: Which.
    ///   - trainer: What runs it, at the place where it goes on.
    ///   - peak: FLOP/s of a large product.
    func begin(_ part: Part, _ trainer: Trainer, peak: Double) {
        self.part = part
        let first = part.firstCheckpoint(steps: trainer.steps)
        best = claim.checkpoints.first {
            $0.kind == .best && (first...(first + trainer.steps)).contains($0.step)
        }
        sampler.prepared(arenaBytes: trainer.program.byteCount, peak: peak)
    }

    var stopReason: StopReason? {
        if failure == nil { failure = watch.failure(&sampler) }
        if failure != nil { return .cancel }
        return control.signal.stopReason
    }

    var isCheckpointDue: Bool { checkpoints.isDue(time.monotonicNanoseconds()) }

    var totals: JobResources { sampler.totals }

    func didFindLearningRate(_ report: LearningRateReport) {
        let now = time.now()
        points += report.points.enumerated().flatMap { index, point in
            [
                MetricPoint(series: "lr_finder", step: index + 1, value: point.loss, at: now),
                MetricPoint(series: "lr_finder_rate", step: index + 1, value: point.rate, at: now),
            ]
        }
        flush()
        sink.event(
            .info, "learning_rate",
            "The learning rate is \(report.rate), found in \(report.points.count) steps.",
            ["learning_rate": .number(report.rate), "steps": JSONValue(report.points.count)])
    }

    func didStep(_ report: StepReport) {
        FailPoint.hangInStep.pass()
        sampler.add(report)
        if part.training.label.isEmpty { addPoints(report) }
        if sampler.secondsSinceSample >= 1 || report.step == report.steps { takeSample(report.step) }
        let clock = time.monotonicNanoseconds()
        guard clock - lastProgress >= 250_000_000 || report.step == report.steps else { return }
        lastProgress = clock
        flush()
        let (step, steps) = (part.index * report.steps + report.step, part.count * report.steps)
        let left = Double(steps - step) * Double(options.batchSize)
        sink.progress(
            JobProgress(
                fraction: Double(step) / Double(max(steps, 1)), epoch: report.epoch + 1,
                epochs: report.epochs, step: step, steps: steps, samplesPerSecond: rate,
                etaSeconds: rate.map { left / max($0, 1e-9) }))
    }

    private func addPoints(_ report: StepReport) {
        let now = time.now()
        if let norm = report.gradientNorm, norm.isFinite {
            points.append(MetricPoint(series: "gradient_norm", step: report.step, value: norm, at: now))
        }
        points.append(MetricPoint(series: "train_loss", step: report.step, value: report.loss, at: now))
        if let distillation = report.distillation {
            var values = [
                ("hard_loss", distillation.hardLoss), ("soft_loss", distillation.softLoss),
                ("agreement", distillation.agreement),
            ]
            if let loss = distillation.featureLoss { values.append(("feature_loss", loss)) }
            points += values.map { MetricPoint(series: $0.0, step: report.step, value: $0.1, at: now) }
        }
        points.append(
            MetricPoint(series: "learning_rate", step: report.step, value: report.learningRate, at: now))
    }

    func didNote(_ note: TrainingNote) { sink.event(.warning, note.code, note.message, .null) }

    func didProfile(_ profile: StepProfile) {
        guard let roof else { return }
        sink.profile(
            ProfileDocument(profile: profile, roof: roof, threads: threads, precision: precision).json)
    }

    /// Ends an interval; `isTraining` says whether it held training steps alone, so that its rates mean
    /// something.
    private func takeSample(_ step: Int, isTraining: Bool = true) {
        let point = sampler.sample(step: step, isTraining: isTraining)
        rate = point.samplesPerSecond ?? rate
        sink.resources(point)
        sink.totals(sampler.totals)
    }

    /// Keeps the model as it is: what the pruned one is measured against.
    func willPrune(_ trainer: Trainer) throws(TrainingError) {
        _ = try trainer.saveModel(
            to: folder.absolute(DataFolder.dense(of: claim.job.id)),
            description: trainer.task.modelDescription)
    }

    func didPrune(_ report: PruneReport) {
        points.append(
            MetricPoint(series: "sparsity", step: report.step, value: report.sparsity, at: time.now()))
        flush()
        sink.event(
            .info, "pruned", "\(percent(report.sparsity)) are gone at step \(report.step).",
            ["step": JSONValue(report.step), "sparsity": .number(report.sparsity)])
    }

    func willEvaluate(step: Int) { takeSample(step) }

    func didFinishEpoch(_ report: EpochReport) {
        let now = time.now()
        var values = [
            ("train_accuracy", report.trainAccuracy), ("val_loss", report.validation.loss),
            ("val_accuracy", report.validation.accuracy),
        ]
        if let peer = report.peer {
            values += [("peer_val_loss", peer.loss), ("peer_val_accuracy", peer.accuracy)]
        }
        points += values.map {
            MetricPoint(series: part.series($0.0), step: report.step, value: $0.1, at: now)
        }
        flush()
        takeSample(report.step, isTraining: false)
        let accuracy = percent(report.validation.accuracy)
        sink.event(
            .info, "epoch",
            "\(part.prefix)Epoch \(report.epoch + 1): validation accuracy \(accuracy), "
                + "loss \(rounded(report.validation.loss)).",
            [
                "epoch": JSONValue(report.epoch + 1), "step": JSONValue(report.step),
                "train_loss": .number(report.trainLoss), "train_accuracy": .number(report.trainAccuracy),
                "val_loss": .number(report.validation.loss),
                "val_accuracy": .number(report.validation.accuracy),
            ])
    }

    func storeCheckpoint(of trainer: Trainer, isBest: Bool) throws(TrainingError) {
        flush()
        let step = part.firstCheckpoint(steps: trainer.steps) + trainer.state.step
        let stays = !isBest && !kept.contains(step) && options.keepsCheckpoint(at: trainer.state.step)
        let kind: CheckpointRecord.Kind = isBest ? .best : stays ? .kept : .last
        let name = "\(kind.rawValue)-\(step).\(claim.lease.fence).safetensors"
        let path = "\(DataFolder.folder(of: claim.job.id))/\(name)"
        guard let receipt = try write(trainer, to: path) else { return }
        let record = CheckpointRecord(
            step: step, kind: kind, path: path, sha256: receipt.sha256.hex,
            byteCount: Int64(receipt.byteCount), at: time.now())
        FailPoint.beforeCheckpointRow.pass()
        guard let obsolete = adopt(record) else { return }
        FailPoint.afterCheckpointRow.pass()
        if isBest { best = record }
        if stays { kept.insert(step) }
        for file in obsolete {
            do throws(FileError) { try Folder.removeFile(folder.absolute(file)) } catch {
                sink.event(.warning, "cleanup", "An old checkpoint could not be deleted.", .null)
            }
        }
        do throws(JobFailure) {
            try limits.checkDisk([DataFolder.folder(of: claim.job.id)], in: folder)
        } catch { failure = failure ?? error }
    }

    /// Writes a checkpoint once there is room for it; nil where the attempt has to end without it.
    private func write(_ trainer: Trainer, to path: String) throws(TrainingError) -> AtomicFile.Receipt? {
        while true {
            let begin = time.monotonicNanoseconds()
            do throws(TrainingError) {
                let receipt = try trainer.save(to: folder.absolute(path))
                checkpoints.wrote(from: begin, to: time.monotonicNanoseconds())
                return receipt
            } catch {
                guard error.isDiskFull else { throw error }
                if !sink.awaitRoom() { return nil }
            }
        }
    }

    /// Makes a durable file the checkpoint to resume from; nil, and a failure, where that is refused.
    ///
    /// - Returns: The files that it replaces.
    private func adopt(_ record: CheckpointRecord) -> [String]? {
        while true {
            do { return try sink.checkpoint(record) } catch {
                if case JobError.storeFull = error, sink.awaitRoom() { continue }
                failure = JobFailure(reporting: error)
                return nil
            }
        }
    }

    /// Hands over what has not been reported yet.
    func flush() {
        guard !points.isEmpty else { return }
        sink.metrics(points)
        points.removeAll(keepingCapacity: true)
    }

    /// The last sample of the attempt.
    func finish(step: Int) {
        flush()
        takeSample(step, isTraining: false)
    }
}

extension JobFailure {
    /// What a refused report means for the attempt: the lease is gone, or the store failed.
    init(reporting error: any Error) {
        if error is LeaseLost {
            self.init(code: "lease_lost", message: "Another worker took the job over.", isRetryable: true)
        } else if case JobError.storeFull = error {
            self = .diskFull
        } else {
            self.init(code: "io", message: "The job's state could not be stored.", isRetryable: true)
        }
    }
}

/// A fraction as people read it: `91.3 %`.
func percent(_ fraction: Double) -> String { "\(rounded(fraction * 100, digits: 2)) %" }

/// A number with a few digits behind the point.
func rounded(_ value: Double, digits: Int = 4) -> String {
    guard value.isFinite else { return "\(value)" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    return "\((value * scale).rounded() / scale)"
}
