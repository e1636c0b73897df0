import HTTP
import JSON
import Jobs

/// The files that a job left: the model it made, adapters, checkpoints, each as it is stored.
struct ArtifactRoutes: Sendable {
    let jobs: JobService
    let environment: APIEnvironment

    /// A file that a job left.
    private struct Artifact {
        let name: String
        let kind: String
        let byteCount: Int64
        let sha256: String
        let at: Timestamp
        /// Where it lies; made by the server, never by a client.
        let path: String
    }

    private static let name = PathField(name: "name", documentation: "The file's name.", shape: .segment)

    var operations: [Operation] {
        [
            Operation(
                "listArtifacts", "The files that a job left: the model first, then checkpoints.", .jobs,
                Route(
                    .get, "/v1/jobs/{id}/artifacts", access: .requires(.read), query: [], handler: list),
                path: [.job], answers: [.json("All of them.", .artifactPage)]),
            Operation(
                "downloadArtifact", "One file that a job left, or a part of it.", .jobs,
                Route(
                    .get, "/v1/jobs/{id}/artifacts/{name}", access: .requires(.read), query: [],
                    handler: download),
                path: [.job, Self.name], headers: [.ifMatch, .ifNoneMatch, .range],
                answers: [.download("The file."), .part, .notModified],
                refusals: [.preconditionFailed, .rangeNotSatisfiable]),
        ]
    }

    /// All of them: the model first, then the checkpoints, newest first.
    private func list(_ request: Request) throws -> Response {
        let id = try request.jobID()
        let all = Page(items: try artifacts(of: id), nextCursor: nil)
        return .json(
            all.json { artifact in
                [
                    "object": "artifact", "name": .string(artifact.name), "kind": .string(artifact.kind),
                    "bytes": JSONValue(artifact.byteCount), "sha256": .string(artifact.sha256),
                    "created_at": .number(artifact.at.seconds),
                    "href": .string("/v1/jobs/\(id)/artifacts/\(artifact.name)"),
                ]
            })
    }

    /// One file, or a part of it; 404 `artifact_not_found` for another name or when the file is gone.
    private func download(_ request: Request) throws -> Response {
        let (id, name) = (try request.jobID(), request.parameter("name"))
        guard let artifact = try artifacts(of: id).first(where: { $0.name == name }) else {
            throw Problem(
                .notFound, "artifact_not_found",
                "\(id) has no artifact \(JSONValue.string(name).summary); its list names those that it has.")
        }
        return try request.download("\(id)-\(name)", sha256: artifact.sha256) {
            try FileBody(path: artifact.path)
        } missing: {
            Problem(.notFound, "artifact_not_found", "The file \(name) of \(id) is not there.")
        }
    }

    private func artifacts(of id: JobID) throws(Problem) -> [Artifact] {
        let (job, checkpoints) = try Problem.translating { () throws(JobError) in
            (try jobs.job(id), try jobs.checkpoints(of: id))
        }
        var artifacts: [Artifact] = []
        // A model that was deleted meanwhile is no error: the job just has it no more.
        if let model = job.result?.modelID.flatMap({ try? jobs.repositories.models.model($0) }) {
            artifacts.append(
                Artifact(
                    name: "model.safetensors", kind: "model", byteCount: model.byteCount,
                    sha256: model.sha256, at: model.createdAt, path: environment.modelFile(model)))
            let path = environment.adapterFile(model)
            if let sha256 = model.lineage["adapters"]?["sha256"]?.stringValue,
                let file = try? FileBody(path: path)
            {
                artifacts.append(
                    Artifact(
                        name: "adapters.safetensors", kind: "adapters", byteCount: Int64(file.byteCount),
                        sha256: sha256, at: model.createdAt, path: path))
            }
        }
        return artifacts
            + checkpoints.map { record in
                Artifact(
                    name: "checkpoint-\(record.step)-\(record.kind.rawValue).safetensors",
                    kind: "checkpoint", byteCount: record.byteCount, sha256: record.sha256, at: record.at,
                    path: environment.checkpointFile(record))
            }
    }
}
