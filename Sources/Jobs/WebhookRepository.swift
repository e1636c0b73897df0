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
    /// Changes one; what waits for one that is disabled is given up.
    func update(_ id: WebhookID, _ changes: WebhookChanges, at now: Timestamp) throws(JobError) -> Webhook
    /// Deletes one with its messages.
    func deleteWebhook(_ id: WebhookID) throws(JobError)
    /// Stores a message that no change of a job caused.
    func add(_ delivery: WebhookDelivery) throws(JobError)
    /// Has a message sent at once: once more, or before its time.
    ///
    /// - Throws: `deliveryNotFound`, `webhookDisabled`; `deliveryForgotten` where its bytes are not kept.
    func redeliver(_ id: DeliveryID, of webhook: WebhookID) throws(JobError) -> WebhookDelivery
    /// One message; `deliveryNotFound` for another webhook's.
    func delivery(_ id: DeliveryID, of webhook: WebhookID) throws(JobError) -> WebhookDelivery
    /// One page of a webhook's messages, newest first.
    func deliveries(of id: WebhookID, _ page: PageRequest) throws(JobError) -> Page<WebhookDelivery>
    /// What is to be sent now, to a webhook that nobody is busy with.
    func nextDelivery(at now: Timestamp, except busy: Set<WebhookID>) throws(JobError) -> WebhookWork
    /// Stores how an attempt ended, by what the message and the webhook have become meanwhile.
    ///
    /// - Parameters:
    ///   - attempt: What was sent, and what came of it.
    ///   - now: When it ended.
    ///   - jitter: From -1 to 1.
    /// - Returns: What became of both; nil when one of them is gone.
    /// - Throws: What the store says.
    func settle(_ attempt: WebhookAttempt, at now: Timestamp, jitter: Double) throws(JobError)
        -> WebhookSettlement?
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

/// A message that was sent, as it and its webhook were then, and what came of it.
public struct WebhookAttempt: Sendable {
    let delivery: WebhookDelivery, webhook: Webhook
    let answer: WebhookAnswer

    /// The message's name.
    public var deliveryID: DeliveryID { delivery.id }
    /// The webhook's.
    public var webhookID: WebhookID { webhook.id }

    /// Describes an attempt that has ended.
    public init(_ delivery: WebhookDelivery, to webhook: Webhook, _ answer: WebhookAnswer) {
        (self.delivery, self.webhook, self.answer) = (delivery, webhook, answer)
    }
}

/// What came of an attempt.
public enum WebhookAnswer: Sendable, Equatable {
    /// The other side answered with this status.
    case status(Int)
    /// It did not answer, or was not asked; why.
    case failure(String)
}
