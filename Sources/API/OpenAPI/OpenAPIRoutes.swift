import HTTP
import JSON
import Jobs
import Synchronization

/// The description of every operation, itself included.
final class OpenAPIRoutes: Sendable {
    private let others: [Operation]
    private let jobs: JobService
    private let environment: APIEnvironment
    /// The text, once somebody has asked for it: it stays the same as long as the process lives.
    private let text = Mutex<(bytes: [UInt8], etag: String)?>(nil)

    init(others: [Operation], jobs: JobService, environment: APIEnvironment) {
        (self.others, self.jobs, self.environment) = (others, jobs, environment)
    }

    var operations: [Operation] {
        [
            Operation(
                "getOpenAPI", "This document.", .system,
                Route(.get, "/openapi.json", access: .requires(.read), query: [], handler: show),
                headers: [.ifNoneMatch],
                answers: [
                    Answer(
                        .ok, "The API in OpenAPI 3.1.", content: [("application/json", .anyObject)],
                        headers: [Answer.etag]),
                    .notModified,
                ])
        ]
    }

    private func show(_ request: Request) -> Response {
        let (bytes, etag) = text.withLock { text in
            if let text { return text }
            let document = OpenAPIDocument(
                operations: others + operations,
                version: environment.system()["version"]?.stringValue ?? "", resolver: jobs.resolver,
                predictionSchema: environment.predictor.bodySchema)
            let bytes = document.json.encodedBytes()
            let made = (bytes: bytes, etag: Response.etag(of: bytes))
            text = made
            return made
        }
        return Response(headers: ["Cache-Control": "no-cache"], contentType: "application/json", bytes: bytes)
            .validated(by: etag, for: request)
    }
}
