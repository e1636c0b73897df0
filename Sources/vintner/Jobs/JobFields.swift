import Graph
import JSON
import Training

/// The JSON fields of jobs, and those of a `train` job.
enum JobFields {
    /// What may be asked for now.
    enum Kind: String, CaseIterable, Sendable { case train, prune, distill, evaluate, quantize }

    static let type = Field.choice("type", of: Kind.self, "What kind of work it is.")
    static let name = Field.string("name", default: "", lengthMax: 200, "What people call the job.")
    static let labels = Field.texts("labels", countMax: 32, lengthMax: 200, "Free pairs to filter by.")
    static let priority = Field.integer("priority", default: 0, in: -100...100, "Higher runs first.")
    static let threads = Field.automaticInteger(
        "threads", in: 1...1024, "Threads of the job's steps; \"auto\" takes the whole core budget.")
    static let seed = Field.integer(
        "seed", default: 0, in: 0...Int(Int64.max), "Decides every random choice.")
    static let dataset = Field.string("dataset", lengthMax: 128, "A dataset's id or name.")
    static let model = Field.raw(
        "model", isRequired: true, schema: [:], "A preset, layers, or a stored model to start from.")
    static let modelID = Field.string(
        "id", lengthMax: 64, "A stored model, whose architecture and weights training starts from.")
    static let storedModelSchema = ObjectSchema(
        "stored model", "A stored model to start from.", fields: [modelID])
    static let modelJob = Field.string(
        "job", lengthMax: 64, "A job whose model is meant; it is waited for where it has not ended yet.")
    static let madeModelSchema = ObjectSchema(
        "model of a job", "The model that a job makes.", fields: [modelJob])
    static let maxAttempts = Field.integer(
        "max_attempts", default: 3, in: 1...100, "Attempts that may fail for the machine's sake.")
    static let dependsOn = Field.strings(
        "depends_on", default: [], count: 0...64, lengthMax: 64, "Jobs that must succeed first.")

    static let maxSeconds = Field.optionalNumber(
        "max_seconds", in: 1...1e8, "Longest time that a worker may spend on the job.")
    static let maxJoules = Field.optionalNumber("max_joules", in: 0...1e12, "Most energy, by energy_method.")
    static let maxMemory = Field.optionalInteger(
        "max_memory_bytes", in: 1...(1 << 50), "Most memory that the job's plan may need.")
    static let maxDisk = Field.optionalInteger(
        "max_disk_bytes", in: 1...(1 << 50),
        "Most that the job may keep on disk: checkpoints, what it notes for itself, and the model it makes.")
    static let limitsSchema = ObjectSchema(
        "limits", "What the job may use.", fields: [maxSeconds, maxJoules, maxMemory, maxDisk])
    static let limits = Field.object("limits", limitsSchema, "What the job may use.")

    /// What a condition can be about: the series, then the report's figures.
    static let gateMetrics = [
        "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "hard_loss", "soft_loss",
        "agreement", "sparsity", "test_accuracy", "test_loss", "best_val_accuracy", "seconds", "cpu_seconds",
        "joules", "peak_memory_bytes",
        "parameters", "macs_per_sample", "file_bytes", "accuracy", "loss", "macro_f1",
        "calibration_error",
    ]
    static let gateMetric = Field.string(
        "metric", lengthMax: 64, "What must be reached: \(gateMetrics.joined(separator: ", ")).")
    static let gateMin = Field.optionalNumber("min", in: -1e30...1e30, "The least that passes.")
    static let gateMax = Field.optionalNumber("max", in: -1e30...1e30, "The most that passes.")
    static let gateSchema = ObjectSchema(
        "gate", "A condition on the result.", fields: [gateMetric, gateMin, gateMax])
    static let gate = Field.raw(
        "gate", schema: ["type": ["array", "null"], "maxItems": 32, "items": gateSchema.jsonSchema()],
        "Conditions that the verdict checks.")
    static let train = Field.object("train", TrainFields.schema, "How the model is trained.")

    static let schema = ObjectSchema(
        "train job", "Trains a model on a dataset.",
        fields: [
            type, name, labels, priority, threads, seed, dataset, model, train, limits, maxAttempts,
            dependsOn, gate,
        ])

    static let distillSchema = ObjectSchema(
        "distill job", "Trains a model beside stored ones that it learns from.",
        fields: [
            type, name, labels, priority, threads, seed, dataset, model, DistillRequest.object, train, limits,
            maxAttempts, dependsOn, gate,
        ])

    static let pruneSchema = ObjectSchema(
        "prune job", "Prunes a model, trains what is left of it, and measures what that brought.",
        fields: [
            type, name, labels, priority, threads, seed, dataset, model, PruneRequest.object,
            DistillRequest.prunedObject, train, limits, maxAttempts, dependsOn, PruneRequest.gate,
        ])

    /// The JSON Schemas of what names a model.
    static var references: [JSONValue] { [storedModelSchema.jsonSchema(), madeModelSchema.jsonSchema()] }

    /// The JSON Schema of a job that trains.
    static func jsonSchema(of schema: ObjectSchema) -> JSONValue {
        var document = schema.jsonSchema().objectValue ?? [:]
        var properties = document["properties"]?.objectValue ?? [:]
        var model = ModelSpec.jsonSchema.objectValue ?? [:]
        model["oneOf"] = .array((model["oneOf"]?.arrayValue ?? []) + references)
        properties["model"] = .object(model)
        document["properties"] = .object(properties)
        return .object(document)
    }
}
