import HTTP
import JSON
import Jobs

/// The service itself: alive, ready, and what it has to give.
struct SystemRoutes: Sendable {
    let jobs: JobService
    let environment: APIEnvironment

    var operations: [Operation] {
        [
            // Says nothing but that the process answers: the only data route without a token.
            Operation(
                "getHealth", "Whether the process answers.", .system,
                Route(.get, "/healthz", access: .open, execution: .inline) { _ in .json(["status": "ok"]) },
                answers: [.json("It does.", .health)]),
            Operation(
                "getReadiness", "Whether jobs are taken and the store answers.", .system,
                Route(.get, "/readyz", access: .requires(.read), handler: ready),
                answers: [.json("They are.", .health)]),
            Operation(
                "getSystem", "Version, processor, memory, budgets and the queue.", .system,
                Route(.get, "/v1/system", access: .requires(.read), query: [], handler: system),
                answers: [.json("The facts.", .system)]),
            Operation(
                "getJobSchema", "The JSON Schema of a job type, defaults and ranges included.", .system,
                Route(.get, "/v1/schemas/{type}", access: .requires(.read), query: [], handler: schema),
                path: [
                    PathField(
                        name: "type", documentation: "The type of job.",
                        shape: .words(jobs.resolver.types.map(\.rawValue)))
                ],
                answers: [
                    Answer(.ok, "The schema.", content: [("application/schema+json", .anyObject)])
                ]),
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
        let counts = try Problem.translating { () throws(JobError) in try jobs.counts() }
        var object = environment.system()
        object["object"] = "system"
        object["queue"] = .object(
            JSONObject(JobState.allCases.map { ($0.rawValue, JSONValue(counts[$0] ?? 0)) }))
        return .json(.object(object))
    }

    /// The JSON Schema of a job type; 404 `unknown_type`.
    private func schema(_ request: Request) throws -> Response {
        let type = JobType(rawValue: request.parameter("type"))
        guard let schema = jobs.resolver.documentedSchema(for: type) else {
            let name = JSONValue.string(request.parameter("type")).summary
            throw Problem(.notFound, "unknown_type", "There is no job type \(name).")
        }
        return Response(contentType: "application/schema+json", bytes: schema.encodedBytes())
    }
}
