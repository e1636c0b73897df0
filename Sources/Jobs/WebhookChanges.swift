/// What a client wants changed of a webhook; nil leaves it as it is.
public struct WebhookChanges: Sendable, Equatable {
    /// Where it is told from now on, what waits included; already checked.
    public var url: String?
    /// What it is told of.
    public var topics: [WebhookTopic]?
    /// What signs each attempt from now on, for a day beside the one before.
    public var secret: [UInt8]?
    /// Whether it is told at all.
    public var isEnabled: Bool?

    /// Changes nothing.
    public init() {}
}

extension Webhook {
    /// So long an old secret signs beside the new one.
    public static let overlapMilliseconds: Int64 = 86_400_000

    /// Why a webhook is disabled that a client disabled; a test does not bring it back.
    public static let disabledByClient = "It was disabled by a request."

    /// Whether a client disabled it.
    public var isDisabledByClient: Bool { disabled?.reason == Self.disabledByClient }

    /// Makes the changes; another address, and one that is told again, begin with a clean sheet.
    public mutating func apply(_ changes: WebhookChanges, at now: Timestamp) {
        if let url = changes.url, url != self.url {
            self.url = url
            forgetFailures()
        }
        topics = changes.topics ?? topics
        if let secret = changes.secret, secret != self.secret {
            oldSecret = (self.secret, now.adding(milliseconds: Self.overlapMilliseconds))
            self.secret = secret
        }
        switch changes.isEnabled {
        case true? where disabled != nil:
            disabled = nil
            forgetFailures()
        case false? where !isDisabledByClient: disabled = (now, Self.disabledByClient)
        default: break
        }
    }

    /// Forgets what failed, so that the next message is sent at once.
    mutating func forgetFailures() {
        (failures, failingSince, retryAt) = (0, nil, Timestamp(milliseconds: 0))
    }
}
