import HTTP
import JSON
import Jobs

/// Where a job's time goes.
struct ProfileRoutes: Sendable {
    let jobs: JobService

    var operations: [Operation] {
        [
            Operation(
                "getJobProfile", "Where the time of a training step goes, layer by layer.", .jobs,
                Route(.get, "/v1/jobs/{id}/profile", access: .requires(.read), query: [], handler: show),
                path: [.job], answers: [.json("The profile.", .profile)])
        ]
    }

    /// Milliseconds of a step by layer and pass; 404 `job_not_found`, and `profile_not_ready` before the job
    /// has measured them.
    private func show(_ request: Request) throws -> Response {
        let id = try request.jobID()
        let profile = try Problem.translating { () throws(JobError) in try jobs.profile(of: id) }
        guard let profile else {
            throw Problem(
                .notFound, "profile_not_ready",
                "\(id) has not been profiled yet; that happens some 20 steps into its training.")
        }
        return .json(profile)
    }
}
