import API
import Assets
import Foundation
import HTTP
import JSON
import Jobs
import Store
import Synchronization
import TestSupport
import Testing

/// The API over a real database in a folder of its own, with a resolver and an executor made for tests.
final class Backstage {
    let folder: URL
    let database: SQLiteDatabase
    let hub = ChangeHub()
    let pool: WorkerPool
    let service: JobService
    let authenticator: TokenAuthenticator
    let router: Router
    let executor = Executor()
    let predictor = Oracle()
    let intake: Shelf
    let imports: ModelShelf
    let readiness = Readiness()
    let bench = Bench()
    let webhooks: WebhookService
    let refresh = Refresh()
    /// What the API says of itself.
    private(set) lazy var contract = Contract(
        Answer(response: (try? now(.get, "/openapi.json")) ?? Response(.notFound)).json)

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "api-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        database = try SQLiteDatabase(
            path: folder.appending(path: "vintner.db").path,
            migrations: Assets.migrations.map { Migration(name: $0.name, sql: $0.sql) },
            outlet: bench.outlet)
        let jobs = SQLiteJobRepository(database)
        pool = WorkerPool(
            .init(workers: 1, budget: Budget(threads: 4, memoryBytes: 1 << 30), bootID: "boot"), jobs: jobs,
            executor: executor, hub: hub)
        service = JobService(
            repositories: .init(
                jobs: jobs, metrics: SQLiteMetricRepository(database),
                events: SQLiteEventRepository(database),
                models: SQLiteModelRepository(database), datasets: SQLiteDatasetRepository(database)),
            resolver: Resolver(), workers: pool, hub: hub)
        intake = Shelf(SQLiteDatasetRepository(database), database.identifiers)
        imports = ModelShelf(SQLiteModelRepository(database), database.identifiers)
        webhooks = WebhookService(
            repository: SQLiteWebhookRepository(database), sender: bench, identifiers: database.identifiers,
            bell: bench.outlet.bell, hub: hub)
        authenticator = TokenAuthenticator(tokens: [("secret", Principal(name: "owner"))])
        let path = folder.path
        let environment = APIEnvironment(
            system: { Self.system },
            unreadiness: { [readiness] in readiness.reason.withLock { $0 } },
            modelFile: { "\(path)/\($0.path)" }, adapterFile: { "\(path)/\($0.path).adapters" },
            checkpointFile: { "\(path)/\($0.path)" },
            predictor: predictor, intake: intake, imports: imports, webhooks: webhooks, logging: bench,
            refreshDatasets: { [refresh] in refresh.run() },
            removeFiles: { for file in $0 { try? FileManager.default.removeItem(atPath: "\(path)/\(file)") } }
        )
        router = API(jobs: service, environment: environment, authenticator: authenticator).router
    }

    deinit {
        pool.stop(milliseconds: 10_000)
        webhooks.stop(milliseconds: 10_000)
        try? database.close()
        try? FileManager.default.removeItem(at: folder)
    }

    private static let system: JSONObject = [
        "version": "1.2.3",
        "cpu": ["model": "abacus", "instruction_sets": ["beads"], "cores": 2, "cores_online": 2],
        "memory": ["total_bytes": 1024, "usable_bytes": 512, "process_rss_bytes": nil],
        "budget": [
            "workers": 1, "threads": 4, "threads_free": 4, "memory_bytes": 512, "memory_bytes_free": 512,
            "running": [],
        ],
        "limits": [
            "writes_per_second": 50, "write_burst": 200, "credential_failures_per_minute": 10,
            "queued_jobs": 10_000, "queued_jobs_per_token": nil,
            "body_bytes": 1, "header_bytes": 1, "connections": 1,
            "connections_per_address": nil, "waiting_clients": 1, "wait_seconds": 1, "header_seconds": 1,
            "idle_seconds": 1,
        ],
    ]

    /// Calls a route without sockets, as the owner.
    func ask(
        _ method: HTTP.Method, _ target: String, headers: Headers = Headers(), body: JSONValue? = nil,
        bytes: [UInt8]? = nil
    ) -> Reply {
        let parts = target.split(separator: "?", maxSplits: 1).map(String.init)
        let items = (parts.count > 1 ? parts[1] : "").split(separator: "&").map { item in
            let pair = item.split(separator: "=", maxSplits: 1).map(String.init)
            return (name: pair[0], value: pair.count > 1 ? pair[1] : "")
        }
        return router.handle(
            Request(
                method, path: parts[0].split(separator: "/").map(String.init), query: Query(items),
                headers: headers, body: bytes ?? body?.encodedBytes() ?? [],
                principal: Principal(name: "owner")))
    }

    /// Calls a route that answers at once; an answer that `/openapi.json` does not describe is an issue.
    func answer(
        _ method: HTTP.Method, _ target: String, headers: Headers = Headers(), body: JSONValue? = nil,
        bytes: [UInt8]? = nil
    ) throws -> Answer {
        guard let response = try now(method, target, headers: headers, body: body, bytes: bytes) else {
            throw Missing()
        }
        let path = String(target.prefix { $0 != "?" })
        for fault in contract.faults(of: response, to: method, path) {
            Issue.record("\(method.rawValue) \(target): \(fault)")
        }
        return Answer(response: response)
    }

    private func now(
        _ method: HTTP.Method, _ target: String, headers: Headers = Headers(), body: JSONValue? = nil,
        bytes: [UInt8]? = nil
    ) throws -> Response? {
        switch ask(method, target, headers: headers, body: body, bytes: bytes) {
        case .now(let response): return response
        case .later(let wait):
            // As the server does with what is thrown when a wait is over.
            do { return try wait.answer(true) } catch let problem as Problem { return problem.response }
        }
    }

    struct Missing: Error {}

    func submit(_ body: JSONValue = ["type": "train", "name": "one"]) throws -> String {
        try answer(.post, "/v1/jobs", body: body).json["id"]?.stringValue ?? ""
    }
}

/// Why the service is not ready.
final class Readiness: Sendable {
    let reason = Mutex<String?>(nil)
}

/// What happens before datasets are looked at.
final class Refresh: Sendable {
    private let body = Mutex<@Sendable () -> Void> {}

    func set(_ new: @escaping @Sendable () -> Void) { body.withLock { $0 = new } }
    func run() { body.withLock { $0 }() }
}

/// An answer that is in memory.
struct Answer {
    let response: Response

    var status: Int { response.status.code }
    var text: String { String(decoding: response.bytes ?? [], as: UTF8.self) }
    var json: JSONValue { (try? JSONValue(parsing: response.bytes ?? [])) ?? .null }
    var code: String? { json["code"]?.stringValue }
    subscript(name: String) -> String? { response.headers[name] }
}

/// Takes a name, a seed, labels and gates.
struct Resolver: JobSpecResolver {
    func hasDataset(of job: ResolvedJob) -> Bool { true }
    static let type = Field.string("type", "The type.")
    static let name = Field.string("name", default: "", lengthMax: 200, "The name.")
    static let seed = Field.integer("seed", default: 0, in: 0...1000, "The seed.")
    static let threads = Field.integer("threads", default: 1, in: 1...64, "The threads.")
    static let labels = Field.texts("labels", countMax: 8, lengthMax: 64, "The labels.")
    static let gate = Field.raw("gate", schema: [:], "The gates.")
    static let schema = ObjectSchema("train", "A job.", fields: [type, name, seed, threads, labels, gate])

    func resolve(_ body: JSONValue) throws(InvalidInput) -> ResolvedJob {
        let log = ViolationLog()
        var reader = ObjectReader(body, as: Self.schema, at: "", log: log)
        let type = reader.read(Self.type)
        let name = reader.read(Self.name)
        let labels = reader.read(Self.labels)
        let threads = reader.read(Self.threads)
        _ = reader.read(Self.seed)
        if reader.read(Self.gate).isNull { reader.resolve("gate", as: []) }
        reader.finish()
        try log.throwIfAny()
        return ResolvedJob(
            type: JobType(rawValue: type), name: name, labels: labels, spec: .object(reader.resolved),
            threads: threads, memoryBytes: 1000, estimate: ["parameters": 10])
    }

    var types: [JobType] { [.train] }
    func schema(for type: JobType) -> JSONValue? { type == .train ? Self.schema.jsonSchema() : nil }
}

/// Runs each job by a closure that the test sets.
final class Executor: JobExecutor {
    typealias Script = @Sendable (ClaimedJob, JobControl, any JobSink) -> JobOutcome

    private let script = Mutex<Script> { _, _, _ in .succeeded(JobResult(models: [], report: [:])) }

    func run(_ job: ClaimedJob, control: JobControl, sink: any JobSink) -> JobOutcome {
        script.withLock { $0 }(job, control, sink)
    }

    func settle(_ job: ClaimedJob, _ outcome: JobOutcome, _ end: AttemptEnd) {}

    func set(_ new: @escaping Script) { script.withLock { $0 = new } }
}

/// Answers predictions by a closure that the test sets; leaves them open where that gives none.
final class Oracle: ModelPredictor {
    typealias Script = @Sendable (JSONValue, ModelRecord) -> Prediction.Outcome?

    private let script = Mutex<Script> { _, _ in nil }
    private let last = Mutex<Prediction?>(nil)

    var bodySchema: JSONValue { ["$id": "urn:test:question", "type": "object"] }

    /// The last prediction that was asked for.
    var prediction: Prediction? { last.withLock { $0 } }

    func predict(_ body: [UInt8], with model: ModelRecord) -> Prediction {
        let prediction = Prediction()
        let body = Result { try JSONValue(parsing: body) }
        switch body {
        case .failure(let error): prediction.finish(.failure(.malformed(reason: "\(error)")))
        case .success(let body):
            if let outcome = script.withLock({ $0 })(body, model) { prediction.finish(outcome) }
        }
        last.withLock { $0 = prediction }
        return prediction
    }

    func set(_ new: @escaping Script) { script.withLock { $0 = new } }
}
