import HTTP
import JSON
import Jobs

/// Submitting, reading and steering jobs.
struct JobRoutes: Sendable {
    let jobs: JobService
    let environment: APIEnvironment
    private let looks: JobLooks
    private let types: QueryField<[String]>

    init(jobs: JobService, environment: APIEnvironment) {
        (self.jobs, self.environment, looks) = (jobs, environment, JobLooks(jobs))
        types = .words("type", among: jobs.resolver.types.map(\.rawValue), "Only jobs of these types.")
    }

    var operations: [Operation] { reading + changing + steering }

    private var reading: [Operation] {
        [
            Operation(
                "listJobs", "One page of jobs, without their points.", .jobs,
                Route(
                    .get, "/v1/jobs", access: .requires(.read),
                    query: [
                        Self.states, types, Self.labelFilter, Self.nameFilter, Self.createdAfter,
                        Self.order, PageField.limit, PageField.afterJob,
                    ], handler: list),
                answers: [.json("The page.", .jobPage)]),
            Operation(
                "getJob", "One job, at once or when it has changed.", .jobs,
                Route(
                    .get, "/v1/jobs/{id}", access: .requires(.read), query: [Self.wait, Self.since],
                    reply: show
                ).trying(glance),
                path: [.job], headers: [.ifNoneMatch],
                answers: [.json("The job.", .job, headers: [Answer.etag]), .notModified]),
            Operation(
                "listCheckpoints", "The checkpoints of a job, newest first.", .jobs,
                Route(
                    .get, "/v1/jobs/{id}/checkpoints", access: .requires(.read), query: [],
                    handler: checkpoints),
                path: [.job], answers: [.json("All of them.", .checkpointPage)]),
        ]
    }

    private var changing: [Operation] {
        [
            Operation(
                "submitJob", "Stores a job, durably, for a worker to run.", .jobs,
                Route(
                    .post, "/v1/jobs", access: .requires(.submit), query: [Self.isDryRun], handler: submit),
                headers: [.idempotencyKey], body: RequestBody(component: OpenAPIDocument.jobRequest),
                answers: [
                    .json(
                        "The job.", .job, status: .created,
                        headers: [("Location", "The path of the job.")]),
                    Answer(
                        .ok, "What a dry run found, or the job that the same request made before.",
                        content: [("application/json", .either(.dryRun, .job))],
                        headers: [
                            ("Location", "The path of the job."),
                            ("Idempotency-Replayed", "`true` for a job that was made before."),
                        ]),
                ], refusals: [.conflict, .insufficientStorage]),
            Operation(
                "updateJob", "Changes name, labels or priority; what is not sent stays.", .jobs,
                Route(.patch, "/v1/jobs/{id}", access: .requires(.submit), query: [], handler: update),
                path: [.job], headers: [.ifMatch],
                body: RequestBody(Self.changesSchema, isRequired: true).forChanges(),
                answers: [.json("The job as it is now.", .job, headers: [Answer.etag])],
                refusals: [.conflict, .preconditionFailed, .insufficientStorage]),
            Operation(
                "deleteJob", "Deletes a job that is over, with its points and files.", .jobs,
                Route(
                    .delete, "/v1/jobs/{id}", access: .requires(.admin), query: [Self.includesModels],
                    handler: delete),
                path: [.job], headers: [.ifMatch], answers: [Answer(.noContent, "It is gone.")],
                refusals: [.conflict, .preconditionFailed, .insufficientStorage]),
        ]
    }

    private var steering: [Operation] {
        [
            action("cancel", "Stops a job for good.", isDone: { $0.isTerminal }) {
                id throws(JobError) in try jobs.cancel(id)
            },
            action("pause", "Stops a job at a checkpoint.", isDone: { $0 == .paused }) {
                id throws(JobError) in try jobs.pause(id)
            },
            action("resume", "Puts a paused job back into the queue.", isDone: { _ in true }) {
                id throws(JobError) in try jobs.resume(id)
            },
            Operation(
                "retryJob", "Gives a failed or cancelled job another attempt.", .jobs,
                Route(.post, "/v1/jobs/{id}/retry", access: .requires(.submit), query: [], handler: retry),
                path: [.job], body: RequestBody(Self.retrySchema),
                answers: [.json("The job, queued.", .job)], refusals: [.conflict, .insufficientStorage]),
        ]
    }

    private func action(
        _ word: String, _ summary: String, isDone: @escaping @Sendable (JobState) -> Bool,
        _ run: @escaping @Sendable (JobID) throws(JobError) -> Job
    ) -> Operation {
        Operation(
            "\(word)Job", summary, .jobs,
            Route(.post, "/v1/jobs/{id}/\(word)", access: .requires(.submit), query: []) { request in
                try act(request, isDone: isDone, run)
            },
            path: [.job], body: RequestBody(Request.emptySchema),
            answers: [
                .json("It has happened.", .job),
                .json("It will have happened after the next training step.", .job, status: .accepted),
            ], refusals: [.conflict, .insufficientStorage])
    }

    private static let isDryRun = QueryField.flag(
        "dry_run", "Whether to store nothing, and to answer with the resolved spec and an estimate.")

    /// Stores a job: 201 and durable; 200 for a repeated request or a dry run.
    ///
    /// 400 `malformed_json`; 409 `idempotency_conflict`; 422 with every violation; 429 `token_queue_full`;
    /// 503 `queue_full` or `draining`.
    private func submit(_ request: Request) throws(Problem) -> Response {
        let key = try idempotencyKey(request)
        let body = try request.json()
        if request.query[Self.isDryRun] {
            let resolved = try Problem.translating { () throws(JobError) in try jobs.resolve(body) }
            return .json(["object": "dry_run", "spec": resolved.spec, "estimate": resolved.estimate])
        }
        let receipt = try Problem.translating { () throws(JobError) in
            try jobs.submit(body, submitter: request.principal?.name ?? "", idempotency: key)
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

    private static let states = QueryField.choices(
        "state", of: JobState.self, "Only jobs in one of these states.")
    private static let labelFilter = QueryField.texts(
        prefix: "label.", "Only jobs that carry these labels: `label.commit=abc123`.")
    private static let nameFilter = QueryField.text("name", "Only jobs with this text in their name.")
    private static let createdAfter = QueryField.optionalNumber(
        "created_after", in: 0...1e11, "Only jobs submitted after this time, in Unix seconds.")
    private static let order = QueryField.choice(
        "sort", of: JobQuery.Order.self, default: .newestFirst,
        "The order, stable while jobs are added; by `finished_at` only jobs that are over are listed.")

    /// One page of jobs.
    private func list(_ request: Request) throws -> Response {
        var query = JobQuery()
        query.states = Set(request.query[Self.states])
        query.types = Set(request.query[types].map(JobType.init(rawValue:)))
        query.labels = request.query[Self.labelFilter]
        query.nameContains = request.query[Self.nameFilter]
        query.createdAfter = request.query[Self.createdAfter].map {
            Timestamp(milliseconds: Int64($0 * 1000))
        }
        query.order = request.query[Self.order]
        query.page = request.query.page
        let page = try Problem.translating { () throws(JobError) in try jobs.jobs(query) }
        return .json(page.json { JobResource(job: $0).json })
    }

    private static let wait = QueryField.optionalNumber(
        "wait", in: 0...600, "Seconds to wait for a change before the job is answered as it is.")
    private static let since = QueryField.optionalInteger(
        "since", in: 0...Int.max, "The version that the client has; without it, the one of now.")

    /// The job, at once or when its version has passed `since`.
    ///
    /// 304 when the client has it; 404 `job_not_found`.
    private func show(_ request: Request) throws -> Reply {
        let id = try request.jobID()
        let look = try looks.look(at: id)
        let version = request.query[Self.since].map(Int64.init) ?? look.version
        guard let seconds = request.query[Self.wait], !look.isTerminal, look.version <= version
        else { return .now(look.response(to: request)) }
        return .later(
            jobs.wait(for: id, seconds: seconds) { isLast in
                let look = try looks.look(at: id)
                guard isLast || look.isTerminal || look.version > version else { return nil }
                return look.response(to: request)
            })
    }

    /// The same for what has just been looked at by somebody, unless it has to be waited for.
    private func glance(_ request: Request) -> Response? {
        guard let id = try? request.jobID(), let look = looks.known(id) else { return nil }
        if request.query[Self.wait] != nil, !look.isTerminal {
            guard let since = request.query[Self.since], look.version > Int64(since) else { return nil }
        }
        return look.response(to: request)
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
        let id = try request.jobID()
        let log = ViolationLog()
        var reader = ObjectReader(try request.json(orEmpty: [:]), as: Self.retrySchema, at: "", log: log)
        let origin = reader.read(Self.origin)
        reader.finish()
        try log.throwIfAny()
        let retried = try Problem.translating { () throws(JobError) in
            try jobs.retry(id, fromScratch: origin == .scratch)
        }
        environment.removeFiles(retried.obsolete)
        return .json(JobResource(job: retried.job).json)
    }

    private static let name = Field.optionalString(
        "name", lengthMax: 200, "The job's name; null for none.")
    private static let labels = Field.texts("labels", countMax: 32, lengthMax: 128, "Replace the labels.")
    private static let priority = Field.optionalInteger(
        "priority", in: -100...100, "Higher runs earlier; null for 0.")
    private static let changesSchema = ObjectSchema(
        "changes", "What may be changed of a job.", fields: [name, labels, priority])

    /// Changes name, labels or priority; members that are not sent stay.
    private func update(_ request: Request) throws -> Response {
        let id = try request.jobID()
        let log = ViolationLog()
        var reader = ObjectReader(try request.json(), as: Self.changesSchema, at: "", log: log)
        let (name, labels) = (reader.read(Self.name), reader.read(Self.labels))
        let priority = reader.read(Self.priority)
        // As in a merge patch (RFC 7396), null takes a member back to what it is without one.
        var changes = JobChanges(
            name: reader.contains("name") ? name ?? "" : nil,
            labels: reader.contains("labels") ? labels : nil,
            priority: reader.contains("priority") ? priority ?? 0 : nil)
        reader.finish()
        try log.throwIfAny()
        changes.version = try request.wantedVersion(of: id)
        let job = try Problem.translating { () throws(JobError) in try jobs.update(id, changes) }
        let resource = JobResource(job: job)
        var response = Response.json(resource.json)
        response.headers["ETag"] = resource.etag
        return response
    }

    private static let includesModels = QueryField.flag(
        "model", "Whether the model that it made is deleted too.")

    /// Deletes a terminal job and its files; its model only with `?model=true`.
    private func delete(_ request: Request) throws -> Response {
        let id = try request.jobID()
        if let wanted = try request.wantedVersion(of: id) {
            let job = try Problem.translating { () throws(JobError) in try jobs.job(id) }
            guard job.version == wanted else { throw Problem(.versionConflict(id, version: job.version)) }
        }
        environment.removeFiles(
            try Problem.translating { () throws(JobError) in
                try jobs.delete(id, includingModels: request.query[Self.includesModels])
            })
        return Response(.noContent)
    }

    /// The checkpoints of a job, newest first.
    private func checkpoints(_ request: Request) throws -> Response {
        let id = try request.jobID()
        let records = try Problem.translating { () throws(JobError) in try jobs.checkpoints(of: id) }
        let all = Page(items: records, nextCursor: nil)
        return .json(
            all.json { record in
                [
                    "object": "checkpoint", "step": JSONValue(record.step),
                    "kind": .string(record.kind.rawValue), "bytes": JSONValue(record.byteCount),
                    "sha256": .string(record.sha256), "created_at": .number(record.at.seconds),
                ]
            })
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
    static let emptySchema = ObjectSchema("nothing", "An action without options.", fields: [])

    /// Refuses a body with members, for actions that have no options.
    func refuseMembers() throws {
        let log = ViolationLog()
        var reader = ObjectReader(try json(orEmpty: [:]), as: Self.emptySchema, at: "", log: log)
        reader.finish()
        try log.throwIfAny()
    }
}
