import Compression
import Data
import Graph
import JSON
import Jobs
import Training

/// A quantize job's body, checked and completed.
@dynamicMemberLookup struct QuantizeRequest {
    static let object = Field.object(
        "quantize", QuantizeFields.schema, "How a model's layers become bytes.")
    static let model = SubjectRequest.model("The model to quantize.")
    static let train = Field.object(
        "train", TrainFields.schema,
        "How the model is trained with the method qat, but for epochs and steps; no other method reads it.")
    static let schema = ObjectSchema(
        "quantize job", "Turns a stored model's layers into bytes, and measures what that brought.",
        fields: [
            JobFields.type, JobFields.name, JobFields.labels, JobFields.priority, JobFields.threads,
            JobFields.seed, JobFields.dataset, model, object, train, JobFields.limits, JobFields.maxAttempts,
            JobFields.dependsOn, PruneRequest.gate,
        ])

    /// Every other member, as in `request.dataset`.
    let common: SubjectRequest
    let options: QuantizeOptions
    /// What becomes bytes.
    let layers: [Graph.NodeID]
    let gate: PruneRequest.DropGate?

    subscript<Value>(dynamicMember member: KeyPath<SubjectRequest, Value>) -> Value {
        common[keyPath: member]
    }

    /// Reads a body, as `JobRequest.read` does.
    static func read(
        _ body: JSONValue, catalogue: DatasetCatalogue, lookup: ModelLookup, cores: Int
    ) throws(InvalidInput) -> QuantizeRequest {
        var reading = SubjectRequest.Reading(
            body, as: schema, model: model, catalogue: catalogue, lookup: lookup, cores: cores)
        let log = reading.log
        reading.settings.seed = UInt64(reading.reader.read(JobFields.seed))
        let gate = PruneRequest.readGate(&reading.reader)
        let options = reading.reader.readObject(object, assumesEmpty: true) { QuantizeOptions.read(&$0) }
        if reading.reader.contains(train.name) {
            log.add("/train", "invalid_value", "only the method \"qat\" trains")
        }
        reading.subject?.refuseQuantized(at: "/model", log)
        let layers = reading.model.flatMap { options?.layers(of: $0, log) } ?? []
        checkProcessor(log)
        if let dataset = reading.dataset, dataset.trainCount == 0 {
            log.add("/dataset", "invalid_value", "the dataset has no training samples to find ranges with")
        }
        let common = try reading.finish()
        guard let options else {
            throw InvalidInput(pointer: "/quantize", code: "invalid_value", detail: "cannot be understood")
        }
        return QuantizeRequest(common: common, options: options, layers: layers, gate: gate)
    }

    /// Logs a violation where the processor has nothing to compute bytes with.
    static func checkProcessor(_ log: ViolationLog) {
        guard !Quantizer.isSupported else { return }
        log.add("/type", "unsupported", "this processor has no products of bytes (AVX2 at least)")
    }
}

extension QuantizeOptions {
    /// What becomes bytes of a model; nil after a violation.
    func layers(of model: ModelSpec, _ log: ViolationLog) -> [Graph.NodeID]? {
        do throws(InvalidInput) {
            return try layers(
                of: model.graph, among: Quantizer.candidates(of: model.graph), at: "/quantize")
        } catch {
            for violation in error.violations {
                log.add(violation.pointer, violation.code, violation.detail)
            }
            return nil
        }
    }
}
