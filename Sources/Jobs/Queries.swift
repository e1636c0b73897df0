/// Which jobs a list shows, and in which order.
public struct JobQuery: Sendable {
    /// The order of a list; all are stable while jobs are added.
    public enum Order: String, Sendable, CaseIterable {
        /// Oldest first.
        case oldestFirst = "created_at"
        /// Newest first.
        case newestFirst = "-created_at"
        /// Only jobs that are over: who ended first comes first.
        case firstEnded = "finished_at"
        /// Only jobs that are over: who ended last comes first.
        case lastEnded = "-finished_at"

        /// Whether what is greater comes first.
        public var isDescending: Bool { self == .newestFirst || self == .lastEnded }
        /// Whether jobs are sorted by the time at which they ended.
        public var isByEnd: Bool { self == .firstEnded || self == .lastEnded }
    }

    /// Only jobs in one of these states; all when empty.
    public var states: Set<JobState> = []
    /// Only jobs of these types; all when empty.
    public var types: Set<JobType> = []
    /// Only jobs that carry all of these labels.
    public var labels: [String: String] = [:]
    /// Only jobs with this text in their name.
    public var nameContains: String?
    /// Only jobs submitted later.
    public var createdAfter: Timestamp?
    /// The order.
    public var order: Order = .newestFirst
    /// Where to go on.
    public var page = PageRequest()

    /// Every job, newest first.
    public init() {}
}

/// Where a list of jobs goes on: `job_...` where its ids sort it, `MILLISECONDS.job_...` where a time does.
public struct JobCursor: Sendable, Equatable {
    /// The last job before.
    public let id: JobID
    /// When it ended; `nil` for an id alone.
    public let endedAt: Timestamp?

    /// Goes on behind a job of a list.
    public init(behind job: Job) { (id, endedAt) = (job.id, job.finishedAt) }

    /// Reads a cursor; `nil` when it is none of ours.
    public init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, let id = parts.last.flatMap({ JobID(String($0)) }) else { return nil }
        guard parts.count == 2 else {
            (self.id, endedAt) = (id, nil)
            return
        }
        guard parts[0].utf8.count <= Self.digitsMax, let time = UInt64(parts[0]) else { return nil }
        (self.id, endedAt) = (id, Timestamp(milliseconds: Int64(time)))
    }

    /// The text that `init` reads.
    public func text(for order: JobQuery.Order) -> String {
        guard order.isByEnd, let endedAt else { return id.rawValue }
        return "\(endedAt.milliseconds).\(id)"
    }

    /// The most digits of a time.
    public static let digitsMax = 15
}

/// Which part of a list to show.
public struct PageRequest: Sendable, Equatable {
    /// The most that a page holds.
    public static let limitMax = 1000

    /// At most so many; brought into 1 to `limitMax`.
    public let limit: Int
    /// `nextCursor` of the page before.
    public let after: String?

    /// The first page unless `after` is given.
    public init(limit: Int = 50, after: String? = nil) {
        self.limit = Swift.max(1, Swift.min(limit, Self.limitMax))
        self.after = after
    }
}

/// One part of a list.
public struct Page<Element: Sendable>: Sendable {
    /// What is on it.
    public var items: [Element]
    /// Where the next page starts; `nil` on the last page.
    public let nextCursor: String?

    /// Pairs items with the way on.
    public init(items: [Element], nextCursor: String?) { (self.items, self.nextCursor) = (items, nextCursor) }

    /// Whether another page follows.
    public var hasMore: Bool { nextCursor != nil }
}

/// Which points a client wants to see.
public struct CurveQuery: Sendable, Equatable {
    /// Only these series; all when empty.
    public var series: [String]
    /// Only points at later steps.
    public var sinceStep: Int?
    /// For the series named here, only points later than this, whatever `sinceStep` says.
    public var sinceSteps: [String: Int]
    /// At most so many per series; brought into 2 to 10 000.
    public var pointsMax: Int
    /// Whether curves of more points are thinned; otherwise they are cut off behind the first of them.
    public var isThinned = true

    /// Every series, thinned to `pointsMax`.
    public init(
        series: [String] = [], sinceStep: Int? = nil, sinceSteps: [String: Int] = [:], pointsMax: Int = 500
    ) {
        (self.series, self.sinceStep, self.sinceSteps) = (series, sinceStep, sinceSteps)
        self.pointsMax = Swift.max(2, Swift.min(pointsMax, 10_000))
    }

    /// The step after which the points of a series are wanted; -1 for all.
    public func since(_ name: String) -> Int { sinceSteps[name] ?? sinceStep ?? -1 }
}

/// The stored curves; their points are written through `JobRepository.record`.
public protocol MetricRepository: Sendable {
    /// The loss curves and their like, by name.
    func metrics(of id: JobID, _ query: CurveQuery) throws(JobError) -> [Curve]
    /// The resource curves, by name.
    func resources(of id: JobID, _ query: CurveQuery) throws(JobError) -> [Curve]
}

/// The stored events; they are written through `JobRepository`.
public protocol EventRepository: Sendable {
    /// The events of a job that came after `cursor`, oldest first, at most `limit`, which is brought into 1
    /// to one more than a page holds.
    func events(of id: JobID, after cursor: EventID?, limit: Int) throws(JobError) -> [EventRecord]
}

/// Where models are looked up.
public protocol ModelSource: Sendable {
    /// One model.
    func model(_ id: ModelID) throws(JobError) -> ModelRecord
}

/// Where jobs are looked up.
public protocol JobSource: Sendable {
    /// One job with its transitions and summary.
    func job(_ id: JobID) throws(JobError) -> Job
}

/// The stored models.
public protocol ModelRepository: ModelSource {
    /// Stores an imported model; a job's models are stored by `JobRepository.finish`.
    func add(_ model: ModelRecord) throws(JobError)
    /// One page of models, newest first.
    func models(_ page: PageRequest) throws(JobError) -> Page<ModelRecord>
    /// Deletes a model; `inUse` while a job that is not over names it.
    func deleteModel(_ id: ModelID) throws(JobError) -> DeletedModel
}

/// What deleting a model leaves to the caller.
public struct DeletedModel: Sendable, Equatable {
    /// The path that the caller must delete.
    public let path: String
    /// The jobs whose result it was: they show none now.
    public let makers: [JobID]

    /// Pairs a path with the jobs that changed.
    public init(path: String, makers: [JobID]) { (self.path, self.makers) = (path, makers) }
}

/// The known datasets.
public protocol DatasetRepository: Sendable {
    /// Stores a dataset; `nameTaken` when another one has the name.
    func add(_ dataset: DatasetRecord) throws(JobError)
    /// Replaces readiness, hash and details of a stored dataset.
    func update(_ dataset: DatasetRecord) throws(JobError)
    /// One dataset, by its identifier or its name.
    func dataset(_ idOrName: String) throws(JobError) -> DatasetRecord
    /// One page of datasets, newest first.
    func datasets(_ page: PageRequest) throws(JobError) -> Page<DatasetRecord>
    /// Deletes a dataset and answers the path of its files.
    func deleteDataset(_ id: DatasetID) throws(JobError) -> String
    /// The files of a dataset that is being uploaded, by name; none once it is ready.
    func files(of id: DatasetID) throws(JobError) -> [DatasetFile]
}
