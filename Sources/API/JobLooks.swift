import HTTP
import JSON
import Jobs

/// Jobs as clients see them, each read and encoded once for all who look between two changes.
struct JobLooks: Sendable {
    /// A job and its JSON.
    struct Look: Sendable {
        let job: Job
        let bytes: [UInt8]

        init(_ job: Job) { (self.job, bytes) = (job, JobResource(job: job).json.encodedBytes()) }

        /// The answer: 304 where the client has it already.
        func response(to request: Request) -> Response {
            Response.json(bytes).validated(by: JobResource(job: job).etag, for: request)
        }
    }

    private let jobs: JobService
    private let recent = ReadCache<JobID, Look>(countMax: 64)

    init(_ jobs: JobService) { self.jobs = jobs }

    /// The job as it is now.
    func look(at id: JobID) throws(Problem) -> Look {
        let generation = jobs.generation
        let job = try Problem.translating { () throws(JobError) in try jobs.job(id) }
        // What a job waits for changes without anything being stored.
        guard job.waitingFor == nil, job.state != .queued else { return Look(job) }
        if let look = recent.value(of: id, at: generation) { return look }
        let look = Look(job)
        recent.keep(look, of: id, at: generation)
        return look
    }

    /// The job, where it was looked at since the last change; never waits for anything.
    func known(_ id: JobID) -> Look? {
        guard let look = recent.value(of: id, at: jobs.generation) else { return nil }
        return look.job.state.isTerminal || jobs.workers.isHeldUp(id) == false ? look : nil
    }
}
