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

    /// Settles an attempt by what has become of both since it began: a client may have disabled the webhook,
    /// or changed its address.
    ///
    /// - Parameters:
    ///   - attempt: What was sent, and what came of it.
    ///   - delivery: The message as it is stored now.
    ///   - webhook: The webhook as it is stored now.
    ///   - now: When.
    ///   - jitter: From -1 to 1, so that what failed together does not return together.
    public init(
        of attempt: WebhookAttempt, _ delivery: WebhookDelivery, to webhook: Webhook, at now: Timestamp,
        jitter: Double
    ) {
        (self.delivery, self.webhook) = (delivery, webhook)
        self.delivery.attempts += 1
        self.delivery.lastAt = now
        let isSameAddress = attempt.webhook.url == webhook.url
        switch attempt.answer {
        case .status(let status) where (200...299).contains(status):
            (self.delivery.status, self.delivery.error) = (status, nil)
            end(.delivered)
            guard isSameAddress else { return }
            self.webhook.forgetFailures()
            if delivery.isTest, !webhook.isDisabledByClient { self.webhook.disabled = nil }
        case .status(let status):
            self.delivery.status = status
            self.delivery.error =
                (300...399).contains(status)
                ? "answered \(status); redirections are not followed" : "answered \(status)"
            fail(at: now, jitter, isGone: status == 410, isSameAddress)
        case .failure(let reason):
            (self.delivery.status, self.delivery.error) = (nil, String(reason.prefix(500)))
            fail(at: now, jitter, isGone: false, isSameAddress)
        }
    }

    private mutating func fail(at now: Timestamp, _ jitter: Double, isGone: Bool, _ isSameAddress: Bool) {
        guard delivery.state == .pending, !delivery.isTest else { return end(.failed) }
        guard isSameAddress else {
            delivery.nextAt = now
            return
        }
        countFailure(at: now, jitter, isGone: isGone)
        if isGone || Self.isOver(delivery.createdAt, now) { return end(.failed) }
        delivery.nextAt = now.adding(
            milliseconds: Self.backOffMilliseconds(afterFailures: delivery.attempts, jitter: jitter))
    }

    private mutating func countFailure(at now: Timestamp, _ jitter: Double, isGone: Bool) {
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
    }

    private mutating func end(_ state: WebhookDelivery.State) {
        (delivery.state, delivery.nextAt) = (state, nil)
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
