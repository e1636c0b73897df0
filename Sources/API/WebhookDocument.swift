import JSON
public import Jobs

extension Webhook {
    /// The webhook as clients see it, without its secret.
    var json: JSONValue {
        [
            "id": .string(id.rawValue), "object": "webhook", "url": .string(url),
            "events": .array(topics.map { .string($0.rawValue) }), "created_at": .number(createdAt.seconds),
            "is_enabled": .bool(disabled == nil), "disabled_at": JSONValue(disabled?.at.seconds),
            "disabled_reason": JSONValue(disabled?.reason), "failures": JSONValue(failures),
            "failing_since": JSONValue(failingSince?.seconds),
        ]
    }
}

extension WebhookDelivery {
    /// The message as clients see it.
    var json: JSONValue {
        // What somebody waits for waits at no time of its own.
        let next = nextAt.map { max($0, createdAt).seconds }
        return [
            "id": .string(id.rawValue), "object": "webhook_delivery", "type": .string(type),
            "job_id": JSONValue(jobID?.rawValue), "created_at": .number(createdAt.seconds),
            "state": .string(state.rawValue), "attempts": JSONValue(attempts),
            "next_attempt_at": JSONValue(next), "last_attempt_at": JSONValue(lastAt?.seconds),
            "response_status": JSONValue(status), "error": JSONValue(error),
            "can_redeliver": .bool(isKept),
        ]
    }
}

extension Job {
    /// What webhooks are told of the job's state.
    public var notices: [WebhookNotice] {
        let topic: WebhookTopic? =
            switch state {
            case .queued: .queued
            case .running: .running
            case .paused: .paused
            case .succeeded: .succeeded
            case .failed: .failed
            case .cancelled: .cancelled
            case .pausing, .cancelling: nil
            }
        guard let topic else { return [] }
        var topics = [topic]
        if Verdict(self).outcome == .gateFailed { topics.append(.gateFailed) }
        let data = document
        return topics.map { WebhookNotice($0, data) }
    }
}
