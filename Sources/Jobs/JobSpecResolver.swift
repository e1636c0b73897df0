public import JSON

/// Turns a request body into work; implemented where jobs meet the engine.
public protocol JobSpecResolver: Sendable {
    /// Checks the whole body and fills in every default.
    ///
    /// - Throws: Every violation at once.
    func resolve(_ body: JSONValue) throws(InvalidInput) -> ResolvedJob
    /// Every job type that may be asked for.
    var types: [JobType] { get }
    /// The JSON Schema of a job type; `nil` for an unknown type.
    func schema(for type: JobType) -> JSONValue?
    /// Whether the dataset of a resolved job is still there; asked while the job is stored.
    func hasDataset(of job: ResolvedJob) -> Bool
}

/// A request that can be queued.
public struct ResolvedJob: Sendable, Equatable {
    /// What kind of work it is.
    public var type: JobType
    /// What the client called it.
    public var name: String
    /// Free pairs that clients filter by.
    public var labels: [String: String]
    /// From -100 to 100.
    public var priority: Int
    /// How many attempts may fail before the job does.
    public var maxAttempts: Int
    /// The request with every default filled in; at most 256 KiB as text.
    public var spec: JSONValue
    /// Slots of the core budget.
    public var threads: Int
    /// Bytes of the memory budget.
    public var memoryBytes: Int
    /// The jobs that must succeed first.
    public var dependencies: [JobID]
    /// The identifier of the dataset that it reads; `nil` without one.
    public var dataset: String?
    /// The models that it starts or learns from.
    public var models: [NeededModel] = []
    /// What the job will need, as the API describes it.
    public var estimate: JSONValue

    /// Assembles a resolved job.
    public init(
        type: JobType, name: String, labels: [String: String] = [:], priority: Int = 0, maxAttempts: Int = 3,
        spec: JSONValue, threads: Int, memoryBytes: Int, dependencies: [JobID] = [],
        estimate: JSONValue = .null
    ) {
        (self.type, self.name, self.labels, self.priority) = (type, name, labels, priority)
        (self.maxAttempts, self.spec, self.threads) = (maxAttempts, spec, threads)
        (self.memoryBytes, self.dependencies, self.estimate) = (memoryBytes, dependencies, estimate)
    }
}

/// A model that a job starts or learns from.
public struct NeededModel: Sendable, Equatable {
    /// Where the request names it.
    public let pointer: String
    /// `nil` until `job` has made it.
    public let id: ModelID?
    /// The job that makes it, where it is named by that.
    public let job: JobID?

    /// Names a model.
    public init(pointer: String, id: ModelID?, job: JobID?) {
        (self.pointer, self.id, self.job) = (pointer, id, job)
    }
}

extension Violation {
    /// Why a job cannot wait for another one; `nil` where it can.
    public init?(dependency id: JobID, _ state: JobState?, at index: Int) {
        let (code, detail): (String, String)
        switch state {
        case nil: (code, detail) = ("job_not_found", "there is no job \(id)")
        case .failed?, .cancelled?:
            (code, detail) = (
                "dependency_failed", "\(id) is \(state?.rawValue ?? ""), so this job could never start"
            )
        case .queued?, .running?, .pausing?, .paused?, .cancelling?, .succeeded?: return nil
        }
        self.init(pointer: "/depends_on/\(index)", code: code, detail: detail)
    }
}
