import API
import HTTP
import Jobs
import Synchronization

/// Where webhooks are sent to in tests, and where the level of the log is kept.
final class Bench: WebhookSender, LogLevelControl {
    private let answers = Mutex<[WebhookAnswer]>([])
    private let sent = Mutex<[WebhookDelivery]>([])
    private let kept = Mutex(LogLevel.info)
    let outlet = WebhookOutlet { $0.notices }

    /// What was sent so far.
    ///
    /// Copied under the lock: ThreadSanitizer does not see that the next `send` waits, by the count of
    /// references, until an array that both have is read.
    var deliveries: [WebhookDelivery] { sent.withLock { $0.map(\.self) } }

    /// Answers so, one after the other; with 204 when none is left.
    func answer(_ new: WebhookAnswer...) { answers.withLock { $0 += new } }

    func fault(of url: String) -> (code: String, detail: String)? {
        url.hasPrefix("https://known.example/") ? nil : ("host_not_allowed", "it is not known")
    }

    func send(_ delivery: WebhookDelivery, to webhook: Webhook, at now: Timestamp) -> WebhookAnswer {
        sent.withLock { $0.append(delivery) }
        return answers.withLock { $0.isEmpty ? .status(204) : $0.removeFirst() }
    }

    var level: LogLevel { kept.withLock { $0 } }
    func set(_ level: LogLevel) { kept.withLock { $0 = level } }
}
