import HTTP
import JSON
import Jobs

/// The service itself: alive, ready, and what it has to give.
struct SystemRoutes: Sendable {
    let jobs: JobService
    let environment: APIEnvironment

    var routes: [Route] {
        [
            // Says nothing but that the process answers: the only data route without a token.
            Route(.get, "/healthz", access: .open, execution: .inline) { _ in .json(["status": "ok"]) },
            Route(.get, "/readyz", access: .requires(.read), handler: ready),
            Route(.get, "/v1/system", access: .requires(.read), handler: system),
            Route(.get, "/v1/schemas/{type}", access: .requires(.read), handler: schema),
        ]
    }

    /// 200 when jobs are taken and the store answers; 503 `not_ready` with the reason when not.
    private func ready(_ request: Request) throws -> Response {
        if let reason = environment.unreadiness() {
            throw Problem(.serviceUnavailable, "not_ready", reason, headers: ["Retry-After": "1"])
        }
        _ = try Problem.translating { () throws(JobError) in try jobs.counts() }
        return .json(["status": "ready"])
    }

    /// Version, processor, memory, budgets and the queue.
    private func system(_ request: Request) throws -> Response {
        try QueryReader(request.query).finish()
        let counts = try Problem.translating { () throws(JobError) in try jobs.counts() }
        var object = environment.system()
        object["object"] = "system"
        object["queue"] = .object(
            JSONObject(JobState.allCases.map { ($0.rawValue, JSONValue(counts[$0] ?? 0)) }))
        return .json(.object(object))
    }

    /// The JSON Schema of a job type; 404 `unknown_type`.
    private func schema(_ request: Request) throws -> Response {
        try QueryReader(request.query).finish()
        let type = JobType(rawValue: request.parameter("type"))
        guard let schema = jobs.resolver.schema(for: type), !schema.isNull else {
            let name = JSONValue.string(request.parameter("type")).summary
            throw Problem(.notFound, "unknown_type", "There is no job type \(name).")
        }
        return Response(contentType: "application/schema+json", bytes: schema.encodedBytes())
    }
}
