import JSON
import Synchronization
public import Threads

/// Keeps webhooks and delivers what they are told.
///
/// A few threads send, each to one webhook at a time: a webhook that does not answer holds up itself alone.
public final class WebhookService: Sendable {
    /// There are at most so many.
    public static let webhooksMax = 32
    /// The length of a secret that is drawn.
    static let secretByteCount = 32
    /// How many are sent to at once.
    static let threadCount = 4
    private static let idleNanoseconds: UInt64 = 60_000_000_000
    private static let troubleNanoseconds: UInt64 = 5_000_000_000

    private struct State {
        var busy: Set<WebhookID> = []
        var isStopping = false
        var threadsAlive = 0
        var totals = Totals()
    }

    /// What became of attempts since the process started.
    public struct Totals: Sendable, Equatable {
        /// Attempts that the other side accepted, and those that it did not.
        public var delivered = 0, failed = 0

        /// Counts of attempts.
        public init(delivered: Int = 0, failed: Int = 0) {
            (self.delivered, self.failed) = (delivered, failed)
        }
    }

    private let repository: any WebhookRepository
    private let sender: (any WebhookSender)?
    private let identifiers: IdentifierGenerator
    private let bell: Bell
    private let hub: ChangeHub
    private let time: any TimeSource
    private let jitter: @Sendable () -> Double
    private let log: @Sendable (_ message: String, _ cause: String) -> Void
    private let state = Mutex(State())

    /// A service whose threads do not run yet.
    ///
    /// - Parameters:
    ///   - repository: Where webhooks and messages are kept.
    ///   - sender: Sends them; nil where webhooks are not allowed.
    ///   - identifiers: Makes names.
    ///   - bell: Struck when a message was stored.
    ///   - hub: Where those wait who want to know what became of a message.
    ///   - time: The clock.
    ///   - jitter: From -1 to 1.
    ///   - log: Takes what an operator should read.
    public init(
        repository: any WebhookRepository, sender: (any WebhookSender)?, identifiers: IdentifierGenerator,
        bell: Bell, hub: ChangeHub, time: any TimeSource = SystemTime(),
        jitter: @escaping @Sendable () -> Double = { Double.random(in: -1...1) },
        log: @escaping @Sendable (_ message: String, _ cause: String) -> Void = { _, _ in }
    ) {
        (self.repository, self.sender, self.identifiers) = (repository, sender, identifiers)
        (self.bell, self.hub, self.time, self.jitter, self.log) = (bell, hub, time, jitter, log)
    }

    /// Whether the operator allowed any host.
    public var isAllowed: Bool { sender != nil }

    // MARK: Keeping

    /// Makes a webhook that is told from now on; a secret that is not given is drawn.
    public func add(url: String, topics: [WebhookTopic], secret: [UInt8]?) throws(JobError) -> Webhook {
        guard let sender else { throw .webhooksDisabled }
        if let fault = sender.fault(of: url) {
            throw .invalid([Violation(pointer: "/url", code: fault.code, detail: fault.detail)])
        }
        let now = time.now()
        // The system's generator is one for secrets.
        let drawn = (0..<Self.secretByteCount).map { _ in UInt8.random(in: 0...255) }
        let webhook = Webhook(
            id: identifiers.next(at: now), url: url, topics: topics, secret: secret ?? drawn, createdAt: now)
        try repository.add(webhook, limit: Self.webhooksMax)
        return webhook
    }

    /// Changes one.
    public func update(_ id: WebhookID, _ changes: WebhookChanges) throws(JobError) -> Webhook {
        guard let sender else { throw .webhooksDisabled }
        if let url = changes.url, let fault = sender.fault(of: url) {
            throw .invalid([Violation(pointer: "/url", code: fault.code, detail: fault.detail)])
        }
        let webhook = try repository.update(id, changes, at: time.now())
        bell.strike()
        return webhook
    }

    /// All of them, newest first.
    public func webhooks() throws(JobError) -> [Webhook] { try repository.webhooks() }

    /// One of them.
    public func webhook(_ id: WebhookID) throws(JobError) -> Webhook { try repository.webhook(id) }

    /// Deletes one, with what was not sent yet.
    public func delete(_ id: WebhookID) throws(JobError) { try repository.deleteWebhook(id) }

    /// One page of what was and will be sent, newest first.
    public func deliveries(of id: WebhookID, _ page: PageRequest) throws(JobError) -> Page<WebhookDelivery> {
        try repository.deliveries(of: id, page)
    }

    /// One message; it changes when `Topic.webhook` is notified.
    public func delivery(_ id: DeliveryID, of webhook: WebhookID) throws(JobError) -> WebhookDelivery {
        try repository.delivery(id, of: webhook)
    }

    /// Sends a message that tells of nothing, once; one that arrives brings a disabled webhook back.
    public func test(_ id: WebhookID) throws(JobError) -> WebhookDelivery {
        guard sender != nil else { throw .webhooksDisabled }
        let now = time.now()
        let delivery = WebhookDelivery(
            id: identifiers.next(at: now), to: id, type: WebhookDelivery.testType, jobID: nil,
            data: ["object": "webhook", "id": .string(id.rawValue)], at: now)
        try repository.add(delivery)
        bell.strike()
        return delivery
    }

    /// Has a message sent at once: once more with the same name and bytes, or before its time.
    public func redeliver(_ id: DeliveryID, of webhook: WebhookID) throws(JobError) -> WebhookDelivery {
        guard sender != nil else { throw .webhooksDisabled }
        let delivery = try repository.redeliver(id, of: webhook)
        bell.strike()
        return delivery
    }

    /// What became of attempts since the process started.
    public var totals: Totals { state.withLock { $0.totals } }

    /// How many messages wait.
    public func pendingCount() throws(JobError) -> Int { try repository.pendingCount() }

    // MARK: Delivering

    /// Starts the threads, where webhooks are allowed.
    public func start() {
        guard let sender else { return }
        state.withLock { $0.threadsAlive = Self.threadCount }
        for index in 0..<Self.threadCount {
            WorkerThread.start("webhook-\(index)") { [self] in
                deliverUntilStopped(sender)
                state.withLock { $0.threadsAlive -= 1 }
                bell.strike()
            }
        }
    }

    /// Ends the threads and waits for them; what is not sent by then is sent after the next start.
    public func stop(milliseconds: UInt64) {
        state.withLock { $0.isStopping = true }
        bell.strike()
        time.wait(for: bell, milliseconds: milliseconds) { state.withLock { $0.threadsAlive } <= 0 }
    }

    private func deliverUntilStopped(_ sender: any WebhookSender) {
        while true {
            let ring = bell.ring
            if state.withLock({ $0.isStopping }) { return }
            var pause = Self.troubleNanoseconds
            do throws(JobError) {
                switch try take() {
                case .due(let delivery, let webhook):
                    defer { state.withLock { _ = $0.busy.remove(webhook.id) } }
                    try deliver(delivery, to: webhook, by: sender)
                    continue
                case .none(let until):
                    let milliseconds = until.map { $0.milliseconds - time.now().milliseconds }
                    pause = milliseconds.map { UInt64(clamping: $0) &* 1_000_000 } ?? Self.idleNanoseconds
                    pause = min(pause, Self.idleNanoseconds)
                }
            } catch {
                log("webhooks have to wait for the store", error.cause ?? error.description)
            }
            time.wait(for: bell, after: ring, until: time.monotonicNanoseconds() + pause)
        }
    }

    /// Takes under the lock, so that no two threads send to one webhook.
    private func take() throws(JobError) -> WebhookWork {
        try state.withLock { (state) throws(JobError) -> WebhookWork in
            let work = try repository.nextDelivery(at: time.now(), except: state.busy)
            if case .due(_, let webhook) = work { state.busy.insert(webhook.id) }
            return work
        }
    }

    private func deliver(
        _ delivery: WebhookDelivery, to webhook: Webhook, by sender: any WebhookSender
    ) throws(JobError) {
        let attempt = WebhookAttempt(
            delivery, to: webhook, sender.send(delivery, to: webhook, at: time.now()))
        let settlement = try repository.settle(attempt, at: time.now(), jitter: jitter())
        defer { hub.notify(.webhook(webhook.id)) }
        guard let settlement else { return }
        let isDelivered = settlement.delivery.state == .delivered
        state.withLock { state in
            if isDelivered { state.totals.delivered += 1 } else { state.totals.failed += 1 }
        }
        if let disabled = settlement.webhook.disabled, webhook.disabled == nil {
            log("the webhook \(webhook.id) is disabled", disabled.reason)
        } else if !isDelivered, webhook.failures == 0 {
            log("the webhook \(webhook.id) fails", settlement.delivery.error ?? "")
        }
    }
}
