import HTTP
import JSON
import Jobs

/// Whom to tell of jobs.
struct WebhookRoutes: Sendable {
    let webhooks: WebhookService

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

    private static let newURL = Field.optionalString(
        "url", lengthMax: 2048, "Where messages are sent from now on, those that wait included.")
    private static let isEnabled = Field.bool(
        "is_enabled", default: true, "Whether it is told at all; what waits is given up where it is not.")
    private static let changesSchema = ObjectSchema(
        "webhook_changes", "What may be changed of a webhook.", fields: [newURL, events, secret, isEnabled])

    var operations: [Operation] {
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
                path: [.webhook], answers: [.json("The webhook.", .webhook)]),
            Operation(
                "updateWebhook", "Changes a webhook; what is not sent stays.", .webhooks,
                Route(.patch, "/v1/webhooks/{id}", access: .requires(.admin), query: [], handler: update),
                path: [.webhook], body: RequestBody(Self.changesSchema, isRequired: true).forChanges(),
                answers: [.json("The webhook as it is now, without its secret.", .webhook)],
                refusals: [.insufficientStorage]),
            Operation(
                "deleteWebhook", "Deletes a webhook, with what was not sent yet.", .webhooks,
                Route(.delete, "/v1/webhooks/{id}", access: .requires(.admin), query: [], handler: delete),
                path: [.webhook], answers: [Answer(.noContent, "It is gone.")],
                refusals: [.insufficientStorage]),
        ]
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

    /// Changes a webhook; 403 `webhooks_disabled`, 422 `host_not_allowed`.
    private func update(_ request: Request) throws -> Response {
        guard webhooks.isAllowed else { throw Problem(JobError.webhooksDisabled) }
        let id = try request.webhookID()
        let log = ViolationLog()
        var reader = ObjectReader(try request.json(), as: Self.changesSchema, at: "", log: log)
        var changes = WebhookChanges()
        let (events, isEnabled) = (reader.read(Self.events), reader.read(Self.isEnabled))
        changes.url = reader.read(Self.newURL)
        changes.secret = reader.read(Self.secret).flatMap { WebhookSecret.bytes(of: $0, log) }
        if reader.contains("events") { changes.topics = Self.topics(events, log) }
        if reader.contains("is_enabled") { changes.isEnabled = isEnabled }
        reader.finish()
        try log.throwIfAny()
        let webhook = try Problem.translating { () throws(JobError) in try webhooks.update(id, changes) }
        return .json(webhook.json)
    }

    /// Deletes a webhook.
    private func delete(_ request: Request) throws -> Response {
        let id = try request.webhookID()
        try Problem.translating { () throws(JobError) in try webhooks.delete(id) }
        return Response(.noContent)
    }
}
