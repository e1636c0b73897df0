import Dispatch
import Glibc
import JSON
import Store
import Synchronization
import Threads

@testable import Jobs

/// A clock that stands still until a test moves it.
final class ManualTime: TimeSource {
    private struct State {
        var wall = Timestamp.start
        var monotonic: UInt64 = 1_000_000_000
        var bells: [ObjectIdentifier: Bell] = [:]
    }

    private let state = Mutex(State())

    func now() -> Timestamp { state.withLock { $0.wall } }
    func monotonicNanoseconds() -> UInt64 { state.withLock { $0.monotonic } }

    func wait(for bell: Bell, after ring: UInt64, until deadline: UInt64) {
        let isOver = state.withLock { state in
            state.bells[ObjectIdentifier(bell)] = bell
            return deadline <= state.monotonic
        }
        if !isOver { bell.wait(after: ring) }
    }

    /// Makes `advance` strike bells that nobody has waited for yet, so that no step goes unnoticed.
    func adopt(_ bells: Bell...) {
        state.withLock { state in bells.forEach { state.bells[ObjectIdentifier($0)] = $0 } }
    }

    func advance(milliseconds: Int64, wallMilliseconds: Int64? = nil) {
        let bells = state.withLock { state in
            state.wall = state.wall + (wallMilliseconds ?? milliseconds)
            state.monotonic += UInt64(milliseconds) * 1_000_000
            return Array(state.bells.values)
        }
        bells.forEach { $0.strike() }
    }
}

/// Runs each job as the script of its name says.
final class ScriptedExecutor: JobExecutor {
    typealias Script = @Sendable (ClaimedJob, JobControl, any JobSink) -> JobOutcome

    private let scripts = Mutex<[String: Script]>([:])
    private let load = Mutex(
        (now: Budget(threads: 0, memoryBytes: 0), most: Budget(threads: 0, memoryBytes: 0)))
    private let concurrency = Mutex((now: [String](), seen: [[String]]()))
    private let ends = Mutex<[AttemptEnd]>([])
    private let epilogue = Mutex<@Sendable (ClaimedJob) -> Void> { _ in }

    func script(_ name: String, _ script: @escaping Script) { scripts.withLock { $0[name] = script } }

    /// What became of each attempt, in the order in which they were settled.
    var settled: [AttemptEnd] { ends.withLock { $0 } }

    /// Sets what is done behind each attempt once its end is stored.
    func onSettling(_ body: @escaping @Sendable (ClaimedJob) -> Void) { epilogue.withLock { $0 = body } }

    func settle(_ job: ClaimedJob, _ outcome: JobOutcome, _ end: AttemptEnd) {
        ends.withLock { $0.append(end) }
        epilogue.withLock { $0 }(job)
    }

    /// The most that ran at once.
    var most: Budget { load.withLock { $0.most } }
    /// Which jobs ran together, at each start.
    var gatherings: [[String]] { concurrency.withLock { $0.seen } }

    func run(_ job: ClaimedJob, control: JobControl, sink: any JobSink) -> JobOutcome {
        begin(job.job)
        defer { end(job.job) }
        let script = scripts.withLock { $0[job.job.name] }
        return script?(job, control, sink) ?? .succeeded(JobResult(models: [], report: ["by": "default"]))
    }

    private func begin(_ job: Job) {
        load.withLock { load in
            load.now.threads += job.threads
            load.now.memoryBytes += job.memoryBytes
            load.most.threads = max(load.most.threads, load.now.threads)
            load.most.memoryBytes = max(load.most.memoryBytes, load.now.memoryBytes)
        }
        concurrency.withLock { concurrency in
            concurrency.now.append(job.name)
            concurrency.seen.append(concurrency.now)
        }
    }

    private func end(_ job: Job) {
        load.withLock { load in
            load.now.threads -= job.threads
            load.now.memoryBytes -= job.memoryBytes
        }
        concurrency.withLock { concurrency in
            if let index = concurrency.now.firstIndex(of: job.name) { concurrency.now.remove(at: index) }
        }
    }

    /// Runs until told to stop, and then does as told.
    static let obedient: Script = { _, control, _ in
        while control.signal == .none { sched_yield() }
        switch control.signal {
        case .cancel: return .cancelled
        case .pause: return .paused
        case .drain, .none: return .yielded
        }
    }
}

/// Takes `{"name":..., "threads":..., "memory":..., "dataset":...}` for a job.
struct PlainResolver: JobSpecResolver {
    /// A dataset that is deleted as soon as a job was checked.
    static let fleeting = "fleeting"

    func hasDataset(of job: ResolvedJob) -> Bool { job.dataset != Self.fleeting }

    func resolve(_ body: JSONValue) throws(InvalidInput) -> ResolvedJob {
        guard let name = body["name"]?.stringValue else {
            throw InvalidInput(pointer: "/name", code: "missing_field", detail: "a name is required")
        }
        var job = ResolvedJob.sample(
            name: name, threads: body["threads"]?.intValue ?? 1, memoryBytes: body["memory"]?.intValue ?? 1,
            spec: body)
        job.dataset = body["dataset"]?.stringValue
        return job
    }

    var types: [JobType] { [] }
    func schema(for type: JobType) -> JSONValue? { nil }
}

/// A service on a real database, with scripted work and a clock that a test moves.
final class Workshop {
    let store: TemporaryStore
    let time = ManualTime()
    let hub = ChangeHub()
    let executor = ScriptedExecutor()
    let pool: WorkerPool
    let service: JobService

    init(
        workers: Int = 2, budget: Budget = Budget(threads: 4, memoryBytes: 4000),
        store: TemporaryStore? = nil,
        bootID: String = "boot-1", log: @escaping @Sendable (JobError) -> Void = { _ in },
        configure: (inout WorkerPool.Configuration) -> Void = { _ in }
    ) throws {
        let store = try store ?? TemporaryStore()
        self.store = store
        var configuration = WorkerPool.Configuration(workers: workers, budget: budget, bootID: bootID)
        configuration.log = { _, error in log(error) }
        configure(&configuration)
        pool = WorkerPool(configuration, jobs: store.jobs, executor: executor, hub: hub, time: time)
        time.adopt(pool.work, pool.pulse)
        service = JobService(
            repositories: .init(
                jobs: store.jobs, metrics: store.metrics, events: store.events, models: store.models,
                datasets: store.datasets),
            resolver: PlainResolver(), workers: pool, hub: hub, time: time)
    }

    deinit { pool.stop(milliseconds: 0) }

    func submit(_ name: String, threads: Int64 = 1, memory: Int64 = 1) throws -> JobID {
        let body: JSONValue = [
            "name": .string(name), "threads": .integer(threads), "memory": .integer(memory),
        ]
        return try service.submit(body).job.id
    }

    /// Blocks until the job satisfies `condition`; gives up after ten seconds.
    @discardableResult
    func wait(for id: JobID, _ condition: (Job) -> Bool) throws -> Job {
        let deadline = DispatchTime.now() + .seconds(10)
        while true {
            let changed = DispatchSemaphore(value: 0)
            let subscription = hub.subscribe(to: .job(id)) { changed.signal() }
            defer { subscription.cancel() }
            let job = try service.job(id)
            if condition(job) { return job }
            guard changed.wait(timeout: deadline) == .success else { throw Stuck(job: job) }
        }
    }

    @discardableResult
    func wait(for id: JobID, toBe state: JobState) throws -> Job { try wait(for: id) { $0.state == state } }

    struct Stuck: Error { let job: Job }
}

/// Random numbers that are the same in every run (SplitMix64).
struct Seeded: RandomNumberGenerator, Sendable {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
