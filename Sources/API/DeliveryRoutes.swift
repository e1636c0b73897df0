import HTTP
import JSON
import Jobs

/// What webhooks are told: looking at messages, and having them sent.
struct DeliveryRoutes: Sendable {
    let webhooks: WebhookService
    let hub: ChangeHub

    /// An attempt takes less; a client that waits for longer looks itself.
    private static let seconds = 15.0
    private static let name = PathField(
        name: "delivery", documentation: "The message's id.", shape: .identifier(DeliverySubject.prefix))
    private static let waiting = Answer.json("It waits to be sent.", .webhookDelivery, status: .accepted)

    var operations: [Operation] {
        [
            Operation(
                "testWebhook", "Sends a message that tells of nothing, once, and says what came of it.",
                .webhooks,
                Route(
                    .post, "/v1/webhooks/{id}/test", access: .requires(.admin), query: [],
                    reply: { request in try test(request) }),
                path: [.webhook], body: RequestBody(Request.emptySchema),
                answers: [
                    .json("It was sent; `state` says whether it arrived.", .webhookDelivery), Self.waiting,
                ], refusals: [.insufficientStorage]),
            Operation(
                "listDeliveries", "What waits to be sent to a webhook, and the last hundred that were sent.",
                .webhooks,
                Route(
                    .get, "/v1/webhooks/{id}/deliveries", access: .requires(.admin),
                    query: [PageField.limit, PageField.after(DeliverySubject.prefix)], handler: list),
                path: [.webhook], answers: [.json("The page, newest first.", .webhookDeliveryPage)]),
            Operation(
                "getDelivery", "One message to a webhook, with what it says.", .webhooks,
                Route(
                    .get, "/v1/webhooks/{id}/deliveries/{delivery}", access: .requires(.admin), query: [],
                    handler: show),
                path: [.webhook, Self.name], answers: [.json("The message.", .webhookDeliveryDetail)]),
            Operation(
                "redeliver", "Sends a message at once, with the same id and bytes, and says what came of it.",
                .webhooks,
                Route(
                    .post, "/v1/webhooks/{id}/deliveries/{delivery}/redeliver", access: .requires(.admin),
                    query: [], reply: { request in try redeliver(request) }),
                path: [.webhook, Self.name], body: RequestBody(Request.emptySchema),
                answers: [
                    .json("It was sent; `state` says whether it arrived.", .webhookDelivery), Self.waiting,
                ], refusals: [.conflict, .insufficientStorage]),
        ]
    }

    /// Sends a message that tells of nothing, and answers when it was sent.
    private func test(_ request: Request) throws -> Reply {
        try request.refuseMembers()
        let id = try request.webhookID()
        let sent = try Problem.translating { () throws(JobError) in try webhooks.test(id) }
        return outcome(of: sent)
    }

    /// Sends a message once more, or before its time; 409 `webhook_disabled` and `delivery_forgotten`.
    private func redeliver(_ request: Request) throws -> Reply {
        try request.refuseMembers()
        let (id, delivery) = (try request.webhookID(), try request.deliveryID())
        let sent = try Problem.translating { () throws(JobError) in
            try webhooks.redeliver(delivery, of: id)
        }
        return outcome(of: sent)
    }

    /// An answer when the next attempt at a message has ended.
    private func outcome(of sent: WebhookDelivery) -> Reply {
        .later(
            Wait(
                seconds: Self.seconds,
                subscribe: { [hub] wake in hub.onChange(of: .webhook(sent.webhookID), wake) }
            ) { isLast in
                let delivery = try Problem.translating { () throws(JobError) in
                    try webhooks.delivery(sent.id, of: sent.webhookID)
                }
                let isSent = delivery.attempts > sent.attempts || delivery.state != .pending
                guard isLast || isSent else { return nil }
                return .json(delivery.json, status: isSent ? .ok : .accepted)
            })
    }

    /// What waits to be sent, and what was.
    private func list(_ request: Request) throws -> Response {
        let id = try request.webhookID()
        let page = try Problem.translating { () throws(JobError) in
            try webhooks.deliveries(of: id, request.query.page)
        }
        return .json(page.json { $0.json })
    }

    /// One message; 404 `delivery_not_found`.
    private func show(_ request: Request) throws -> Response {
        let (id, name) = (try request.webhookID(), try request.deliveryID())
        let delivery = try Problem.translating { () throws(JobError) in try webhooks.delivery(name, of: id) }
        var document = delivery.json.objectValue ?? [:]
        document["message"] = delivery.body.flatMap { try? JSONValue(parsing: $0) } ?? .null
        return .json(.object(document))
    }
}
