import Data
import Graph
import JSON
import Jobs

/// An evaluate job's body, checked and completed.
struct EvaluateRequest {
    static let split = Field.choice(
        "split", of: SplitName.self, default: .test, "What the model is measured on.")
    static let model = Field.raw(
        "model", isRequired: true,
        schema: ["oneOf": .array(JobFields.references)], "The model to measure.")
    static let schema = ObjectSchema(
        "evaluate job", "Measures a stored model on a dataset.",
        fields: [
            JobFields.type, JobFields.name, JobFields.labels, JobFields.priority, JobFields.threads,
            JobFields.dataset, model, split, JobFields.limits, JobFields.maxAttempts, JobFields.dependsOn,
            JobFields.gate,
        ])

    /// Batch sizes whose latency is measured.
    static let latencyBatches = [1, 64]

    /// The members that every job has.
    let settings: JobSettings
    let dataset: DatasetInfo
    let model: ModelSpec
    let subject: ModelLookup.Reference
    let split: SplitName
    /// The body with every default filled in; reading it again gives the same request.
    let resolved: JSONObject

    /// Reads a body, as `JobRequest.read` does.
    static func read(
        _ body: JSONValue, catalogue: DatasetCatalogue, lookup: ModelLookup, cores: Int
    ) throws(InvalidInput) -> EvaluateRequest {
        let log = ViolationLog()
        var reader = ObjectReader(body, as: schema, at: "", log: log)
        _ = reader.read(JobFields.type)
        let name = reader.read(JobFields.dataset)
        let dataset =
            body["dataset"]?.stringValue == nil ? nil : JobRequest.find(name, in: catalogue, log)
        let value = reader.read(model)
        let split = reader.read(split)
        var settings = JobSettings()
        settings.readCommon(&reader, cores: cores)
        reader.finish()
        let subject = reader.contains("model") ? lookup.find(value, at: "/model", log) : nil
        let spec = dataset.flatMap { subject?.spec(for: $0, at: "/model", log) }
        if let dataset, dataset.count(of: split) == 0 {
            log.add("/split", "invalid_value", "the dataset has no \(split.rawValue) split")
        }
        try log.throwIfAny()
        guard let dataset, let spec, let subject else {
            throw InvalidInput(pointer: "", code: "invalid_value", detail: "the job cannot be understood")
        }
        settings.depend(on: subject)
        reader.resolve("threads", as: JSONValue(settings.threads))
        return EvaluateRequest(
            settings: settings, dataset: dataset, model: spec, subject: subject, split: split,
            resolved: reader.resolved)
    }
}

extension DatasetInfo {
    /// Samples, or tokens, of a split.
    func count(of split: SplitName) -> Int {
        switch split {
        case .train: trainCount
        case .validation: validationCount
        case .test: testCount
        }
    }
}
