import Data
import Files
import Host
import JSON
import Jobs
import Kernels
import Plan
import Training

/// Running a job's trainings, one after the other.
extension JobRunner {
    func attempt(
        _ claim: ClaimedJob, _ control: JobControl, _ sink: any JobSink
    ) throws(JobFailure) -> JobOutcome {
        let sampler = ResourceSampler(
            threadName: ThreadGroupClock.currentName() ?? "", threads: claim.job.threads,
            earlier: claim.job.resources, time: time)
        let request = try read(claim.job.spec)
        let element = request.options.precision.element
        let peak = try translate { () throws(TrainingError) in
            try self.peak(threads: claim.job.threads, element)
        }
        let dataset = try load(request.dataset, control)
        do throws(FileError) { try Folder.make(folder.absolute(DataFolder.folder(of: claim.job.id))) } catch {
            throw JobFailure(error, "The job's folder could not be made.")
        }
        try forgetNotes(of: claim)
        if let means = DNNEngine.emulation(of: element) {
            sink.event(
                .warning, "precision_emulated",
                "This processor has no instructions for \(request.options.precision.rawValue): it is "
                    + "emulated (\(means)), correctly, and no faster than fp32.", .null)
        }
        let run = JobRun(
            claim, control: control, sink: sink, folder: folder, request: request, sampler: sampler,
            time: time)
        let trainings = request.trainings
        var ledger = RunLedger(folder.absolute(DataFolder.ledger(of: claim.job.id)), of: trainings)
        while true {
            let index = ledger.entries.count
            let part = JobRun.Part(training: trainings[index], index: index, count: trainings.count)
            let task = try self.task(request, part.training, dataset, claim.job.id)
            // What decoding or an earlier training took must not add to what the arena takes.
            Heap.trim()
            var held: Trainer? = try prepare(task, part, claim, sink)
            while true {
                if let trainer = held {
                    run.begin(part, trainer, peak: peak)
                    if let ending = try train(trainer, part, request, sink, run) {
                        return outcome(of: ending)
                    }
                }
                guard held?.isReadyToShrink == true else { break }
                try shrink(&held, sink, run)
            }
            if index + 1 == trainings.count {
                return try makeModel(of: claim.job.id, request.limits, sink) {
                    id, place throws(JobFailure) in
                    if let prune = request.prune {
                        return try concludePruning(&held, prune, request, claim, sink, run, id, in: place)
                    }
                    if let bytes = request.quantization {
                        return try concludeByteTraining(
                            &held, bytes, request, claim, sink, run, id, in: place)
                    }
                    return try conclude(&held, request, claim, ledger, sink, run, id, in: place)
                }
            }
            guard let trainer = held else { preconditionFailure("a training without a trainer") }
            guard let (test, peer) = try test(trainer, request, sink, run) else {
                return outcome(of: run.stopReason ?? .cancel)
            }
            let entry = RunLedger.Entry(
                training: part.training, accuracy: test.accuracy, peer: peer?.accuracy)
            do throws(FileError) { try ledger.append(entry) } catch {
                throw JobFailure(error, "How a training ended could not be written down.")
            }
            let accuracy = percent(test.accuracy)
            sink.event(.info, "training", "\(part.prefix)test accuracy \(accuracy).", .null)
        }
    }

    /// Runs one training; why it stopped, where that was before its end.
    private func train(
        _ trainer: Trainer, _ part: JobRun.Part, _ request: JobRequest, _ sink: any JobSink, _ run: JobRun
    ) throws(JobFailure) -> StopReason? {
        if trainer.state.step == 0, request.options.adapters != nil, request.base == nil {
            sink.event(
                .warning, "random_base",
                "The adapters stand beside random weights, which stay as they are; \"model\": {\"id\"} takes "
                    + "those of a stored model.", .null)
        }
        if part.index > 0, trainer.state.step == 0 {
            // From here on the checkpoints of the training before lead nowhere.
            try translate { () throws(TrainingError) in try run.storeCheckpoint(of: trainer, isBest: false) }
            if let failure = run.failure { throw failure }
        }
        if part.training.label.isEmpty { try profile(trainer, run, request) }
        let ending = try translate { () throws(TrainingError) in try trainer.run(run) }
        run.finish(step: trainer.state.step)
        if let failure = run.failure { throw failure }
        return ending
    }

    /// Measures the test split with the weights that count, and a second student's where there is one; nil
    /// where it was stopped half way: the training is over but for this, and its last checkpoint leads back
    /// here.
    func test(
        _ trainer: Trainer, _ request: JobRequest, _ sink: any JobSink, _ run: JobRun
    ) throws(JobFailure) -> (EvaluationResult, peer: EvaluationResult?)? {
        if request.options.keep == .best, let best = run.best { try takeBest(best, trainer, sink) }
        typealias Results = (EvaluationResult?, EvaluationResult?)
        let (test, peer) = try translate { () throws(TrainingError) -> Results in
            let test = try trainer.evaluate(.test, observer: run)
            return (test, test == nil ? nil : try trainer.evaluatePeer(.test, observer: run))
        }
        if let failure = run.failure { throw failure }
        if let test, (peer == nil) == (trainer.task.distillation?.peer == nil) { return (test, peer) }
        try translate { () throws(TrainingError) in try run.storeCheckpoint(of: trainer, isBest: false) }
        return nil
    }

    /// Makes the trainer, at the newest checkpoint of its training that can be used.
    private func prepare(
        _ task: TrainingTask, _ part: JobRun.Part, _ claim: ClaimedJob, _ sink: any JobSink
    ) throws(JobFailure) -> Trainer {
        let first = part.firstCheckpoint(steps: task.steps)
        let steps = first...first + task.steps
        let own = claim.checkpoints.filter { steps.contains($0.step) }
        if part.index == 0, claim.checkpoints.contains(where: { $0.step > steps.upperBound }) {
            sink.event(
                .warning, "trainings_lost",
                "It is not written down any more how the job's first trainings ended: they are done again.",
                .null)
        }
        for checkpoint in own.sorted(by: { $0.step > $1.step }) {
            let step = checkpoint.step - first
            guard let trainer = try resume(task, from: checkpoint) else {
                sink.event(
                    .warning, "checkpoint_corrupt",
                    "The checkpoint of step \(step) cannot be used; an older one is tried.", .null)
                continue
            }
            guard canCompare(trainer, of: claim.job.id) else {
                sink.event(
                    .warning, "dense_lost",
                    "The model as it was before the pruning (\(DataFolder.dense(of: claim.job.id))) is "
                        + "missing or damaged: the checkpoint of step \(step), behind it, cannot be used.",
                    ["step": JSONValue(step)])
                continue
            }
            try rewind(sink, to: step, part)
            sink.event(
                .info, "resumed", "\(part.prefix)Resumed from the checkpoint of step \(step).",
                ["step": JSONValue(step)])
            return trainer
        }
        try rewind(sink, to: 0, part)
        return try translate { () throws(TrainingError) in try Trainer(task) }
    }

    /// The trainer at a checkpoint; nil where that cannot be used.
    private func resume(
        _ task: TrainingTask, from checkpoint: CheckpointRecord
    ) throws(JobFailure) -> Trainer? {
        let path = folder.absolute(checkpoint.path)
        let own: TrainingTask
        do throws(TrainingError) { own = try task.resumed(from: path) } catch { return nil }
        let trainer = try translate { () throws(TrainingError) in try Trainer(own) }
        do throws(TrainingError) {
            try trainer.restore(from: path, sha256: checkpoint.sha256)
        } catch { return nil }
        return trainer
    }

    private func rewind(_ sink: any JobSink, to step: Int, _ part: JobRun.Part) throws(JobFailure) {
        do { try sink.rewind(toStep: step, of: part.training.label) } catch {
            throw JobFailure(reporting: error)
        }
    }
}
