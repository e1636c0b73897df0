import HTTP
import JSON
import Jobs

/// Datasets from clients: an upload is opened, filled with files, then committed.
struct UploadRoutes: Sendable {
    let jobs: JobService
    let intake: any DatasetIntake

    private static let name = PathField(
        name: "name", documentation: "What the file is called; by it the format knows the file.",
        shape: .segment,
        example: "train.csv")
    /// Longer than any dataset takes; the connection sleeps meanwhile.
    private static let seconds = 600.0

    var operations: [Operation] {
        [
            Operation(
                "openDataset", "Opens a dataset for its files to come.", .datasets,
                Route(.post, "/v1/datasets", access: .requires(.submit), query: [], handler: open),
                body: RequestBody(intake.schema, isRequired: true),
                answers: [
                    .json(
                        "The open dataset.", .dataset, status: .created,
                        headers: [("Location", "The dataset's path.")])
                ], refusals: [.conflict, .insufficientStorage]),
            Operation(
                "putDatasetFile", "Sends a file of an open dataset, in the place of one of its name.",
                .datasets,
                Route(
                    .put, "/v1/datasets/{id}/files/{name}", access: .requires(.submit),
                    byteCountMax: intake.fileByteCountMax, open: receive, reply: store),
                path: [.dataset, Self.name], headers: [.contentDigest], body: .bytes,
                answers: [
                    .json("It took the place of another one.", .datasetFile),
                    .json("It is new.", .datasetFile, status: .created),
                ], refusals: [.conflict, .insufficientStorage]),
            Operation(
                "commitDataset", "Checks the files of an open dataset and publishes it.", .datasets,
                Route(
                    .post, "/v1/datasets/{id}/commit", access: .requires(.submit), query: [], reply: commit),
                path: [.dataset], body: RequestBody(Request.emptySchema),
                answers: [.json("The dataset, ready for jobs.", .dataset)],
                refusals: [.conflict, .insufficientStorage]),
            Operation(
                "deleteDataset", "Deletes an open dataset, or (scope `admin`) one that no job needs.",
                .datasets,
                Route(.delete, "/v1/datasets/{id}", access: .requires(.submit), query: [], handler: delete),
                path: [.dataset], answers: [Answer(.noContent, "It is deleted.")], refusals: [.conflict]),
        ]
    }

    /// Opens a dataset; 409 `name_taken` and `too_many_uploads`, 422 with every violation.
    private func open(_ request: Request) throws -> Response {
        let body = try request.json()
        let record = try Problem.translating { () throws(JobError) in try intake.open(body) }
        return .json(
            record.json(openWith: [], intake), status: .created,
            headers: ["Location": "/v1/datasets/\(record.id)"])
    }

    /// Decides over a file by its header: 404, 409 `dataset_ready` and `dataset_busy`, 413, 507.
    private func receive(_ request: Request) throws -> UploadSink {
        let digest = try request.contentSHA256()
        guard request.headers["Content-Range"] == nil else {
            throw Problem(
                .badRequest, "unsupported_header", "A file is sent whole: Content-Range is not supported.")
        }
        let file = try Problem.translating { () throws(JobError) in
            try intake.receive(
                request.parameter("name"), for: request.parameter("id"), byteCount: request.contentLength)
        }
        return UploadSink(file, digest)
    }

    /// The file, once it came whole; 422 `digest_mismatch` where it is another one than was announced.
    private func store(_ request: Request, _ sink: UploadSink) throws -> Response {
        let (file, isNew) = try sink.finish()
        return .json(file.json, status: isNew ? .created : .ok)
    }

    /// Checks and publishes; 409 `dataset_busy`, 422 with what is wrong with each file.
    private func commit(_ request: Request) throws -> Reply {
        try request.refuseMembers()
        let pending = try Problem.translating { () throws(JobError) in
            try intake.commit(request.parameter("id"))
        }
        return .later(
            Wait(seconds: Self.seconds, subscribe: { pending.subscribe($0) }) { isLast in
                switch pending.outcome {
                case .success(let record): return .json(record.json)
                case .failure(let error): throw Problem(error)
                case nil:
                    guard isLast else { return nil }
                    throw Problem(
                        .serviceUnavailable, "dataset_busy", "The dataset is still being checked; ask again.",
                        headers: ["Retry-After": "10"])
                }
            })
    }

    /// Deletes a dataset; 409 `dataset_busy` and `in_use`, 403 for one that is ready without the scope.
    private func delete(_ request: Request) throws -> Response {
        let mayDeleteReady = request.principal?.scopes.contains(.admin) ?? false
        try Problem.translating { () throws(JobError) in
            try intake.delete(request.parameter("id"), mayDeleteReady: mayDeleteReady)
        }
        return Response(.noContent)
    }
}

/// A file's way from a connection to its upload.
private final class UploadSink: BodySink {
    private let file: any FileIntake
    private let digest: [UInt8]?

    init(_ file: any FileIntake, _ digest: [UInt8]?) { (self.file, self.digest) = (file, digest) }

    func take(_ bytes: [UInt8]) throws {
        try Problem.translating { () throws(JobError) in try file.take(bytes) }
    }

    func finish() throws -> (file: DatasetFile, isNew: Bool) {
        try Problem.translating { () throws(JobError) in try file.finish(expecting: digest) }
    }

    func abandon() { file.abandon() }
}

extension DatasetFile {
    /// The file as clients see it; where it lies is ours alone.
    var json: JSONValue {
        [
            "object": "dataset_file", "name": .string(name), "bytes": JSONValue(byteCount),
            "sha256": .string(sha256), "created_at": .number(createdAt.seconds),
        ]
    }
}

extension DatasetRecord {
    /// An open dataset as clients see it.
    func json(openWith files: [DatasetFile], _ intake: any DatasetIntake) -> JSONValue {
        let lastAt = files.map(\.createdAt.seconds).reduce(createdAt.seconds, max)
        var object: JSONObject = [
            "id": .string(id.rawValue), "object": "dataset", "name": .string(name), "format": .string(format),
            "is_ready": false, "state": .string(intake.isCommitting(id) ? "committing" : "open"),
            "sha256": .null, "created_at": .number(createdAt.seconds),
            "expires_at": .number(lastAt + intake.openSeconds),
            "bytes": JSONValue(files.reduce(0) { $0 + $1.byteCount }),
            "files": .array(files.map(\.json)),
        ]
        for (key, value) in details.objectValue?.members ?? [] { _ = object.insert(key, value) }
        return .object(object)
    }
}
