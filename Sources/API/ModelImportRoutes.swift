import HTTP
import JSON
import Jobs

/// Models from clients: a safetensors file with its architecture, in one request.
struct ModelImportRoutes: Sendable {
    let intake: any ModelIntake

    private static let name = QueryField.text(
        "name", lengthMax: 200, "What the model is called; by its id without one.")

    var operations: [Operation] {
        [
            Operation(
                "importModel", "Takes a model: a safetensors file whose metadata has the architecture.",
                .models,
                Route(
                    .post, "/v1/models", access: .requires(.submit), byteCountMax: intake.fileByteCountMax,
                    query: [Self.name], open: receive, reply: store),
                headers: [.contentDigest], body: .bytes,
                answers: [
                    .json(
                        "The model.", .model, status: .created,
                        headers: [("Location", "The path of the model.")])
                ], refusals: [.insufficientStorage])
        ]
    }

    /// Decides over a model by the header of its request: 413, 503 `uploads_busy`, 507.
    private func receive(_ request: Request) throws -> ModelSink {
        let digest = try request.contentSHA256()
        let file = try Problem.translating { () throws(JobError) in
            try intake.receive(byteCount: request.contentLength)
        }
        return ModelSink(file, digest)
    }

    /// The model, once it came whole; 422 with all that is wrong with it, or `digest_mismatch`.
    private func store(_ request: Request, _ sink: ModelSink) throws -> Response {
        let model = try sink.finish(
            name: request.query[Self.name] ?? "", by: request.principal?.name ?? "")
        return .json(model.json, status: .created, headers: ["Location": "/v1/models/\(model.id)"])
    }
}

/// A model's way from a connection to its file.
private final class ModelSink: BodySink {
    private let file: any ModelFileIntake
    private let digest: [UInt8]?

    init(_ file: any ModelFileIntake, _ digest: [UInt8]?) { (self.file, self.digest) = (file, digest) }

    func take(_ bytes: [UInt8]) throws {
        try Problem.translating { () throws(JobError) in try file.take(bytes) }
    }

    func finish(name: String, by importer: String) throws -> ModelRecord {
        try Problem.translating { () throws(JobError) in
            try file.finish(expecting: digest, name: name, by: importer)
        }
    }

    func abandon() { file.abandon() }
}
