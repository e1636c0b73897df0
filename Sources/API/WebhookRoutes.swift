import HTTP
import JSON
public import Jobs

/// Whom to tell of jobs, and what became of the messages.
struct WebhookRoutes: Sendable {
    let webhooks: WebhookService
    let hub: ChangeHub

    /// An attempt takes less; a client that waits for longer looks itself.
    private static let testSeconds = 15.0

    private static let url = Field.string(
        "url", lengthMax: 2048, "Where messages are sent: http or https, on a host that the operator allowed."
    )
    private static let events = Field.values(
        "events", default: defaults.map { .string($0.rawValue) }, count: 1...WebhookTopic.allCases.count,
        element: ["type": "string", "enum": .array(WebhookTopic.allCases.map { .string($0.rawValue) })],
        "What it is told of.")
    private static let secret = Field.optionalString(
        "secret", lengthMax: 200,
        "What signs the messages: `whsec_` and 24 to 64 bytes in base64; drawn without.")
    private static let schema = ObjectSchema(
        "webhook", "Whom to tell of jobs.", fields: [url, events, secret])
    private static let defaults: [WebhookTopic] = [.succeeded, .failed, .cancelled, .gateFailed]

    private static let path = PathField(
        name: "id", documentation: "The webhook's id.", shape: .identifier(WebhookSubject.prefix))

    var operations: [Operation] { keeping + sending }

    private var keeping: [Operation] {
        [
            Operation(
                "listWebhooks", "All webhooks, newest first, without their secrets.", .webhooks,
                Route(.get, "/v1/webhooks", access: .requires(.admin), query: [], handler: list),
                answers: [.json("All of them.", .webhookPage)]),
            Operation(
                "createWebhook", "Tells an address of jobs from now on.", .webhooks,
                Route(.post, "/v1/webhooks", access: .requires(.admin), query: [], handler: create),
                body: RequestBody(Self.schema, isRequired: true),
                answers: [
                    .json(
                        "The webhook, with its secret, which is not shown again.", .newWebhook,
                        status: .created, headers: [("Location", "The path of the webhook.")])
                ], refusals: [.conflict, .insufficientStorage]),
            Operation(
                "getWebhook", "One webhook, without its secret.", .webhooks,
                Route(.get, "/v1/webhooks/{id}", access: .requires(.admin), query: [], handler: show),
                path: [Self.path], answers: [.json("The webhook.", .webhook)]),
            Operation(
                "deleteWebhook", "Deletes a webhook, with what was not sent yet.", .webhooks,
                Route(.delete, "/v1/webhooks/{id}", access: .requires(.admin), query: [], handler: delete),
                path: [Self.path], answers: [Answer(.noContent, "It is gone.")],
                refusals: [.insufficientStorage]),
        ]
    }

    private var sending: [Operation] { [testing, listing] }

    private var testing: Operation {
        let sent = Answer.json("It was sent; `state` says whether it arrived.", .webhookDelivery)
        let waiting = Answer.json("It waits to be sent.", .webhookDelivery, status: .accepted)
        let route = Route(
            .post, "/v1/webhooks/{id}/test", access: .requires(.admin), query: [],
            reply: { request in try test(request) })
        return Operation(
            "testWebhook", "Sends a message that tells of nothing, once, and says what came of it.",
            .webhooks, route, path: [Self.path], body: RequestBody(Request.emptySchema),
            answers: [sent, waiting], refusals: [.insufficientStorage])
    }

    private var listing: Operation {
        let route = Route(
            .get, "/v1/webhooks/{id}/deliveries", access: .requires(.admin),
            query: [PageField.limit, PageField.after(DeliverySubject.prefix)],
            handler: deliveries)
        return Operation(
            "listDeliveries", "What waits to be sent to a webhook, and the last hundred that were sent.",
            .webhooks, route, path: [Self.path],
            answers: [.json("The page, newest first.", .webhookDeliveryPage)])
    }

    /// All webhooks.
    private func list(_ request: Request) throws -> Response {
        let all = try Problem.translating { () throws(JobError) in try webhooks.webhooks() }
        return .json(Page(items: all, nextCursor: nil).json { $0.json })
    }

    /// Makes a webhook; 403 `webhooks_disabled`, 409 `webhook_limit`, 422 `host_not_allowed`.
    private func create(_ request: Request) throws -> Response {
        guard webhooks.isAllowed else { throw Problem(JobError.webhooksDisabled) }
        let log = ViolationLog()
        var reader = ObjectReader(try request.json(), as: Self.schema, at: "", log: log)
        let url = reader.read(Self.url)
        let topics = Self.topics(reader.read(Self.events), log)
        let secret = reader.read(Self.secret).flatMap { WebhookSecret.bytes(of: $0, log) }
        reader.finish()
        try log.throwIfAny()
        let webhook = try Problem.translating { () throws(JobError) in
            try webhooks.add(url: url, topics: topics, secret: secret)
        }
        var document = webhook.json.objectValue ?? [:]
        document["secret"] = .string(WebhookSecret.text(of: webhook.secret))
        return .json(
            .object(document), status: .created, headers: ["Location": "/v1/webhooks/\(webhook.id)"])
    }

    private static func topics(_ values: [JSONValue], _ log: ViolationLog) -> [WebhookTopic] {
        var topics: Set<WebhookTopic> = []
        for (index, value) in values.enumerated() {
            if let topic = value.stringValue.flatMap(WebhookTopic.init(rawValue:)) {
                topics.insert(topic)
            } else {
                let known = WebhookTopic.allCases.map(\.rawValue).joined(separator: ", ")
                log.add("/events/\(index)", "invalid_value", "expected one of \(known)")
            }
        }
        return WebhookTopic.allCases.filter(topics.contains)
    }

    /// One webhook; 404 `webhook_not_found`.
    private func show(_ request: Request) throws -> Response {
        let id = try request.webhookID()
        return .json(try Problem.translating { () throws(JobError) in try webhooks.webhook(id) }.json)
    }

    /// Deletes a webhook.
    private func delete(_ request: Request) throws -> Response {
        let id = try request.webhookID()
        try Problem.translating { () throws(JobError) in try webhooks.delete(id) }
        return Response(.noContent)
    }

    /// Sends a message that tells of nothing, and answers when it was sent.
    private func test(_ request: Request) throws -> Reply {
        try request.refuseMembers()
        let id = try request.webhookID()
        let sent = try Problem.translating { () throws(JobError) in try webhooks.test(id) }
        return .later(
            Wait(
                seconds: Self.testSeconds, subscribe: { [hub] wake in hub.onChange(of: .webhook(id), wake) }
            ) { isLast in
                let delivery = try Problem.translating { () throws(JobError) in
                    try webhooks.delivery(sent.id, of: id)
                }
                guard isLast || delivery.state != .pending else { return nil }
                return .json(delivery.json, status: delivery.state == .pending ? .accepted : .ok)
            })
    }

    /// What waits to be sent, and what was.
    private func deliveries(_ request: Request) throws -> Response {
        let id = try request.webhookID()
        let page = try Problem.translating { () throws(JobError) in
            try webhooks.deliveries(of: id, request.query.page)
        }
        return .json(page.json { $0.json })
    }
}

extension Webhook {
    /// The webhook as clients see it, without its secret.
    fileprivate var json: JSONValue {
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
    fileprivate var json: JSONValue {
        // A test waits at no time of its own.
        let next = nextAt.map { max($0, createdAt).seconds }
        return [
            "id": .string(id.rawValue), "object": "webhook_delivery", "type": .string(type),
            "job_id": JSONValue(jobID?.rawValue), "created_at": .number(createdAt.seconds),
            "state": .string(state.rawValue), "attempts": JSONValue(attempts),
            "next_attempt_at": JSONValue(next), "last_attempt_at": JSONValue(lastAt?.seconds),
            "response_status": JSONValue(status), "error": JSONValue(error),
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
