import Data
import Files
import Graph
import Host
import JSON
import Jobs
import Plan
import Tensor
import Training

extension JobRunner {
    /// What one of a job's trainings computes.
    ///
    /// A model that is trained further sees its samples as it did before.
    func task(
        _ request: JobRequest, _ training: JobTraining, _ dataset: Dataset, _ job: JobID
    ) throws(JobFailure) -> TrainingTask {
        let distillation = training.isControl ? nil : try self.distillation(request, job)
        guard request.origin != nil else {
            return TrainingTask(
                model: request.model, options: request.options, dataset: dataset, seed: training.seed,
                distillation: distillation)
        }
        guard let base = request.base else {
            throw JobFailure(
                code: "model_unusable", message: "The model that was waited for is not there.",
                pointer: "/model/job")
        }
        let path = folder.absolute(base.path)
        let stored = try translate { () throws(TrainingError) in
            let stored: StoredModel
            do throws(TrainingError) { stored = try StoredModel(path) } catch {
                throw .badStart(reason: error.description)
            }
            try stored.check(fits: dataset.info, vocabulary: dataset.vocabulary, asks: .sameCount)
            return stored
        }
        return TrainingTask(
            model: request.model, options: request.options, dataset: dataset, seed: training.seed,
            start: StoredWeights(path: path, sha256: base.sha256, isMasked: stored.isMasked),
            normalization: stored.normalization,
            distillation: distillation)
    }

    /// The teachers of a distill job; nil for any other.
    private func distillation(_ request: JobRequest, _ job: JobID) throws(JobFailure) -> Distillation? {
        guard let distill = request.distill else { return nil }
        var teachers: [TeacherModel] = []
        for reference in distill.teachers {
            guard let record = reference.record else {
                throw JobFailure(
                    code: "model_unusable", message: "The teacher that was waited for is not there.",
                    pointer: "/distill/teacher/job")
            }
            let path = folder.absolute(record.path)
            do throws(TrainingError) {
                teachers.append(try TeacherModel(path, sha256: record.sha256))
            } catch {
                throw JobFailure(
                    code: "model_unusable", message: "The teacher's weights are missing or damaged.",
                    pointer: "/distill/teacher")
            }
        }
        let path = folder.absolute(DataFolder.teacherCache(of: job))
        return Distillation(distill.options, teachers: teachers, cachePath: path)
    }

    /// Deletes what the teachers said and how the trainings ended; nobody asks again.
    func removeNotes(of job: JobID, _ sink: any JobSink) {
        for path in [DataFolder.teacherCache(of: job), DataFolder.ledger(of: job)] {
            do throws(FileError) { try Folder.removeFile(folder.absolute(path)) } catch {
                sink.event(.warning, "cleanup", "A file of the job could not be deleted.", .null)
            }
        }
    }

    /// The measure blocks of a distill job's report; nil when the run has to stop before.
    func measure(
        _ distill: DistillRequest, studentPath: String, _ trainer: Trainer, _ run: JobRun
    ) throws(JobFailure) -> JSONObject? {
        try translate { () throws(TrainingError) in
            let dataset = trainer.task.dataset
            var subjects: [(stored: StoredModel, record: ModelRecord?)] = []
            for teacher in trainer.task.distillation?.teachers ?? [] {
                let record = distill.teachers.first { $0.record?.sha256 == teacher.sha256 }?.record
                subjects.append((teacher.stored, record))
            }
            subjects.append((try StoredModel(studentPath), nil))
            var models: [InferenceModel] = []
            for subject in subjects {
                models.append(
                    try InferenceModel(subject.stored, batches: EvaluateRequest.latencyBatches))
            }
            let latencies = try LatencyMeasurement.measure(
                models, batches: EvaluateRequest.latencyBatches, now: { time.monotonicNanoseconds() },
                isStopped: { run.stopReason != nil })
            guard let latencies else { return nil }
            var blocks: [JSONValue] = []
            for (index, subject) in subjects.enumerated() {
                let evaluator = try Evaluator(subject.stored, on: dataset, split: .test)
                guard let tally = try evaluator.run(isStopped: { _ in run.stopReason != nil }) else {
                    return nil
                }
                let block = MeasureBlock(
                    model: models[index], path: subject.stored.path, accuracy: tally.accuracy,
                    latencies: latencies[index], threads: run.threads)
                var json = try block.json()
                if let record = subject.record { json["model"] = .string(record.id.rawValue) }
                blocks.append(.object(json))
            }
            let teachers = blocks.dropLast()
            return [
                "teacher": teachers.count == 1 ? teachers[0] : .array(Array(teachers)),
                "student": blocks.last ?? .null,
            ]
        }
    }
}

/// What a report tells of one model.
struct MeasureBlock {
    let model: InferenceModel
    /// Its file.
    let path: String
    let accuracy: Double
    let latencies: [Int: LatencyMeasurement.Figures]
    let threads: Int

    /// The block; joules are those that the energy model gives for the largest measured batch, with all
    /// threads busy.
    func json() throws(TrainingError) -> JSONObject {
        let cost = CostModel(of: model.program.graph)
        var nonzero = 0
        for id in model.program.graph.parameterIDs where model.program.graph[id].role.isLearned {
            do { nonzero += try model.program.read(id).reduce(0) { $0 + ($1 == 0 ? 0 : 1) } } catch {
                throw .plan(error)
            }
        }
        var json: JSONObject = [
            "parameters": JSONValue(cost.parameters), "nonzero_parameters": JSONValue(nonzero),
            "macs": JSONValue(cost.macsPerSample),
            "file_bytes": JSONValue(Folder.status(of: path)?.byteCount),
            "latency_ms": .object(JSONObject(latencies: latencies)), "threads": JSONValue(threads),
            "peak_memory_bytes": JSONValue(model.byteCount), "test_accuracy": .number(accuracy),
        ]
        if let (batch, figures) = latencies.max(by: { $0.key < $1.key }) {
            let seconds = figures.median / Double(batch) * 1000
            let joules = EnergyModel(threads: threads)
                .joules(busySeconds: Double(threads) * seconds, seconds: seconds)
            json["joules_per_1000"] = .number(joules)
            json["joules_method"] = "model"
        }
        return json
    }
}
