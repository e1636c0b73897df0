import Compression
import Data
import Graph
import JSON
import Jobs
import Training

/// The `distill` object of a job, checked and completed.
struct DistillRequest {
    /// Teachers whose logits are averaged, at the most.
    static let teachersMax = 8

    static let teacher = teacherField(
        isRequired: true, "A stored model, or up to \(teachersMax) whose logits are averaged.")
    static let ownTeacher = teacherField(
        isRequired: false,
        "A stored model, or up to \(teachersMax) whose logits are averaged; the model as it is before the "
            + "pruning unless given.")
    static let control = Field.bool(
        "control", default: false,
        "Whether the same student is also trained without a teacher: same seed, steps and schedule.")
    static let seedCount = Field.integer(
        "seeds", default: 1, in: 1...32,
        "Trainings that differ in their seeds, which count up from the job's; the model is the first seed's.")
    static let schema = ObjectSchema(
        "distill", "What the model learns from besides the labels.",
        fields: [teacher] + DistillFields.fields + [control, seedCount])
    static let object = Field.object(
        "distill", schema, "What the model learns from besides the labels.")

    static let prunedSchema = ObjectSchema(
        "distill", "What the model learns from while it is pruned and afterwards.",
        fields: [ownTeacher] + DistillFields.fields)
    static let prunedObject = Field.object(
        "distill", prunedSchema, "What the model learns from while it is pruned and afterwards.")

    let options: DistillOptions
    let teachers: [ModelLookup.Reference]
    /// What the teachers compute.
    let models: [ModelSpec]
    /// Whether there is a training without teachers for each with them.
    let hasControl: Bool
    /// Trainings with teachers.
    let seeds: Int

    private static func teacherField(isRequired: Bool, _ summary: String) -> Field<JSONValue> {
        Field.raw(
            "teacher", isRequired: isRequired,
            schema: [
                "oneOf": .array(
                    JobFields.references + [
                        [
                            "type": "array", "minItems": 1, "maxItems": JSONValue(teachersMax),
                            "items": ["oneOf": .array(JobFields.references)],
                        ]
                    ])
            ], summary)
    }

    /// Reads the member of a distill job; nil after a violation, or where there is none.
    static func read(
        _ reader: inout ObjectReader, _ dataset: DatasetInfo?, _ lookup: ModelLookup, _ log: ViolationLog
    ) -> DistillRequest? {
        guard reader.contains("distill") else {
            log.add("/distill", "missing_field", "\"distill\" is required")
            return nil
        }
        let read = reader.readObject(object) { nested in
            (
                value: nested.read(teacher), options: DistillOptions.read(&nested),
                hasControl: nested.read(control), seeds: nested.read(seedCount)
            )
        }
        guard let read, !read.value.isNull else { return nil }
        return find(
            read.value, read.options, dataset, lookup, log, hasControl: read.hasControl, seeds: read.seeds)
    }

    /// Reads the member of a prune job; nil after a violation, or where there is none.
    ///
    /// `model` is the job's own, whose dense original is the teacher where none is named.
    static func readPruned(
        _ reader: inout ObjectReader, model: JSONValue?, _ dataset: DatasetInfo?, _ lookup: ModelLookup,
        _ log: ViolationLog
    ) -> DistillRequest? {
        guard reader.raw("distill")?.isNull == false else { return nil }
        let own = model.flatMap { ModelLookup.isReference($0) ? $0 : nil }
        let read = reader.readObject(prunedObject) { nested in
            let named = nested.read(ownTeacher)
            if named.isNull, let own { nested.resolve("teacher", as: own) }
            return (value: named.isNull ? own : named, options: DistillOptions.read(&nested))
        }
        guard let read else { return nil }
        guard let value = read.value else {
            log.add(
                "/distill/teacher", "missing_field",
                "a model that is not stored has no dense original to learn from; a teacher is required")
            return nil
        }
        return find(value, read.options, dataset, lookup, log, hasControl: false, seeds: 1)
    }

    private static func find(
        _ value: JSONValue, _ options: DistillOptions, _ dataset: DatasetInfo?, _ lookup: ModelLookup,
        _ log: ViolationLog, hasControl: Bool, seeds: Int
    ) -> DistillRequest? {
        var places = [("/distill/teacher", value)]
        if let list = value.arrayValue {
            guard (1...teachersMax).contains(list.count) else {
                log.add("/distill/teacher", "invalid_value", "expected 1 to \(teachersMax) teachers")
                return nil
            }
            places = list.enumerated().map { index, value in
                (JSONPointer.element(index, of: "/distill/teacher"), value)
            }
        }
        var (teachers, models): ([ModelLookup.Reference], [ModelSpec]) = ([], [])
        for (place, value) in places {
            guard let found = lookup.find(value, at: place, log),
                let model = found.spec(for: dataset, at: place, log)
            else { continue }
            found.refuseQuantized(at: place, log)
            teachers.append(found)
            models.append(model)
        }
        guard teachers.count == places.count else { return nil }
        return DistillRequest(
            options: options, teachers: teachers, models: models, hasControl: hasControl, seeds: seeds)
    }

    /// Logs what keeps a student from learning from the teachers.
    func check(
        _ student: ModelSpec, _ options: TrainOptions, _ pruning: PruneOptions?, _ log: ViolationLog
    ) {
        if pruning?.structure == .channel, !self.options.features.isEmpty {
            log.add(
                "/distill/features", "invalid_value",
                "the student's channels are to be removed, and features count on them")
        }
        self.options.check(with: options, at: "/distill", log: log)
        for (index, model) in models.enumerated() {
            guard let reason = Distillation.misfit(of: model.graph, with: student.graph) else { continue }
            let place = models.count == 1 ? "" : "/\(index)"
            log.add("/distill/teacher\(place)", "invalid_value", "the teacher does not fit: \(reason)")
        }
    }
}
