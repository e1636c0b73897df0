import HTTP
import JSON
import Jobs

/// Jobs as clients see them, each read and encoded once for all who look between two changes.
struct JobLooks: Sendable {
    /// What is sent of a job, and what decides whether it is.
    struct Look: Sendable {
        let version: Int64
        let isTerminal: Bool
        fileprivate let bytes: [UInt8]
        private let etag: String

        init(_ job: Job) {
            let resource = JobResource(job: job)
            (version, isTerminal, etag) = (job.version, job.state.isTerminal, resource.etag)
            bytes = resource.json.encodedBytes()
        }

        /// The answer: 304 where the client has it already.
        func response(to request: Request) -> Response {
            Response.json(bytes).validated(by: etag, for: request)
        }
    }

    /// Longer ones are read anew each time: together these take 4 MiB at most.
    private static let byteCountMax = 65_536
    private let jobs: JobService
    private let recent = ReadCache<JobID, Look>(countMax: 64)

    init(_ jobs: JobService) { self.jobs = jobs }

    /// The job as it is now.
    func look(at id: JobID) throws(Problem) -> Look {
        if let look = known(id) { return look }
        let generation = jobs.generation
        let job = try Problem.translating { () throws(JobError) in try jobs.job(id) }
        let look = Look(job)
        // What a job waits for changes without anything being stored.
        if job.waitingFor == nil, job.state != .queued, look.bytes.count <= Self.byteCountMax {
            recent.keep(look, of: id, at: generation)
        }
        return look
    }

    /// The job, where it was looked at since the last change; never waits for anything.
    func known(_ id: JobID) -> Look? {
        guard let look = recent.value(of: id, at: jobs.generation) else { return nil }
        return look.isTerminal || jobs.workers.isHeldUp(id) == false ? look : nil
    }
}
