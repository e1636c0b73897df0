import Data
import Graph
import JSON
import Jobs

/// What is asked of every job that looks at a stored model without training it, checked and completed.
struct SubjectRequest {
    /// The members that every job has.
    var settings: JobSettings
    let dataset: DatasetInfo
    let model: ModelSpec
    let subject: ModelLookup.Reference
    /// The body with every default filled in; reading it again gives the same request.
    let resolved: JSONObject

    /// The member that names the model.
    static func model(_ summary: String) -> Field<JSONValue> {
        Field.raw(
            "model", isRequired: true, schema: ["oneOf": .array(JobFields.references)], summary)
    }

    /// A body that is being read: what such jobs have in common is, the rest is up to the job's own kind.
    struct Reading {
        var reader: ObjectReader
        var settings = JobSettings()
        /// nil after a violation, like what follows.
        let dataset: DatasetInfo?
        let subject: ModelLookup.Reference?
        let model: ModelSpec?

        /// Reads the common members of a body; `field` is the one that names the model.
        init(
            _ body: JSONValue, as schema: ObjectSchema, model field: Field<JSONValue>,
            catalogue: DatasetCatalogue, lookup: ModelLookup, cores: Int
        ) {
            let log = ViolationLog()
            reader = ObjectReader(body, as: schema, at: "", log: log)
            _ = reader.read(JobFields.type)
            let name = reader.read(JobFields.dataset)
            dataset = body["dataset"]?.stringValue == nil ? nil : JobRequest.find(name, in: catalogue, log)
            let value = reader.read(field)
            settings.readCommon(&reader, cores: cores)
            subject = reader.contains(field.name) ? lookup.find(value, at: "/model", log) : nil
            model = dataset.flatMap { [subject] in subject?.spec(for: $0, at: "/model", log) }
        }

        var log: ViolationLog { reader.log }

        /// Ends reading; throws every violation at once.
        mutating func finish() throws(InvalidInput) -> SubjectRequest {
            reader.finish()
            try log.throwIfAny()
            guard let dataset, let model, let subject else {
                throw InvalidInput(
                    pointer: "", code: "invalid_value", detail: "the job cannot be understood")
            }
            settings.depend(on: subject)
            reader.resolve("threads", as: JSONValue(settings.threads))
            return SubjectRequest(
                settings: settings, dataset: dataset, model: model, subject: subject,
                resolved: reader.resolved)
        }
    }
}
