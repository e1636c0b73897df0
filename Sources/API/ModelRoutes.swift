import HTTP
import JSON
import Jobs

/// Stored models: their descriptions and their weights.
struct ModelRoutes: Sendable {
    let jobs: JobService
    let environment: APIEnvironment

    private enum Format: String, CaseIterable { case safetensors, sparse }
    private enum AdapterFormat: String, CaseIterable { case safetensors, config }

    private static let format = QueryField.choice(
        "format", of: Format.self, default: .safetensors,
        "Every weight, or the file as it is stored: pruned weights without their zeros.")
    private static let adapterFormat = QueryField.choice(
        "format", of: AdapterFormat.self, default: .safetensors,
        "The adapters' weights, or what PEFT keeps beside them.")

    var operations: [Operation] {
        [
            Operation(
                "listModels", "One page of models, newest first.", .models,
                Route(
                    .get, "/v1/models", access: .requires(.read),
                    query: [PageField.limit, PageField.after("mdl")],
                    handler: list),
                answers: [.json("The page.", .modelPage)]),
            Operation(
                "getModel", "One model, with the report of the job that made it.", .models,
                Route(.get, "/v1/models/{id}", access: .requires(.read), query: [], handler: show),
                path: [.model], headers: [.ifNoneMatch],
                answers: [.json("The model.", .modelDetail, headers: [Answer.etag]), .notModified]),
            Operation(
                "downloadModel", "The weights of a model as safetensors.", .models,
                Route(
                    .get, "/v1/models/{id}/download", access: .requires(.read), query: [Self.format],
                    handler: download),
                path: [.model], headers: [.ifMatch, .ifNoneMatch, .range],
                answers: [.download("The weights."), .part, .notModified],
                refusals: [.preconditionFailed, .rangeNotSatisfiable]),
            Operation(
                "downloadAdapters", "What was trained beside a frozen model, alone.", .models,
                Route(
                    .get, "/v1/models/{id}/adapters", access: .requires(.read), query: [Self.adapterFormat],
                    handler: adapters),
                path: [.model], headers: [.ifMatch, .ifNoneMatch, .range],
                answers: [
                    Answer(
                        .ok, "The adapters as safetensors, or the members of PEFT's configuration.",
                        content: [("application/octet-stream", .any), ("application/json", .anyObject)],
                        headers: [Answer.etag]),
                    .part, .notModified,
                ], refusals: [.preconditionFailed, .rangeNotSatisfiable]),
            Operation(
                "deleteModel", "Deletes a model and its file, unless a job that is not over names it.",
                .models,
                Route(.delete, "/v1/models/{id}", access: .requires(.admin), query: [], handler: delete),
                path: [.model], answers: [Answer(.noContent, "It is gone.")],
                refusals: [.conflict, .insufficientStorage]),
        ]
    }

    /// One page of models, newest first.
    private func list(_ request: Request) throws -> Response {
        let models = try Problem.translating { () throws(JobError) in
            try jobs.repositories.models.models(request.query.page)
        }
        return .json(models.json { $0.json })
    }

    /// One model, with the report of the job that made it; 404 `model_not_found`.
    private func show(_ request: Request) throws -> Response {
        let model = try model(request)
        var document = model.json.objectValue ?? [:]
        document["report"] = model.metrics[ModelRecord.reportKey] ?? .null
        // The one member that can change: the job may be deleted.
        let tag = "\"\(model.sha256.prefix(32))\(model.jobID == nil ? "" : "-made")\""
        return Response.json(.object(document)).validated(by: tag, for: request)
    }

    /// The weights as safetensors: whole, or as they are stored, pruned ones without their zeros; 422 for
    /// another format; 404 `model_file_missing` when the file is gone; 503 `downloads_busy`.
    private func download(_ request: Request) throws -> Response {
        let format = request.query[Self.format]
        let model = try model(request)
        let name = "\(model.fileName)\(format == .sparse ? ".sparse" : "").safetensors"
        return try request.download(name, sha256: model.sha256) {
            let isSent = request.method == .get
            let whole = format == .sparse ? nil : try environment.wholeModel(model, isSent)
            if let whole { return MadeBody(whole) }
            return try FileBody(path: environment.modelFile(model))
        } missing: {
            Problem(.notFound, "model_file_missing", "The weights of \(model.id) are not there.")
        }
    }

    /// What was trained beside a frozen model, alone: safetensors, or what PEFT keeps beside them.
    ///
    /// 404 `no_adapters` for a model that was trained without, `model_file_missing` when the file is gone.
    private func adapters(_ request: Request) throws -> Response {
        let model = try model(request)
        let adapters = model.lineage["adapters"]
        guard let adapters, let sha256 = adapters["sha256"]?.stringValue else {
            throw Problem(.notFound, "no_adapters", "\(model.id) was trained without adapters.")
        }
        if request.query[Self.adapterFormat] == .config {
            return .json(adapters["peft"] ?? [:])
        }
        return try request.download("\(model.fileName).adapters.safetensors", sha256: sha256) {
            try FileBody(path: environment.adapterFile(model))
        } missing: {
            Problem(.notFound, "model_file_missing", "The adapters of \(model.id) are not there.")
        }
    }

    /// Deletes a model and its file; 409 `in_use` while a job that is not over names it.
    private func delete(_ request: Request) throws -> Response {
        let id = try request.modelID()
        let deleted = try Problem.translating { () throws(JobError) in
            try jobs.repositories.models.deleteModel(id)
        }
        environment.removeFiles([deleted.path])
        deleted.makers.forEach { jobs.hub.notify($0) }
        return Response(.noContent)
    }

    private func model(_ request: Request) throws(Problem) -> ModelRecord {
        let id = try request.modelID()
        return try Problem.translating { () throws(JobError) in try jobs.repositories.models.model(id) }
    }
}

extension Request {
    /// A file or a part of it, unless the client has it.
    ///
    /// - Parameters:
    ///   - name: What the client should call it.
    ///   - sha256: Of the file as it is stored: its validator.
    ///   - open: Opens it.
    ///   - missing: What is thrown where that fails.
    /// - Returns: 200, 206, 304 or 416.
    /// - Throws: 412; the problem that `open` throws, for other errors `missing` with the cause for the log.
    func download(
        _ name: String, sha256: String, open: () throws -> any Downloadable, missing: () -> Problem
    ) throws(Problem) -> Response {
        let etag = "\"\(sha256)\""
        guard isWanted(etag: etag) else {
            throw Problem(
                .preconditionFailed, "precondition_failed", "The file's ETag is \(etag), none of If-Match.",
                headers: ["ETag": etag])
        }
        if hasFresh(etag: etag) { return Response(.notModified, headers: ["ETag": etag]) }
        do {
            return try .download(try open(), name: name, etag: etag, for: self)
        } catch let problem as Problem {
            throw problem
        } catch {
            var problem = missing()
            problem.cause = "\(error)"
            throw problem
        }
    }
}

extension ModelRecord {
    /// What its files are called.
    fileprivate var fileName: String { name.isEmpty ? id.rawValue : name }

    /// The metrics without the whole report.
    private var shortMetrics: JSONValue {
        guard var members = metrics.objectValue else { return metrics }
        members[Self.reportKey] = nil
        return .object(members)
    }

    /// The model as clients see it; where its file lies is ours alone.
    var json: JSONValue {
        [
            "id": .string(id.rawValue), "object": "model", "name": .string(name),
            "job_id": JSONValue(jobID?.rawValue), "created_at": .number(createdAt.seconds),
            "architecture": architecture, "parameters": JSONValue(parameters), "macs": JSONValue(macs),
            "bytes": JSONValue(byteCount), "sha256": .string(sha256), "metrics": shortMetrics,
            "lineage": lineage,
        ]
    }
}
