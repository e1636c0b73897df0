import Compression
import Data
import Graph
import JSON
import Jobs
import Training

/// A quantize job's body, checked and completed.
struct QuantizeRequest {
    static let object = Field.object(
        "quantize", QuantizeFields.schema, "How a model's layers become bytes.")
    static let model = Field.raw(
        "model", isRequired: true, schema: ["oneOf": .array(JobFields.references)],
        "The model to quantize.")
    static let schema = ObjectSchema(
        "quantize job", "Turns a stored model's layers into bytes, and measures what that brought.",
        fields: [
            JobFields.type, JobFields.name, JobFields.labels, JobFields.priority, JobFields.threads,
            JobFields.seed, JobFields.dataset, model, object, JobFields.limits, JobFields.maxAttempts,
            JobFields.dependsOn, PruneRequest.gate,
        ])

    /// The members that every job has.
    let settings: JobSettings
    let dataset: DatasetInfo
    let model: ModelSpec
    let subject: ModelLookup.Reference
    let options: QuantizeOptions
    /// What becomes bytes.
    let layers: [Graph.NodeID]
    let gate: PruneRequest.DropGate?
    /// The body with every default filled in; reading it again gives the same request.
    let resolved: JSONObject

    /// Reads a body, as `JobRequest.read` does.
    static func read(
        _ body: JSONValue, catalogue: DatasetCatalogue, lookup: ModelLookup, cores: Int
    ) throws(InvalidInput) -> QuantizeRequest {
        let log = ViolationLog()
        var reader = ObjectReader(body, as: schema, at: "", log: log)
        _ = reader.read(JobFields.type)
        let name = reader.read(JobFields.dataset)
        let dataset =
            body["dataset"]?.stringValue == nil ? nil : JobRequest.find(name, in: catalogue, log)
        let value = reader.read(model)
        var settings = JobSettings()
        settings.readCommon(&reader, cores: cores)
        settings.seed = UInt64(reader.read(JobFields.seed))
        let gate = PruneRequest.readGate(&reader)
        let options = reader.readObject(object, assumesEmpty: true) { QuantizeOptions.read(&$0) }
        reader.finish()
        let subject = reader.contains("model") ? lookup.find(value, at: "/model", log) : nil
        subject?.refuseQuantized(at: "/model", log)
        let spec = dataset.flatMap { subject?.spec(for: $0, at: "/model", log) }
        var layers: [Graph.NodeID] = []
        if let spec, let options {
            do throws(InvalidInput) {
                layers = try options.layers(
                    of: spec.graph, among: Quantizer.candidates(of: spec.graph), at: "/quantize")
            } catch {
                for violation in error.violations {
                    log.add(violation.pointer, violation.code, violation.detail)
                }
            }
        }
        if !Quantizer.isSupported {
            log.add("/type", "unsupported", "this processor has no products of bytes (AVX2 at least)")
        }
        if let dataset, dataset.trainCount == 0 {
            log.add("/dataset", "invalid_value", "the dataset has no training samples to find ranges with")
        }
        try log.throwIfAny()
        guard let dataset, let spec, let subject, let options else {
            throw InvalidInput(pointer: "", code: "invalid_value", detail: "the job cannot be understood")
        }
        settings.depend(on: subject)
        reader.resolve("threads", as: JSONValue(settings.threads))
        return QuantizeRequest(
            settings: settings, dataset: dataset, model: spec, subject: subject, options: options,
            layers: layers, gate: gate, resolved: reader.resolved)
    }
}
