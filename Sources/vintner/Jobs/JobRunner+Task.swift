import Data
import Files
import Graph
import JSON
import Jobs
import Training

extension JobRunner {
    /// What one of a job's trainings computes.
    ///
    /// A model that is trained further sees its samples as it did before.
    func task(
        _ request: JobRequest, _ training: JobTraining, _ dataset: Dataset, _ job: JobID
    ) throws(JobFailure) -> TrainingTask {
        let distillation = training.isControl ? nil : try self.distillation(request, job)
        let pruning = request.prune.map { prune in
            Pruning(prune.options, isStored: prune.isStored) { [time] in time.monotonicNanoseconds() }
        }
        guard let origin = request.origin else {
            return TrainingTask(
                model: request.model, options: request.options, dataset: dataset, seed: training.seed,
                distillation: distillation, pruning: pruning)
        }
        let base = try record(of: origin)
        let path = folder.absolute(base.path)
        let stored = try translate { () throws(TrainingError) in
            let stored: StoredModel
            do throws(TrainingError) { stored = try StoredModel(path) } catch {
                throw .badStart(reason: error.description)
            }
            guard !stored.isQuantized else {
                throw .badStart(reason: "the model is quantized, and cannot be trained")
            }
            try stored.check(fits: dataset.info, vocabulary: dataset.vocabulary, asks: .sameCount)
            return stored
        }
        return TrainingTask(
            model: request.model, options: request.options, dataset: dataset, seed: training.seed,
            start: StoredWeights(path: path, sha256: base.sha256, isMasked: stored.isMasked),
            normalization: stored.normalization, distillation: distillation, pruning: pruning,
            bytes: request.bytes)
    }

    /// The teachers of a distill job; nil for any other.
    private func distillation(_ request: JobRequest, _ job: JobID) throws(JobFailure) -> Distillation? {
        guard let distill = request.distill else { return nil }
        if let peer = request.peer { return Distillation(distill.options, peer: peer) }
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

    /// The measure blocks of a distill job's report; nil when the run has to stop before.
    func measure(
        _ distill: DistillRequest, studentPath: String, on dataset: Dataset, _ run: JobRun
    ) throws(JobFailure) -> JSONObject? {
        let records = distill.teachers.compactMap(\.record)
        let found = try translate { () throws(TrainingError) in
            var subjects: [StoredModel] = []
            for path in records.map(\.path) + [studentPath] {
                subjects.append(try StoredModel(folder.absolute(path)))
            }
            return try measure(subjects, on: dataset, run)
        }
        guard let found else { return nil }
        var blocks: JSONObject = ["student": found.last.map { .object($0.block) } ?? .null]
        if !distill.isMutual { blocks["teacher"] = Self.block(of: found.dropLast(), records) }
        return blocks
    }

    /// What is told of the second of two students, of which nothing is kept.
    func block(ofPeer peer: ModelSpec, _ test: EvaluationResult) -> JSONValue {
        let cost = CostModel(of: peer.graph)
        return [
            "test_accuracy": .number(test.accuracy), "test_loss": .number(test.loss),
            "parameters": JSONValue(cost.parameters), "macs_per_sample": JSONValue(cost.macsPerSample),
        ]
    }

    /// The measure block of a teacher, or those of several.
    static func block(of teachers: some Sequence<MeasuredModel>, _ records: [ModelRecord]) -> JSONValue {
        let blocks = zip(teachers, records).map { teacher, record in
            var block = teacher.block
            block["model"] = .string(record.id.rawValue)
            return JSONValue.object(block)
        }
        return blocks.count == 1 ? blocks[0] : .array(blocks)
    }
}
