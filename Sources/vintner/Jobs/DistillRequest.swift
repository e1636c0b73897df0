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
        "A stored model, or up to \(teachersMax) whose logits are averaged; required unless mutual.")
    static let ownTeacher = teacherField(
        "A stored model, or up to \(teachersMax) whose logits are averaged; the model as it is before the "
            + "pruning unless given.")
    static let control = Field.bool(
        "control", default: false,
        "Whether the same student is also trained without a teacher: same seed, steps and schedule.")
    static let seedCount = Field.integer(
        "seeds", default: 1, in: 1...32,
        "Trainings that differ in their seeds, which count up from the job's; the model is the first seed's.")
    static let mutual = Field.bool(
        "mutual", default: false,
        "Whether, instead of from a teacher, it learns from a second student that is trained with it and "
            + "learns from it in turn. temperature is then 1 and alpha 0.5 unless given.")
    static let peer = Field.raw(
        "peer", schema: ["type": ["object", "null"]],
        "The second student, described as the model is; by default the same network. It starts from other "
            + "values.")
    static let schema = ObjectSchema(
        "distill", "What the model learns from besides the labels.",
        fields: [teacher] + DistillFields.fields + [mutual, peer, control, seedCount])
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
    /// Whether a second student takes the teachers' place.
    var isMutual = false
    /// What the second student computes, where that is not what the first does.
    var peer: ModelSpec?
    /// Whether there is a training without teachers for each with them.
    var hasControl = false
    /// Trainings with teachers.
    var seeds = 1

    private static func teacherField(_ summary: String) -> Field<JSONValue> {
        Field.raw(
            "teacher",
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
            let value = nested.read(teacher)
            let options = DistillOptions.read(&nested)
            let isMutual = nested.read(mutual)
            let request =
                isMutual
                ? readMutual(&nested, options, dataset, log)
                : readTaught(&nested, value, options, dataset, lookup, log)
            let (hasControl, seeds) = (nested.read(control), nested.read(seedCount))
            guard var request else { return nil as DistillRequest? }
            (request.hasControl, request.seeds) = (hasControl, seeds)
            return request
        }
        return read.flatMap(\.self)
    }

    private static func readTaught(
        _ reader: inout ObjectReader, _ value: JSONValue, _ options: DistillOptions, _ dataset: DatasetInfo?,
        _ lookup: ModelLookup, _ log: ViolationLog
    ) -> DistillRequest? {
        if reader.raw(peer.name)?.isNull == false {
            log.add(reader.pointer(to: peer.name), "invalid_value", "only mutual students have a peer")
        }
        guard !value.isNull else {
            log.add(reader.pointer(to: teacher.name), "missing_field", "\"teacher\" is required")
            return nil
        }
        return find(value, options, dataset, lookup, log)
    }

    /// Reads what two students learn from each other by: as much from the labels as from the other, at a
    /// temperature of 1, as their inventors have it.
    private static func readMutual(
        _ reader: inout ObjectReader, _ options: DistillOptions, _ dataset: DatasetInfo?, _ log: ViolationLog
    ) -> DistillRequest? {
        var options = options
        for (name, reason) in [
            (teacher.name, "mutual students learn from each other"),
            (DistillFields.features.name, "the layers of mutual students are not compared"),
        ] where reader.raw(name)?.isNull == false {
            log.add(reader.pointer(to: name), "invalid_value", reason)
        }
        if options.cache != .none {
            log.add(
                reader.pointer(to: DistillFields.cache.name), "invalid_value",
                "what a mutual student says changes at every step")
        }
        options.features = []
        if reader.raw(DistillFields.alpha.name) == nil {
            options.alpha = 0.5
            reader.resolve(DistillFields.alpha.name, as: .number(options.alpha))
        }
        if reader.raw(DistillFields.temperature.name) == nil, options.loss.knowsTemperature {
            options.temperature = 1
            reader.resolve(DistillFields.temperature.name, as: .number(options.temperature))
        }
        let value = reader.read(peer)
        let place = reader.pointer(to: peer.name)
        guard !value.isNull else {
            return DistillRequest(options: options, teachers: [], models: [], isMutual: true)
        }
        guard !ModelLookup.isReference(value) else {
            log.add(place, "invalid_value", "a peer starts from drawn values: it is described, not stored")
            return nil
        }
        let spec = ModelSpec.read(value, at: place, data: dataset?.modelData ?? DataShape(), log: log)
        guard let spec else { return nil }
        reader.resolve(peer.name, as: spec.json)
        return DistillRequest(options: options, teachers: [], models: [], isMutual: true, peer: spec)
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
        return find(value, read.options, dataset, lookup, log)
    }

    private static func find(
        _ value: JSONValue, _ options: DistillOptions, _ dataset: DatasetInfo?, _ lookup: ModelLookup,
        _ log: ViolationLog
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
        return DistillRequest(options: options, teachers: teachers, models: models)
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
        if isMutual, options.adapters != nil {
            log.add(
                "/train/lora", "invalid_value", "of mutual students the second is drawn, and learns whole")
        }
        if let peer, let reason = Distillation.misfit(of: peer.graph, with: student.graph) {
            log.add("/distill/peer", "invalid_value", "the peer does not fit: \(reason)")
        }
        for (index, model) in models.enumerated() {
            guard let reason = Distillation.misfit(of: model.graph, with: student.graph) else { continue }
            let place = models.count == 1 ? "" : "/\(index)"
            log.add("/distill/teacher\(place)", "invalid_value", "the teacher does not fit: \(reason)")
        }
    }
}
