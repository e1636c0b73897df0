import GRDB
public import Jobs
import Threads

/// The webhooks and what they are told, kept in `webhook` and `webhook_delivery`.
public struct SQLiteWebhookRepository: WebhookRepository {
    /// How many messages that do not wait any more are remembered of each webhook.
    static let rememberedMax = 100
    /// And of the newest of them as much of what they said: enough for hundreds of jobs.
    static let rememberedByteCountMax = 4 << 20

    let database: SQLiteDatabase

    /// Reads and writes webhooks in `database`.
    public init(_ database: SQLiteDatabase) { self.database = database }

    /// Stores a webhook.
    public func add(_ webhook: Webhook, limit: Int) throws(JobError) {
        try database.write { db in
            let count = try Int.fetchOne(db, sql: "SELECT count(*) FROM webhook") ?? 0
            guard count < limit else { throw JobError.webhooksFull(limit: limit) }
            try db.execute(
                sql: "INSERT INTO webhook(id, url, topics, secret, created_at) VALUES (?, ?, ?, ?, ?)",
                arguments: [
                    webhook.id.rawValue, webhook.url,
                    WebhookRows.text(webhook.topics), WebhookRows.blob(webhook.secret),
                    webhook.createdAt.milliseconds,
                ])
        }
    }

    /// All webhooks, newest first.
    public func webhooks() throws(JobError) -> [Webhook] {
        try database.read { db in
            try Row.fetchAll(db, sql: "SELECT * FROM webhook ORDER BY id DESC").map(WebhookRows.webhook)
        }
    }

    /// One webhook.
    public func webhook(_ id: WebhookID) throws(JobError) -> Webhook {
        try database.read { try WebhookRows.required($0, id) }
    }

    /// Changes a webhook; what waits for one that is disabled is given up.
    public func update(
        _ id: WebhookID, _ changes: WebhookChanges, at now: Timestamp
    ) throws(JobError) -> Webhook {
        try database.write { db in
            let before = try WebhookRows.required(db, id)
            var webhook = before
            webhook.apply(changes, at: now)
            try WebhookRows.update(db, database, webhook, from: before)
            return webhook
        }
    }

    /// Deletes a webhook; its messages go with it for whoever looks, and from the disk by and by.
    public func deleteWebhook(_ id: WebhookID) throws(JobError) {
        try database.write { db in
            try db.execute(sql: "DELETE FROM webhook WHERE id = ?", arguments: [id.rawValue])
            guard db.changesCount == 1 else { throw JobError.webhookNotFound(id) }
            try Discards.add(db, database, id.rawValue)
        }
    }

    /// How many messages of one type that no change of a job caused may wait.
    private static let waitingMax = 10

    /// Stores a message that no change of a job caused.
    public func add(_ delivery: WebhookDelivery) throws(JobError) {
        try database.write { db in
            let id = delivery.webhookID
            _ = try WebhookRows.required(db, id)
            let waiting = try Int.fetchOne(
                db,
                sql: """
                    SELECT count(*) FROM webhook_delivery INDEXED BY webhook_delivery_due
                    WHERE webhook_id = ? AND state = 'pending' AND type = ?
                    """, arguments: [id.rawValue, delivery.type])
            guard waiting ?? 0 < Self.waitingMax else {
                throw JobError.messagesWaiting(id, limit: Self.waitingMax)
            }
            try WebhookRows.insert(db, delivery)
        }
    }

    /// One message.
    public func delivery(_ id: DeliveryID, of webhook: WebhookID) throws(JobError) -> WebhookDelivery {
        try database.read { db in
            let owner = try WebhookRows.required(db, webhook)
            guard let found = try WebhookRows.delivery(db, id, of: webhook) else {
                throw JobError.deliveryNotFound(id)
            }
            return found.shown(of: owner)
        }
    }

    /// Has a message sent at once.
    public func redeliver(_ id: DeliveryID, of webhook: WebhookID) throws(JobError) -> WebhookDelivery {
        try database.write { db in
            let owner = try WebhookRows.required(db, webhook)
            guard var delivery = try WebhookRows.delivery(db, id, of: webhook) else {
                throw JobError.deliveryNotFound(id)
            }
            guard owner.disabled == nil || delivery.isTest else { throw JobError.webhookDisabled(webhook) }
            guard delivery.body != nil else { throw JobError.deliveryForgotten(id) }
            (delivery.state, delivery.nextAt) = (.pending, WebhookDelivery.atOnce)
            try WebhookRows.update(db, delivery)
            return delivery
        }
    }

    /// One page of a webhook's messages, newest first.
    public func deliveries(
        of id: WebhookID, _ page: PageRequest
    ) throws(JobError) -> Page<WebhookDelivery> {
        var bound: DeliveryID?
        if let cursor = page.after {
            guard let id = DeliveryID(cursor) else { throw .invalidCursor }
            bound = id
        }
        // `~` sorts after every identifier.
        let after = bound?.rawValue ?? "~"
        let found = try database.read { db in
            let owner = try WebhookRows.required(db, id)
            return try Row.fetchAll(
                db,
                sql: """
                    SELECT webhook_id, id, type, job_id, created_at, state, attempts, next_at, last_at,
                        status, error, byte_count, NULL AS body
                    FROM webhook_delivery WHERE webhook_id = ? AND id < ? ORDER BY id DESC LIMIT ?
                    """, arguments: [id.rawValue, after, page.limit + 1]
            ).map { try WebhookRows.delivery($0).shown(of: owner) }
        }
        let items = Array(found.prefix(page.limit))
        return Page(items: items, nextCursor: found.count > items.count ? items.last?.id.rawValue : nil)
    }

    /// What is to be sent now; of each webhook its first message decides, tests before all others.
    public func nextDelivery(at now: Timestamp, except busy: Set<WebhookID>) throws(JobError) -> WebhookWork {
        // A time this far away was written while the clock was wrong.
        let horizon = now.adding(milliseconds: 2 * WebhookSettlement.backOffMillisecondsMax)
        return try database.read { db in
            var soonest: (at: Timestamp, delivery: WebhookDelivery, webhook: Webhook)?
            for row in try Row.fetchAll(db.cachedStatement(sql: "SELECT * FROM webhook")) {
                let webhook = try WebhookRows.webhook(row)
                guard !busy.contains(webhook.id), let head = try WebhookRows.head(db, webhook.id),
                    let nextAt = head.nextAt, head.isTest || webhook.disabled == nil
                else { continue }
                var at = head.isUrgent ? nextAt : max(nextAt, webhook.retryAt)
                if at > horizon { at = now }
                if soonest.map({ at < $0.at }) ?? true { soonest = (at, head, webhook) }
            }
            guard let soonest, soonest.at <= now else { return .none(until: soonest?.at) }
            return .due(soonest.delivery, to: soonest.webhook)
        }
    }

    /// Stores how an attempt ended.
    public func settle(
        _ attempt: WebhookAttempt, at now: Timestamp, jitter: Double
    ) throws(JobError) -> WebhookSettlement? {
        try database.write { db in
            guard let webhook = try WebhookRows.webhook(db, attempt.webhookID),
                let delivery = try WebhookRows.delivery(db, attempt.deliveryID, of: attempt.webhookID)
            else { return nil }
            let settlement = WebhookSettlement(of: attempt, delivery, to: webhook, at: now, jitter: jitter)
            try WebhookRows.update(db, settlement.delivery)
            try WebhookRows.update(db, database, settlement.webhook, from: webhook)
            try WebhookRows.forget(db, webhook.id)
            return settlement
        }
    }

    /// How many messages wait.
    public func pendingCount() throws(JobError) -> Int {
        try database.read { db in
            try Int.fetchOne(
                db,
                sql: """
                    SELECT count(*) FROM webhook_delivery INDEXED BY webhook_delivery_due
                    WHERE state = 'pending' AND webhook_id IN (SELECT id FROM webhook)
                    """) ?? 0
        }
    }
}
