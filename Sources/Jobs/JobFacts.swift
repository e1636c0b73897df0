public import JSON

/// A stable code with a sentence for people.
public struct JobReason: Sendable, Equatable {
    /// Snake case; clients may rely on it.
    public let code: String
    /// Safe to show; may be reworded.
    public let message: String

    /// Pairs a code with its sentence.
    public init(code: String, message: String) { (self.code, self.message) = (code, message) }
}

/// One state that a job entered.
public struct JobTransition: Sendable, Equatable {
    /// The state entered.
    public let state: JobState
    /// When.
    public let at: Timestamp
    /// Why, where that is not obvious.
    public let reason: JobReason?

    /// Records a state, its time and its reason.
    public init(state: JobState, at: Timestamp, reason: JobReason? = nil) {
        (self.state, self.at, self.reason) = (state, at, reason)
    }
}

/// What a queued job waits for.
public struct WaitingFor: Sendable, Equatable {
    /// Which kind of thing is missing.
    ///
    /// One of `dependencies`, `backoff`, `threads`, `memory`, `worker`, `exclusive`, `capacity`,
    /// `drain`, `turn`, `disk`.
    public let code: String
    /// The same with its numbers, for people.
    public let message: String
    /// The unfinished jobs, for `dependencies`.
    public let jobs: [JobID]

    /// Says what is missing.
    public init(code: String, message: String, jobs: [JobID] = []) {
        (self.code, self.message, self.jobs) = (code, message, jobs)
    }
}

/// How far a job is.
public struct JobProgress: Sendable, Hashable {
    /// From 0 to 1.
    public var fraction: Double
    /// Epochs begun so far, and all of them.
    public var epoch, epochs: Int
    /// Steps done so far, and all of them.
    public var step, steps: Int
    /// Training samples per second, lately.
    public var samplesPerSecond: Double?
    /// Seconds until the end, if it goes on like this.
    public var etaSeconds: Double?

    /// Nothing done yet unless the arguments say otherwise.
    public init(
        fraction: Double = 0, epoch: Int = 0, epochs: Int = 0, step: Int = 0, steps: Int = 0,
        samplesPerSecond: Double? = nil, etaSeconds: Double? = nil
    ) {
        (self.fraction, self.epoch, self.epochs) = (fraction, epoch, epochs)
        (self.step, self.steps) = (step, steps)
        (self.samplesPerSecond, self.etaSeconds) = (samplesPerSecond, etaSeconds)
    }
}

/// The extremes of one series; not-a-number counts only as `last`.
public struct SeriesSummary: Sendable, Equatable {
    /// The series, such as `train_loss`.
    public var name: String
    /// The value at the highest step.
    public var last: Double
    /// The least and the greatest finite value; not-a-number while there is none.
    public var min, max: Double
    /// Where the best value was: the greatest of an accuracy, the least of anything else.
    public var bestStep: Int
    /// How many points were recorded.
    public var count: Int

    /// Assembles a summary; the store does.
    public init(name: String, last: Double, min: Double, max: Double, bestStep: Int, count: Int) {
        (self.name, self.last, self.min, self.max) = (name, last, min, max)
        (self.bestStep, self.count) = (bestStep, count)
    }

    /// Whether a greater value of the series is the better one.
    public static func greaterIsBetter(_ name: String) -> Bool {
        ["accuracy", "precision", "recall", "f1", "auc", "sparsity", "samples_per_second"]
            .contains { name.hasSuffix($0) }
    }
}

/// What a job has used, over all its attempts.
public struct JobResources: Sendable, Equatable {
    /// Seconds that the job's own threads spent on cores.
    public var cpuSeconds: Double
    /// Seconds during which a worker ran it.
    public var wallSeconds: Double
    /// The most memory the process held while it ran, in bytes.
    public var peakMemoryBytes: Int64
    /// Energy, by `energyMethod`.
    public var joules: Double
    /// `rapl` when measured, `model` when computed from core seconds.
    public var energyMethod: String
    /// Further figures, by name.
    public var more: JSONObject

    /// Nothing used yet unless the arguments say otherwise.
    public init(
        cpuSeconds: Double = 0, wallSeconds: Double = 0, peakMemoryBytes: Int64 = 0, joules: Double = 0,
        energyMethod: String = "model", more: JSONObject = [:]
    ) {
        (self.cpuSeconds, self.wallSeconds) = (cpuSeconds, wallSeconds)
        (self.peakMemoryBytes, self.joules) = (peakMemoryBytes, joules)
        (self.energyMethod, self.more) = (energyMethod, more)
    }
}

/// What a job left behind.
public struct StoredResult: Sendable, Equatable {
    /// The model it made, unless that was deleted.
    public let modelID: ModelID?
    /// The report, as the API describes it.
    public let report: JSONValue

    /// Pairs a report with its model.
    public init(modelID: ModelID?, report: JSONValue) { (self.modelID, self.report) = (modelID, report) }
}

/// Why an attempt failed.
public struct JobFailure: Error, Sendable, Equatable {
    /// Snake case; clients may rely on it.
    public let code: String
    /// Safe to show: no paths, nothing of how we work inside; cut to 4 KiB.
    public let message: String
    /// The field of the spec to blame, as a JSON pointer.
    public let pointer: String?
    /// The training step at which it happened.
    public let step: Int?
    /// Whether another attempt may succeed: true of the machine's faults, never of the client's.
    public let isRetryable: Bool
    /// The report of a job that did its work and was found wanting.
    public let report: JSONValue?

    /// Describes a failure; a longer message is cut.
    public init(
        code: String, message: String, pointer: String? = nil, step: Int? = nil, isRetryable: Bool = false,
        report: JSONValue? = nil
    ) {
        self.code = code
        self.message = message.utf8.count <= 4096 ? message : String(message.prefix(1024)) + "..."
        (self.pointer, self.step, self.isRetryable) = (pointer, step, isRetryable)
        self.report = report
    }
}
