import Data
import JSON
import Jobs

/// An evaluate job's body, checked and completed.
@dynamicMemberLookup struct EvaluateRequest {
    static let split = Field.choice(
        "split", of: SplitName.self, default: .test, "What the model is measured on.")
    static let model = SubjectRequest.model("The model to measure.")
    static let schema = ObjectSchema(
        "evaluate job", "Measures a stored model on a dataset.",
        fields: [
            JobFields.type, JobFields.name, JobFields.labels, JobFields.priority, JobFields.threads,
            JobFields.dataset, model, split, JobFields.limits, JobFields.maxAttempts, JobFields.dependsOn,
            JobFields.gate,
        ])

    /// Batch sizes whose latency is measured.
    static let latencyBatches = [1, 64]

    /// Every other member, as in `request.dataset`.
    let common: SubjectRequest
    let split: SplitName

    subscript<Value>(dynamicMember member: KeyPath<SubjectRequest, Value>) -> Value {
        common[keyPath: member]
    }

    /// Reads a body, as `JobRequest.read` does.
    static func read(
        _ body: JSONValue, catalogue: DatasetCatalogue, lookup: ModelLookup, cores: Int
    ) throws(InvalidInput) -> EvaluateRequest {
        var reading = SubjectRequest.Reading(
            body, as: schema, model: model, catalogue: catalogue, lookup: lookup, cores: cores)
        let split = reading.reader.read(split)
        if let dataset = reading.dataset, dataset.count(of: split) == 0 {
            reading.log.add("/split", "invalid_value", "the dataset has no \(split.rawValue) split")
        }
        return EvaluateRequest(common: try reading.finish(), split: split)
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
