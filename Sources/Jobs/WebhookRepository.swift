public import Threads

/// The stored webhooks, and what is to be sent to them.
///
/// Messages about jobs are stored by `JobRepository`, in the transaction that changes the job.
public protocol WebhookRepository: Sendable {
    /// Stores a webhook; `webhooksFull` when there are `limit` already.
    func add(_ webhook: Webhook, limit: Int) throws(JobError)
    /// All of them, newest first.
    func webhooks() throws(JobError) -> [Webhook]
    /// One of them.
    func webhook(_ id: WebhookID) throws(JobError) -> Webhook
    /// Deletes one with its messages.
    func deleteWebhook(_ id: WebhookID) throws(JobError)
    /// Stores a message that no change of a job caused.
    func add(_ delivery: WebhookDelivery) throws(JobError)
    /// One message.
    func delivery(_ id: DeliveryID, of webhook: WebhookID) throws(JobError) -> WebhookDelivery
    /// One page of a webhook's messages, newest first.
    func deliveries(of id: WebhookID, _ page: PageRequest) throws(JobError) -> Page<WebhookDelivery>
    /// What is to be sent now, to a webhook that nobody is busy with.
    func nextDelivery(at now: Timestamp, except busy: Set<WebhookID>) throws(JobError) -> WebhookWork
    /// Stores how an attempt ended; nothing when the webhook was deleted meanwhile.
    func settle(_ settlement: WebhookSettlement) throws(JobError)
    /// How many messages wait.
    func pendingCount() throws(JobError) -> Int
}

/// What there is to do for webhooks.
public enum WebhookWork: Sendable {
    /// A message to send now.
    case due(WebhookDelivery, to: Webhook)
    /// Nothing until then; nil for nothing at all.
    case none(until: Timestamp?)
}

/// What `JobRepository` does for webhooks as jobs change.
public struct WebhookOutlet: Sendable {
    /// What a job's new state is to be told as.
    public let notices: @Sendable (Job) -> [WebhookNotice]
    /// Struck when a message was stored.
    public let bell: Bell

    /// Tells what `notices` says.
    public init(notices: @escaping @Sendable (Job) -> [WebhookNotice], bell: Bell = Bell()) {
        (self.notices, self.bell) = (notices, bell)
    }

    /// Tells nobody of anything.
    public static var silent: WebhookOutlet { WebhookOutlet { _ in [] } }
}

/// Sends messages to webhooks.
public protocol WebhookSender: Sendable {
    /// What is wrong with an address; nil where messages may be sent to it.
    func fault(of url: String) -> (code: String, detail: String)?
    /// Sends a message; takes its time, but not more than some seconds.
    func send(_ delivery: WebhookDelivery, to webhook: Webhook, at now: Timestamp) -> WebhookAnswer
}

/// What came of an attempt.
public enum WebhookAnswer: Sendable, Equatable {
    /// The other side answered with this status.
    case status(Int)
    /// It did not answer, or was not asked; why.
    case failure(String)
}

/// What becomes of a message and of its webhook after an attempt: the one place that decides it.
public struct WebhookSettlement: Sendable {
    /// Both as they are to be stored.
    public private(set) var delivery: WebhookDelivery, webhook: Webhook

    /// A message is given up after so long, and so is a webhook that takes none.
    public static let patienceMilliseconds: Int64 = 3 * 86_400_000
    /// A webhook that is given up has failed at least this often.
    public static let failuresMin = 10
    /// Between two messages to a webhook that fails lie at most so many.
    static let pauseMillisecondsMax: Int64 = 300_000
    /// Between two attempts at one message lie at most so many, jitter included.
    public static let backOffMillisecondsMax: Int64 = 4_320_000

    /// Settles an attempt.
    ///
    /// - Parameters:
    ///   - answer: What came of it.
    ///   - delivery: What was sent, as it was before.
    ///   - webhook: To whom, as it was before.
    ///   - now: When.
    ///   - jitter: From -1 to 1, so that what failed together does not return together.
    public init(
        of answer: WebhookAnswer, _ delivery: WebhookDelivery, to webhook: Webhook, at now: Timestamp,
        jitter: Double
    ) {
        (self.delivery, self.webhook) = (delivery, webhook)
        self.delivery.attempts += 1
        self.delivery.lastAt = now
        switch answer {
        case .status(let status) where (200...299).contains(status):
            (self.delivery.status, self.delivery.error) = (status, nil)
            end(.delivered)
            (self.webhook.failures, self.webhook.failingSince) = (0, nil)
            self.webhook.retryAt = Timestamp(milliseconds: 0)
            self.webhook.disabled = nil
        case .status(let status):
            self.delivery.status = status
            self.delivery.error =
                (300...399).contains(status)
                ? "answered \(status); redirections are not followed" : "answered \(status)"
            fail(at: now, jitter, isGone: status == 410)
        case .failure(let reason):
            (self.delivery.status, self.delivery.error) = (nil, String(reason.prefix(500)))
            fail(at: now, jitter, isGone: false)
        }
    }

    private mutating func fail(at now: Timestamp, _ jitter: Double, isGone: Bool) {
        guard !delivery.isTest else { return end(.failed) }
        webhook.failures += 1
        let since = webhook.failingSince ?? now
        webhook.failingSince = since
        let pause = Self.backOffMilliseconds(afterFailures: webhook.failures, jitter: jitter)
        webhook.retryAt = now.adding(milliseconds: min(pause, Self.pauseMillisecondsMax))
        if isGone {
            webhook.disabled = (now, "The address answered 410 Gone.")
        } else if webhook.failures >= Self.failuresMin, Self.isOver(since, now) {
            webhook.disabled = (now, "\(webhook.failures) attempts failed in 3 days, and none succeeded.")
        }
        if isGone || Self.isOver(delivery.createdAt, now) { return end(.failed) }
        delivery.nextAt = now.adding(
            milliseconds: Self.backOffMilliseconds(afterFailures: delivery.attempts, jitter: jitter))
    }

    private mutating func end(_ state: WebhookDelivery.State) {
        (delivery.state, delivery.nextAt, delivery.body) = (state, nil, nil)
    }

    private static func isOver(_ since: Timestamp, _ now: Timestamp) -> Bool {
        since.adding(milliseconds: patienceMilliseconds) <= now
    }

    /// How long to wait after so many failures: 5 s, then four times as long each time, at most 1 h; a fifth
    /// either way.
    public static func backOffMilliseconds(afterFailures failures: Int, jitter: Double) -> Int64 {
        let base = min(Int64(5000) << Int64(2 * max(0, min(failures - 1, 10))), 3_600_000)
        return base + Int64(Double(base) * 0.2 * max(-1, min(jitter, 1)))
    }
}
