import HTTP
import JSON
import Jobs

/// Submitting, reading and steering jobs.
struct JobRoutes: Sendable {
    let jobs: JobService
    let environment: APIEnvironment

    var routes: [Route] {
        [
            Route(.post, "/v1/jobs", access: .requires(.submit), handler: submit),
            Route(.get, "/v1/jobs", access: .requires(.read), handler: list),
            Route(.get, "/v1/jobs/{id}", access: .requires(.read), reply: show),
            Route(.patch, "/v1/jobs/{id}", access: .requires(.submit), handler: update),
            Route(.delete, "/v1/jobs/{id}", access: .requires(.admin), handler: delete),
            Route(.post, "/v1/jobs/{id}/cancel", access: .requires(.submit)) { request in
                try act(request, isDone: { $0.isTerminal }) { id throws(JobError) in try jobs.cancel(id) }
            },
            Route(.post, "/v1/jobs/{id}/pause", access: .requires(.submit)) { request in
                try act(request, isDone: { $0 == .paused }) { id throws(JobError) in try jobs.pause(id) }
            },
            Route(.post, "/v1/jobs/{id}/resume", access: .requires(.submit)) { request in
                try act(request, isDone: { _ in true }) { id throws(JobError) in try jobs.resume(id) }
            },
            Route(.post, "/v1/jobs/{id}/retry", access: .requires(.submit), handler: retry),
            Route(.get, "/v1/jobs/{id}/checkpoints", access: .requires(.read), handler: checkpoints),
        ]
    }

    /// Stores a job: 201 and durable; 200 for a repeated request or a dry run.
    ///
    /// 400 `malformed_json`; 409 `idempotency_conflict`; 422 with every violation; 503 `queue_full` or
    /// `draining`.
    private func submit(_ request: Request) throws(Problem) -> Response {
        var query = QueryReader(request.query)
        let isDryRun = query.flag("dry_run")
        do { try query.finish() } catch { throw Problem(error) }
        let key = try idempotencyKey(request)
        let body = try request.json()
        if isDryRun {
            let resolved = try Problem.translating { () throws(JobError) in try jobs.resolve(body) }
            return .json(["object": "dry_run", "spec": resolved.spec, "estimate": resolved.estimate])
        }
        let receipt = try Problem.translating { () throws(JobError) in
            try jobs.submit(body, idempotency: key)
        }
        var headers: Headers = ["Location": "/v1/jobs/\(receipt.job.id)"]
        if receipt.isReplay { headers.add("Idempotency-Replayed", "true") }
        return .json(
            JobResource(job: receipt.job).json, status: receipt.isReplay ? .ok : .created, headers: headers)
    }

    private func idempotencyKey(_ request: Request) throws(Problem) -> IdempotencyKey? {
        guard let key = request.headers["Idempotency-Key"] else { return nil }
        guard (1...255).contains(key.utf8.count) else {
            throw Problem(.badRequest, "invalid_header", "Idempotency-Key must have 1 to 255 bytes.")
        }
        return IdempotencyKey(principal: request.principal?.name ?? "", key: key)
    }

    /// One page of jobs; 422 for a parameter that is not known or not right.
    private func list(_ request: Request) throws -> Response {
        var reader = QueryReader(request.query)
        var query = JobQuery()
        query.states = Set(reader.choices("state", of: JobState.self) ?? [])
        query.types = Set((reader.list("type") ?? []).map(JobType.init(rawValue:)))
        query.labels = reader.texts(prefix: "label.")
        query.nameContains = reader.text("name")
        query.createdAfter = reader.number("created_after", in: 0...1e11).map {
            Timestamp(milliseconds: Int64($0 * 1000))
        }
        query.order = reader.choice("sort", of: JobQuery.Order.self) ?? .newestFirst
        query.page = reader.page()
        try reader.finish()
        let page = try Problem.translating { () throws(JobError) in try jobs.jobs(query) }
        return .json(page.json { JobResource(job: $0).json })
    }

    /// The job, at once or when its version has passed `since`.
    ///
    /// 304 when the client has it; 404 `job_not_found`.
    private func show(_ request: Request) throws -> Reply {
        var reader = QueryReader(request.query)
        let seconds = reader.number("wait", in: 0...600)
        let since = reader.integer("since", in: 0...Int.max)
        try reader.finish()
        let id = try request.jobID()
        let job = try Problem.translating { () throws(JobError) in try jobs.job(id) }
        let version = since.map(Int64.init) ?? job.version
        guard let seconds, !job.state.isTerminal, job.version <= version else {
            return .now(Self.response(job, request))
        }
        return .later(
            jobs.wait(for: id, seconds: seconds) { isLast in
                let job = try Problem.translating { () throws(JobError) in try jobs.job(id) }
                guard isLast || job.state.isTerminal || job.version > version else { return nil }
                return Self.response(job, request)
            })
    }

    private static func response(_ job: Job, _ request: Request) -> Response {
        let resource = JobResource(job: job)
        return Response.json(resource.json).validated(by: resource.etag, for: request)
    }

    /// Asks a job to do something: 200 when it has, 202 while it takes effect; 409 `job_state_conflict`.
    private func act(
        _ request: Request, isDone: (JobState) -> Bool, _ action: (JobID) throws(JobError) -> Job
    ) throws -> Response {
        try request.refuseMembers()
        let id = try request.jobID()
        let job = try Problem.translating { () throws(JobError) in try action(id) }
        return .json(JobResource(job: job).json, status: isDone(job.state) ? .ok : .accepted)
    }

    private enum Origin: String, CaseIterable { case checkpoint, scratch }
    private static let origin = Field.choice(
        "from", of: Origin.self, default: .checkpoint, "Where the new attempt starts.")
    private static let retrySchema = ObjectSchema("retry", "Another attempt.", fields: [origin])

    /// Gives a failed or cancelled job another attempt, from its last checkpoint or from scratch.
    private func retry(_ request: Request) throws -> Response {
        try QueryReader(request.query).finish()
        let id = try request.jobID()
        let log = ViolationLog()
        var reader = ObjectReader(try request.json(orEmpty: [:]), as: Self.retrySchema, at: "", log: log)
        let origin = reader.read(Self.origin)
        reader.finish()
        try log.throwIfAny()
        let job = try Problem.translating { () throws(JobError) in
            try jobs.retry(id, fromScratch: origin == .scratch)
        }
        return .json(JobResource(job: job).json)
    }

    private static let name = Field.optionalString("name", lengthMax: 200, "The job's name.")
    private static let labels = Field.texts("labels", countMax: 32, lengthMax: 128, "Replace the labels.")
    private static let priority = Field.optionalInteger("priority", in: -100...100, "Higher runs earlier.")
    private static let changesSchema = ObjectSchema(
        "changes", "What may be changed of a job.", fields: [name, labels, priority])

    /// Changes name, labels or priority; members that are not sent stay.
    private func update(_ request: Request) throws -> Response {
        try QueryReader(request.query).finish()
        let id = try request.jobID()
        let log = ViolationLog()
        var reader = ObjectReader(try request.json(), as: Self.changesSchema, at: "", log: log)
        let labels = reader.read(Self.labels)
        let changes = JobChanges(
            name: reader.read(Self.name), labels: reader.contains("labels") ? labels : nil,
            priority: reader.read(Self.priority))
        reader.finish()
        try log.throwIfAny()
        let job = try Problem.translating { () throws(JobError) in try jobs.update(id, changes) }
        return .json(JobResource(job: job).json)
    }

    /// Deletes a terminal job and its files; its model only with `?model=true`.
    private func delete(_ request: Request) throws -> Response {
        var reader = QueryReader(request.query)
        let includesModels = reader.flag("model")
        try reader.finish()
        let id = try request.jobID()
        environment.removeFiles(
            try Problem.translating { () throws(JobError) in
                try jobs.delete(id, includingModels: includesModels)
            })
        return Response(.noContent)
    }

    /// The checkpoints of a job, newest first.
    private func checkpoints(_ request: Request) throws -> Response {
        try QueryReader(request.query).finish()
        let id = try request.jobID()
        let records = try Problem.translating { () throws(JobError) in try jobs.checkpoints(of: id) }
        let data = records.map { record -> JSONValue in
            [
                "object": "checkpoint", "step": JSONValue(record.step), "kind": .string(record.kind.rawValue),
                "bytes": JSONValue(record.byteCount), "sha256": .string(record.sha256),
                "created_at": .number(record.at.seconds),
            ]
        }
        return .json(["object": "list", "data": .array(data), "has_more": false, "next_cursor": nil])
    }
}

extension JobService {
    /// A long poll for the changes of one job.
    func wait(for id: JobID, seconds: Double, answer: @escaping @Sendable (Bool) throws -> Response?) -> Wait
    {
        Wait(seconds: seconds, subscribe: { [hub] wake in hub.onChange(of: .job(id), wake) }, answer: answer)
    }
}

extension ChangeHub {
    /// Calls `wake` at the next change; the result calls it off.
    func onChange(of topic: Topic, _ wake: @escaping @Sendable () -> Void) -> @Sendable () -> Void {
        let subscription = subscribe(to: topic, wake)
        return { subscription.cancel() }
    }
}

extension Request {
    private static let emptySchema = ObjectSchema("nothing", "An action without options.", fields: [])

    /// Refuses a body with members and a query, for actions that have no options.
    func refuseMembers() throws {
        try QueryReader(query).finish()
        let log = ViolationLog()
        var reader = ObjectReader(try json(orEmpty: [:]), as: Self.emptySchema, at: "", log: log)
        reader.finish()
        try log.throwIfAny()
    }
}
