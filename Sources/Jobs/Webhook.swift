public import JSON

/// The subject of a `WebhookID`.
public enum WebhookSubject: IdentifierSubject {
    /// The letters in front of the underscore.
    public static let prefix = "whk"
}

/// The subject of a `DeliveryID`.
public enum DeliverySubject: IdentifierSubject {
    /// The letters in front of the underscore.
    public static let prefix = "dlv"
}

/// The name of one webhook.
public typealias WebhookID = Identifier<WebhookSubject>
/// The name of one message to one webhook; the same for each attempt to deliver it.
public typealias DeliveryID = Identifier<DeliverySubject>

/// What a webhook can be told of.
public enum WebhookTopic: String, CaseIterable, Sendable {
    /// A job was submitted, or went back to the queue.
    case queued = "job.queued"
    /// A worker took a job.
    case running = "job.running"
    /// A job stopped at a checkpoint.
    case paused = "job.paused"
    /// A job ran to its end.
    case succeeded = "job.succeeded"
    /// A job ended with an error.
    case failed = "job.failed"
    /// A job was stopped for good.
    case cancelled = "job.cancelled"
    /// A job ended and one of its gates does not hold; comes beside `succeeded` or `failed`.
    case gateFailed = "gate.failed"
}

/// Whom to tell of jobs.
public struct Webhook: Sendable, Equatable {
    /// Its name in the API.
    public let id: WebhookID
    /// Where it is told; already checked.
    public internal(set) var url: String
    /// What it is told of.
    public internal(set) var topics: [WebhookTopic]
    /// What signs each message.
    public internal(set) var secret: [UInt8]
    /// What signs each message beside it until then, after a change; nil for nothing.
    public var oldSecret: (bytes: [UInt8], until: Timestamp)?
    /// When it was made.
    public let createdAt: Timestamp
    /// Attempts that failed since the last one that did not.
    public var failures = 0
    /// When the first of them was.
    public var failingSince: Timestamp?
    /// Nothing but tests is sent before.
    public var retryAt = Timestamp(milliseconds: 0)
    /// Since when nothing is sent any more, and why; nil while it is in use.
    public var disabled: (at: Timestamp, reason: String)?

    /// Everything that signs a message at a time, the newest first.
    public func secrets(at now: Timestamp) -> [[UInt8]] {
        guard let oldSecret, now < oldSecret.until else { return [secret] }
        return [secret, oldSecret.bytes]
    }

    /// A webhook that nothing was sent to.
    public init(id: WebhookID, url: String, topics: [WebhookTopic], secret: [UInt8], createdAt: Timestamp) {
        (self.id, self.url, self.topics) = (id, url, topics)
        (self.secret, self.createdAt) = (secret, createdAt)
    }

    /// Compares every field.
    public static func == (left: Self, right: Self) -> Bool {
        (left.id, left.url, left.topics, left.secret, left.createdAt, left.failures)
            == (right.id, right.url, right.topics, right.secret, right.createdAt, right.failures)
            && (left.failingSince, left.retryAt) == (right.failingSince, right.retryAt)
            && left.oldSecret?.bytes == right.oldSecret?.bytes
            && left.oldSecret?.until == right.oldSecret?.until
            && left.disabled?.at == right.disabled?.at && left.disabled?.reason == right.disabled?.reason
    }
}

/// Something that happened to a job, to be told to every webhook that wants to know.
public struct WebhookNotice: Sendable {
    /// What kind of thing.
    public let topic: WebhookTopic
    /// The job as it is then, as the API describes it.
    public let data: JSONValue

    /// Pairs a topic with a job.
    public init(_ topic: WebhookTopic, _ data: JSONValue) { (self.topic, self.data) = (topic, data) }
}

/// A message to one webhook, and what became of it.
public struct WebhookDelivery: Sendable, Equatable {
    /// How far it got.
    public enum State: String, Sendable, CaseIterable {
        /// Will be sent, perhaps once more.
        case pending
        /// The other side took it.
        case delivered
        /// Was given up.
        case failed
    }

    /// The type of a message that only shows whether messages arrive.
    public static let testType = "webhook.test"
    /// The time of what goes before all that waits: tests, and what somebody wants to be sent again.
    public static let atOnce = Timestamp(milliseconds: 0)

    /// Its name, which the other side sees with each attempt.
    public let id: DeliveryID
    /// The webhook.
    public let webhookID: WebhookID
    /// The topic's name, or `testType`.
    public let type: String
    /// The job that it tells of.
    public let jobID: JobID?
    /// When it happened.
    public let createdAt: Timestamp
    /// What is sent, the same bytes at each attempt; nil once it is forgotten, and in lists.
    public var body: String?
    /// Whether what is sent is still stored.
    public var isKept = true
    /// How far it got.
    public var state = State.pending
    /// How often it was sent.
    public var attempts = 0
    /// When it is sent next.
    public var nextAt: Timestamp?
    /// When it was sent last.
    public var lastAt: Timestamp?
    /// What the other side answered last; nil where it did not.
    public var status: Int?
    /// Why the last attempt failed.
    public var error: String?

    /// A message that was not sent yet.
    ///
    /// - Parameters:
    ///   - id: Its name.
    ///   - webhook: Whom it is for.
    ///   - type: What happened.
    ///   - jobID: The job that it happened to.
    ///   - data: The member of the same name.
    ///   - now: When it happened.
    public init(
        id: DeliveryID, to webhook: WebhookID, type: String, jobID: JobID?, data: JSONValue, at now: Timestamp
    ) {
        (self.id, webhookID, self.type, self.jobID, createdAt) = (id, webhook, type, jobID, now)
        body = JSONValue.object([
            "id": .string(id.rawValue), "type": .string(type), "timestamp": .string(now.iso8601),
            "data": data,
        ]).encoded()
        nextAt = isTest ? Self.atOnce : now
    }

    /// A message as it is stored.
    public init(
        stored id: DeliveryID, to webhook: WebhookID, type: String, jobID: JobID?, at now: Timestamp
    ) {
        (self.id, webhookID, self.type, self.jobID, createdAt) = (id, webhook, type, jobID, now)
    }

    /// Whether it only shows whether messages arrive.
    public var isTest: Bool { type == Self.testType }
    /// Whether somebody waits for it.
    public var isUrgent: Bool { nextAt == Self.atOnce }
}

extension Timestamp {
    /// The time in UTC by ISO 8601, to the millisecond: `2026-11-21T22:47:24.123Z`.
    public var iso8601: String {
        let (day, time) = Self.floored(milliseconds, by: 86_400_000)
        // Days to civil dates, for years that begin in March: H. Hinnant, "chrono-compatible low-level date
        // algorithms".
        let (era, dayOfEra) = Self.floored(day + 719_468, by: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let year = yearOfEra + era * 400 + (month >= 10 ? 1 : 0)
        let date = [
            Self.digits(year, 4), Self.digits(month < 10 ? month + 3 : month - 9, 2),
            Self.digits(dayOfYear - (153 * month + 2) / 5 + 1, 2),
        ].joined(separator: "-")
        let clock = [time / 3_600_000, time / 60_000 % 60, time / 1000 % 60].map { Self.digits($0, 2) }
        return "\(date)T\(clock.joined(separator: ":")).\(Self.digits(time % 1000, 3))Z"
    }

    private static func floored(_ value: Int64, by divisor: Int64) -> (Int64, Int64) {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }

    private static func digits(_ value: Int64, _ count: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, count - text.count)) + text
    }
}
