import HTTP
import JSON
import Jobs

/// Stored models: their descriptions and their weights.
struct ModelRoutes: Sendable {
    let jobs: JobService
    let environment: APIEnvironment

    private enum Format: String, CaseIterable { case safetensors }

    var routes: [Route] {
        [
            Route(.get, "/v1/models", access: .requires(.read), handler: list),
            Route(.get, "/v1/models/{id}", access: .requires(.read), handler: show),
            Route(.get, "/v1/models/{id}/download", access: .requires(.read), handler: download),
            Route(.delete, "/v1/models/{id}", access: .requires(.admin), handler: delete),
        ]
    }

    /// One page of models, newest first.
    private func list(_ request: Request) throws -> Response {
        var reader = QueryReader(request.query)
        let page = reader.page()
        try reader.finish()
        let models = try Problem.translating { () throws(JobError) in
            try jobs.repositories.models.models(page)
        }
        return .json(models.json { $0.json })
    }

    /// One model; 404 `model_not_found`.
    private func show(_ request: Request) throws -> Response {
        try QueryReader(request.query).finish()
        let model = try model(request)
        return Response.json(model.json).validated(by: "\"\(model.sha256.prefix(32))\"", for: request)
    }

    /// The weights as safetensors; 422 for another format; 404 `model_file_missing` when the file is gone.
    private func download(_ request: Request) throws -> Response {
        var reader = QueryReader(request.query)
        _ = reader.choice("format", of: Format.self)
        try reader.finish()
        let model = try model(request)
        let file: FileBody
        do {
            file = try FileBody(path: environment.modelFile(model))
        } catch {
            var problem = Problem(
                .notFound, "model_file_missing", "The weights of \(model.id) are not there.")
            problem.cause = error.description
            throw problem
        }
        let name = model.name.isEmpty ? model.id.rawValue : model.name
        let etag = "\"\(model.sha256)\""
        if request.hasFresh(etag: etag) { return Response(.notModified, headers: ["ETag": etag]) }
        return .download(file, name: "\(name).safetensors", etag: etag)
    }

    /// Deletes a model and its file; 409 `in_use` while another needs it.
    private func delete(_ request: Request) throws -> Response {
        try QueryReader(request.query).finish()
        let id = try request.modelID()
        let path = try Problem.translating { () throws(JobError) in
            try jobs.repositories.models.deleteModel(id)
        }
        environment.removeFiles([path])
        return Response(.noContent)
    }

    private func model(_ request: Request) throws(Problem) -> ModelRecord {
        let id = try request.modelID()
        return try Problem.translating { () throws(JobError) in try jobs.repositories.models.model(id) }
    }
}

extension ModelRecord {
    /// The model as clients see it; where its file lies is ours alone.
    var json: JSONValue {
        [
            "id": .string(id.rawValue), "object": "model", "name": .string(name),
            "job_id": JSONValue(jobID?.rawValue), "created_at": .number(createdAt.seconds),
            "architecture": architecture, "parameters": JSONValue(parameters), "macs": JSONValue(macs),
            "bytes": JSONValue(byteCount), "sha256": .string(sha256), "metrics": metrics, "lineage": lineage,
        ]
    }
}
