public import JSON

/// One value of one curve.
public struct MetricPoint: Sendable, Equatable {
    /// The curve, such as `train_loss`.
    public let series: String
    /// Training steps done.
    public let step: Int
    /// The value; not-a-number is kept as such.
    public let value: Double
    /// When it was measured.
    public let at: Timestamp

    /// Places a value on a curve.
    public init(series: String, step: Int, value: Double, at: Timestamp) {
        (self.series, self.step, self.value, self.at) = (series, step, value, at)
    }
}

/// What a job used at one moment.
public struct ResourcePoint: Sendable, Equatable {
    /// The names under which the figures are shown, in the order of `values`.
    public static let names = [
        "cpu_percent", "rss_bytes", "arena_bytes", "samples_per_second", "gflops", "mfu",
        "data_wait_fraction",
        "watts",
    ]

    /// When it was sampled.
    public let at: Timestamp
    /// Training steps done.
    public let step: Int
    /// Share of one core that the job's own threads used, in percent (200 = two cores).
    public var cpuPercent: Double?
    /// Memory that the process holds.
    public var rssBytes: Double?
    /// Memory that the job's plan reserved.
    public var arenaBytes: Double?
    /// Training samples per second since the sample before.
    public var samplesPerSecond: Double?
    /// Billions of floating-point operations per second, by the cost model.
    public var gflops: Double?
    /// `gflops` as a share of the measured peak.
    public var mfu: Double?
    /// Share of the time that the trainer waited for input.
    public var dataWaitFraction: Double?
    /// Power, by the job's energy method.
    public var watts: Double?

    /// A sample without figures.
    public init(at: Timestamp, step: Int) { (self.at, self.step) = (at, step) }

    /// The figures, in the order of `names`.
    public var values: [Double?] {
        [cpuPercent, rssBytes, arenaBytes, samplesPerSecond, gflops, mfu, dataWaitFraction, watts]
    }
}

/// One curve, thinned.
public struct Curve: Sendable, Equatable {
    /// The series.
    public let name: String
    /// Training steps in the order of time; those of resource curves may repeat, and go back after a resume.
    public var steps: [Int]
    /// The values at `steps`.
    public var values: [Double]
    /// The times at `steps`.
    public var times: [Timestamp]

    /// An empty curve.
    public init(name: String) { (self.name, steps, values, times) = (name, [], [], []) }
}

/// How much an event matters.
public enum EventLevel: String, Sendable, CaseIterable {
    /// In the order of urgency.
    case debug, info, warning, error
}

/// One line of what happened to a job.
public struct EventRecord: Sendable, Equatable {
    /// Later events of a job have greater identifiers.
    public let id: EventID
    /// The job.
    public let jobID: JobID
    /// When.
    public let at: Timestamp
    /// How much it matters.
    public let level: EventLevel
    /// `state`, `checkpoint`, or a word of the job's own.
    public let type: String
    /// For people; cut to 4 KiB.
    public let message: String
    /// For programs.
    public let data: JSONValue

    /// Assembles an event; the store does.
    public init(
        id: EventID, jobID: JobID, at: Timestamp, level: EventLevel, type: String, message: String,
        data: JSONValue
    ) {
        (self.id, self.jobID, self.at, self.level) = (id, jobID, at, level)
        (self.type, self.message, self.data) = (type, message, data)
    }
}

/// An event that has no identifier yet.
public struct EventDraft: Sendable, Equatable {
    /// The fields of the same names in `EventRecord`.
    public let at: Timestamp, level: EventLevel, type: String, message: String, data: JSONValue

    /// Describes an event; a longer message is cut.
    public init(at: Timestamp, level: EventLevel, type: String, message: String, data: JSONValue = .null) {
        (self.at, self.level, self.type, self.data) = (at, level, type, data)
        self.message = message.utf8.count <= 4096 ? message : String(message.prefix(1024)) + "..."
    }
}

/// A stored model.
public struct ModelRecord: Sendable, Equatable {
    /// Its name in the API.
    public let id: ModelID
    /// What it is called; the job's name unless a client said otherwise.
    public var name: String
    /// The job that made it, unless it was imported or the job deleted.
    public var jobID: JobID?
    /// When it was stored.
    public let createdAt: Timestamp
    /// The model description that can be built again.
    public let architecture: JSONValue
    /// Parameters, and multiply-accumulates per sample.
    public let parameters, macs: Int64
    /// The weights' file, relative to the data folder; made durable before the record.
    public let path: String
    /// Size and SHA-256 of that file.
    public let byteCount: Int64, sha256: String
    /// Measured figures, as the API describes them; under `reportKey` the report of its job.
    public let metrics: JSONValue
    public static let reportKey = "report"
    /// Where it comes from: parent, teacher, dataset hash.
    public let lineage: JSONValue

    /// Describes a model whose file is durable.
    public init(
        id: ModelID, name: String, jobID: JobID?, createdAt: Timestamp, architecture: JSONValue,
        parameters: Int64,
        macs: Int64, path: String, byteCount: Int64, sha256: String, metrics: JSONValue = .null,
        lineage: JSONValue = .null
    ) {
        (self.id, self.name, self.jobID, self.createdAt) = (id, name, jobID, createdAt)
        (self.architecture, self.parameters, self.macs) = (architecture, parameters, macs)
        (self.path, self.byteCount, self.sha256) = (path, byteCount, sha256)
        (self.metrics, self.lineage) = (metrics, lineage)
    }
}

/// A file of a dataset that is being uploaded.
public struct DatasetFile: Sendable, Equatable {
    /// What the client calls it; never a path.
    public let name: String
    /// Where it lies, relative to the data folder.
    public let path: String
    /// Size in bytes.
    public let byteCount: Int64
    /// Hash of its bytes, in hex.
    public let sha256: String
    /// When it had come.
    public let createdAt: Timestamp

    /// Describes a file.
    public init(name: String, path: String, byteCount: Int64, sha256: String, createdAt: Timestamp) {
        (self.name, self.path, self.byteCount) = (name, path, byteCount)
        (self.sha256, self.createdAt) = (sha256, createdAt)
    }
}

/// A dataset that jobs can name.
public struct DatasetRecord: Sendable, Equatable {
    /// Its name in the API.
    public let id: DatasetID
    /// What it is called; unique.
    public let name: String
    /// How its files are written: `idx`, `npy`, `csv`...
    public let format: String
    /// Whether it was checked and published; only then may jobs use it.
    public var isReady: Bool
    /// Where its files lie: absolute for a dataset of the host, else relative to the data folder.
    public let path: String
    /// One hash over all its files, in hex.
    public var sha256: String
    /// When it was added.
    public let createdAt: Timestamp
    /// Shape, classes, counts, mean and deviation, as the API describes them.
    public var details: JSONValue

    /// Describes a dataset.
    public init(
        id: DatasetID, name: String, format: String, isReady: Bool, path: String, sha256: String,
        createdAt: Timestamp, details: JSONValue
    ) {
        (self.id, self.name, self.format, self.isReady) = (id, name, format, isReady)
        (self.path, self.sha256, self.createdAt, self.details) = (path, sha256, createdAt, details)
    }
}
