import Foundation
import GRDB
public import Jobs
import Threads

/// The webhooks and what they are told, kept in `webhook` and `webhook_delivery`.
public struct SQLiteWebhookRepository: WebhookRepository {
    /// How many messages that were sent are remembered of each webhook.
    static let rememberedMax = 100

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
                    webhook.topics.map(\.rawValue).joined(separator: ","), WebhookRows.blob(webhook.secret),
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

    /// Deletes a webhook with its messages.
    public func deleteWebhook(_ id: WebhookID) throws(JobError) {
        try database.write { db in
            try db.execute(sql: "DELETE FROM webhook WHERE id = ?", arguments: [id.rawValue])
            guard db.changesCount == 1 else { throw JobError.webhookNotFound(id) }
        }
    }

    /// Stores a message that no change of a job caused.
    public func add(_ delivery: WebhookDelivery) throws(JobError) {
        try database.write { db in
            _ = try WebhookRows.required(db, delivery.webhookID)
            try WebhookRows.insert(db, delivery)
        }
    }

    /// One message.
    public func delivery(_ id: DeliveryID, of webhook: WebhookID) throws(JobError) -> WebhookDelivery {
        try database.read { db in
            let row = try Row.fetchOne(
                db, sql: "SELECT * FROM webhook_delivery WHERE webhook_id = ? AND id = ?",
                arguments: [webhook.rawValue, id.rawValue])
            guard let row else { throw JobError.webhookNotFound(webhook) }
            return try WebhookRows.delivery(row)
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
            _ = try WebhookRows.required(db, id)
            return try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM webhook_delivery WHERE webhook_id = ? AND id < ? ORDER BY id DESC LIMIT ?
                    """, arguments: [id.rawValue, after, page.limit + 1]
            ).map(WebhookRows.delivery)
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
                var at = head.isTest ? nextAt : max(nextAt, webhook.retryAt)
                if at > horizon { at = now }
                if soonest.map({ at < $0.at }) ?? true { soonest = (at, head, webhook) }
            }
            guard let soonest, soonest.at <= now else { return .none(until: soonest?.at) }
            return .due(soonest.delivery, to: soonest.webhook)
        }
    }

    /// Stores how an attempt ended.
    public func settle(_ settlement: WebhookSettlement) throws(JobError) {
        let (delivery, webhook) = (settlement.delivery, settlement.webhook)
        try database.write { db in
            try db.execute(
                sql: """
                    UPDATE webhook_delivery SET body = ?, state = ?, attempts = ?, next_at = ?, last_at = ?,
                        status = ?, error = ? WHERE webhook_id = ? AND id = ?
                    """,
                arguments: [
                    delivery.body, delivery.state.rawValue, delivery.attempts, delivery.nextAt?.milliseconds,
                    delivery.lastAt?.milliseconds, delivery.status, delivery.error, webhook.id.rawValue,
                    delivery.id.rawValue,
                ])
            try db.execute(
                sql: """
                    UPDATE webhook SET failures = ?, failing_since = ?, retry_at = ?, disabled_at = ?,
                        disabled_reason = ? WHERE id = ?
                    """,
                arguments: [
                    webhook.failures, webhook.failingSince?.milliseconds, webhook.retryAt.milliseconds,
                    webhook.disabled?.at.milliseconds, webhook.disabled?.reason, webhook.id.rawValue,
                ])
            if webhook.disabled != nil { try WebhookRows.giveUp(db, webhook.id) }
            try db.execute(
                sql: """
                    DELETE FROM webhook_delivery WHERE webhook_id = ?1 AND state <> 'pending' AND id < (
                        SELECT id FROM webhook_delivery WHERE webhook_id = ?1 AND state <> 'pending'
                        ORDER BY id DESC LIMIT 1 OFFSET ?2)
                    """, arguments: [webhook.id.rawValue, Self.rememberedMax - 1])
        }
    }

    /// How many messages wait.
    public func pendingCount() throws(JobError) -> Int {
        try database.read { db in
            try Int.fetchOne(
                db,
                sql: """
                    SELECT count(*) FROM webhook_delivery INDEXED BY webhook_delivery_due
                    WHERE state = 'pending'
                    """) ?? 0
        }
    }
}

/// Reading and writing the two tables.
enum WebhookRows {
    static func blob(_ bytes: [UInt8]) -> Data { Data(bytes) }

    static func required(_ db: Database, _ id: WebhookID) throws -> Webhook {
        let row = try Row.fetchOne(
            db, sql: "SELECT * FROM webhook WHERE id = ?", arguments: [id.rawValue])
        guard let row else { throw JobError.webhookNotFound(id) }
        return try webhook(row)
    }

    static func webhook(_ row: Row) throws -> Webhook {
        let topics: String = row["topics"]
        let secret: Data = row["secret"]
        var webhook = Webhook(
            id: try JobRows.id(row["id"]), url: row["url"],
            topics: topics.split(separator: ",").compactMap { WebhookTopic(rawValue: String($0)) },
            secret: Array(secret), createdAt: JobRows.time(row["created_at"]))
        webhook.failures = row["failures"]
        webhook.failingSince = (row["failing_since"] as Int64?).map(JobRows.time)
        webhook.retryAt = JobRows.time(row["retry_at"])
        if let at = row["disabled_at"] as Int64?, let reason = row["disabled_reason"] as String? {
            webhook.disabled = (JobRows.time(at), reason)
        }
        return webhook
    }

    static func delivery(_ row: Row) throws -> WebhookDelivery {
        var delivery = WebhookDelivery(
            stored: try JobRows.id(row["id"]), to: try JobRows.id(row["webhook_id"]), type: row["type"],
            jobID: (row["job_id"] as String?).flatMap { JobID($0) }, at: JobRows.time(row["created_at"]))
        delivery.body = row["body"]
        delivery.state = WebhookDelivery.State(rawValue: row["state"]) ?? .failed
        delivery.attempts = row["attempts"]
        delivery.nextAt = (row["next_at"] as Int64?).map(JobRows.time)
        delivery.lastAt = (row["last_at"] as Int64?).map(JobRows.time)
        delivery.status = row["status"]
        delivery.error = row["error"]
        return delivery
    }

    /// The message that is sent next to a webhook.
    static func head(_ db: Database, _ id: WebhookID) throws -> WebhookDelivery? {
        try Row.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT * FROM webhook_delivery INDEXED BY webhook_delivery_due
                    WHERE webhook_id = ? AND state = 'pending' ORDER BY next_at, id LIMIT 1
                    """), arguments: [id.rawValue]
        ).map(delivery)
    }

    static func insert(_ db: Database, _ delivery: WebhookDelivery) throws {
        try db.execute(
            sql: """
                INSERT INTO webhook_delivery(webhook_id, id, type, job_id, created_at, body, next_at)
                VALUES (?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                delivery.webhookID.rawValue, delivery.id.rawValue, delivery.type, delivery.jobID?.rawValue,
                delivery.createdAt.milliseconds, delivery.body, delivery.nextAt?.milliseconds,
            ])
    }

    /// Ends what waits for a webhook that is disabled.
    static func giveUp(_ db: Database, _ id: WebhookID) throws {
        try db.execute(
            sql: """
                UPDATE webhook_delivery SET state = 'failed', next_at = NULL, body = NULL,
                    error = coalesce(error, 'the webhook was disabled')
                WHERE webhook_id = ? AND state = 'pending' AND type <> ?
                """, arguments: [id.rawValue, WebhookDelivery.testType])
    }
}

/// What webhooks are told as jobs change.
enum WebhookOutbox {
    /// A webhook for which so many messages wait is disabled.
    static let pendingMax = 10_000

    /// Stores what is to be told of a job's new state, in the transaction that changes it.
    static func add(_ db: Database, _ database: SQLiteDatabase, _ id: JobID, _ now: Timestamp) throws {
        let sql = "SELECT * FROM webhook WHERE disabled_at IS NULL"
        let rows = try Row.fetchAll(db.cachedStatement(sql: sql))
        guard !rows.isEmpty else { return }
        let notices = database.outlet.notices(try JobRows.required(db, id))
        for webhook in try rows.map(WebhookRows.webhook) {
            for notice in notices where webhook.topics.contains(notice.topic) {
                try WebhookRows.insert(
                    db,
                    WebhookDelivery(
                        id: database.identifiers.next(at: now), to: webhook.id, type: notice.topic.rawValue,
                        jobID: id, data: notice.data, at: now))
            }
            try limit(db, webhook.id, now)
        }
        db.afterNextTransaction { [bell = database.outlet.bell] _ in bell.strike() }
    }

    private static func limit(_ db: Database, _ id: WebhookID, _ now: Timestamp) throws {
        let count = try Int.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT count(*) FROM webhook_delivery INDEXED BY webhook_delivery_due
                    WHERE webhook_id = ? AND state = 'pending'
                    """), arguments: [id.rawValue])
        guard count ?? 0 > pendingMax else { return }
        try db.execute(
            sql: "UPDATE webhook SET disabled_at = ?, disabled_reason = ? WHERE id = ?",
            arguments: [now.milliseconds, "More than \(pendingMax) messages waited.", id.rawValue])
        try WebhookRows.giveUp(db, id)
    }
}
