import HTTP
import Jobs

/// What Prometheus reads.
struct MetricsRoutes: Sendable {
    let jobs: JobService
    let environment: APIEnvironment

    var operations: [Operation] {
        [
            Operation(
                "getMetrics", "Everything that is counted, in Prometheus' text format.", .system,
                Route(.get, "/metrics", access: .requires(.read), handler: metrics),
                answers: [Answer(.ok, "The figures.", content: [("text/plain", .text)])])
        ]
    }

    /// Everything that is counted, in Prometheus' text format.
    private func metrics(_ request: Request) throws -> Response {
        let counts = try Problem.translating { () throws(JobError) in try jobs.counts() }
        var states = Metric("vintner_jobs", .gauge, "Jobs by state.")
        for state in JobState.allCases {
            states.add(Double(counts[state] ?? 0), [("state", state.rawValue)])
        }
        let waiters = Metric(
            "vintner_waiters", .gauge, "Clients that wait for a change.", value: Double(jobs.hub.waiterCount))
        let text = ([states, waiters] + environment.metrics()).map(\.text).joined()
        return Response(contentType: "text/plain; version=0.0.4; charset=utf-8", bytes: Array(text.utf8))
    }
}
