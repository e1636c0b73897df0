import HTTP
import JSON
import Jobs

/// Whether a job did what was asked of it; the answer that a pipeline stands or falls by.
struct VerdictRoutes: Sendable {
    let jobs: JobService

    private enum Format: String, CaseIterable { case json, junit, markdown, badge }

    private static let wait = QueryField.optionalNumber(
        "wait", in: 0...600, "Seconds to wait for the job's end before it is judged as it stands.")
    private enum Pending: String, CaseIterable { case accept, retry }
    private static let pending = QueryField.choice(
        "pending", of: Pending.self, default: .accept,
        "What a job that is not over gets: 202, or 429 with `Retry-After`, by which `curl --fail --retry` "
            + "asks again, so that nobody takes it for a success.")
    private static let format = QueryField.choice(
        "format", of: Format.self, default: .json, "How the verdict is written.")

    var operations: [Operation] {
        let texts: [(type: String, shape: Shape)] = [
            ("application/xml", .text), ("text/markdown", .text), ("image/svg+xml", .text),
        ]
        let json = [(type: "application/json", shape: Shape.resource(.verdict))]
        let problem = [(type: "application/problem+json", shape: Shape.resource(.problem))]
        return [
            Operation(
                "getVerdict", "Whether a job did what was asked of it; for pipelines.", .jobs,
                Route(
                    .get, "/v1/jobs/{id}/verdict", access: .requires(.read),
                    query: [Self.wait, Self.pending, Self.format], reply: verdict),
                path: [.job],
                answers: [
                    Answer(.ok, "It succeeded, and every gate holds.", content: json + texts),
                    Answer(.accepted, "It is not over yet.", content: json + texts),
                    Answer(
                        .conflict, "It failed, was cancelled, or missed a gate; with the verdict's members.",
                        content: problem + texts),
                ], refusals: [.tooManyRequests])
        ]
    }

    /// 200 when it succeeded and every gate holds; 409 when not; 202 or 429 when it runs longer than `wait`.
    private func verdict(_ request: Request) throws -> Reply {
        let seconds = request.query[Self.wait] ?? 0
        let id = try request.jobID()
        let job = try Problem.translating { () throws(JobError) in try jobs.job(id) }
        if job.state.isTerminal || seconds == 0 { return .now(try Self.response(to: request, Verdict(job))) }
        return .later(
            jobs.wait(for: id, seconds: seconds) { isLast in
                let job = try Problem.translating { () throws(JobError) in try jobs.job(id) }
                return isLast || job.state.isTerminal ? try Self.response(to: request, Verdict(job)) : nil
            })
    }

    private static func response(to request: Request, _ verdict: Verdict) throws(Problem) -> Response {
        if verdict.outcome == .pending, request.query[pending] == .retry {
            throw Problem(
                .tooManyRequests, "job_pending", verdict.sentence,
                headers: ["Retry-After": "\(retrySeconds)"])
        }
        return response(verdict, request.query[format])
    }

    /// Long enough for a server to come back.
    private static let retrySeconds = 2

    private static func response(_ verdict: Verdict, _ format: Format) -> Response {
        let status: Status =
            switch verdict.outcome {
            case .passed: .ok
            case .pending: .accepted
            case .gateFailed, .jobFailed, .jobCancelled: .conflict
            }
        switch format {
        case .json: return json(verdict, status)
        case .junit: return .text(VerdictText.junit(verdict), status: status, contentType: "application/xml")
        case .markdown:
            return .text(VerdictText.markdown(verdict), status: status, contentType: "text/markdown")
        case .badge: return .text(VerdictText.badge(verdict), status: status, contentType: "image/svg+xml")
        }
    }

    private static func json(_ verdict: Verdict, _ status: Status) -> Response {
        guard status == .conflict else { return .json(verdict.json, status: status) }
        var problem = Problem(.conflict, verdict.outcome.rawValue, verdict.sentence)
        problem.more = verdict.json.objectValue ?? [:]
        problem.more["code"] = nil
        return problem.response
    }
}
