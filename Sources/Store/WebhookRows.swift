import Foundation
import GRDB
import Jobs
import Threads

/// Reading and writing the two tables.
enum WebhookRows {
    static func blob(_ bytes: [UInt8]) -> Data { Data(bytes) }

    static func text(_ topics: [WebhookTopic]) -> String { topics.map(\.rawValue).joined(separator: ",") }

    static func required(_ db: Database, _ id: WebhookID) throws -> Webhook {
        guard let webhook = try webhook(db, id) else { throw JobError.webhookNotFound(id) }
        return webhook
    }

    static func webhook(_ db: Database, _ id: WebhookID) throws -> Webhook? {
        try Row.fetchOne(
            db.cachedStatement(sql: "SELECT * FROM webhook WHERE id = ?"), arguments: [id.rawValue]
        ).map(webhook)
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
        if let old = row["old_secret"] as Data?, let until = row["old_secret_until"] as Int64? {
            webhook.oldSecret = (Array(old), JobRows.time(until))
        }
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
        delivery.isKept = (row["byte_count"] as Int) > 0
        delivery.state = WebhookDelivery.State(rawValue: row["state"]) ?? .failed
        delivery.attempts = row["attempts"]
        delivery.nextAt = (row["next_at"] as Int64?).map(JobRows.time)
        delivery.lastAt = (row["last_at"] as Int64?).map(JobRows.time)
        delivery.status = row["status"]
        delivery.error = row["error"]
        return delivery
    }

    static func delivery(
        _ db: Database, _ id: DeliveryID, of webhook: WebhookID
    ) throws -> WebhookDelivery? {
        try Row.fetchOne(
            db.cachedStatement(sql: "SELECT * FROM webhook_delivery WHERE webhook_id = ? AND id = ?"),
            arguments: [webhook.rawValue, id.rawValue]
        ).map(delivery)
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
                INSERT INTO webhook_delivery(
                    webhook_id, id, type, job_id, created_at, next_at, byte_count, body)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                delivery.webhookID.rawValue, delivery.id.rawValue, delivery.type, delivery.jobID?.rawValue,
                delivery.createdAt.milliseconds, delivery.nextAt?.milliseconds,
                delivery.body?.utf8.count ?? 0,
                delivery.body,
            ])
    }

    /// Stores what changes of a message; what it says never does.
    static func update(_ db: Database, _ delivery: WebhookDelivery) throws {
        try db.execute(
            sql: """
                UPDATE webhook_delivery SET state = ?, attempts = ?, next_at = ?, last_at = ?, status = ?,
                    error = ?
                WHERE webhook_id = ? AND id = ?
                """,
            arguments: [
                delivery.state.rawValue, delivery.attempts, delivery.nextAt?.milliseconds,
                delivery.lastAt?.milliseconds, delivery.status, delivery.error,
                delivery.webhookID.rawValue, delivery.id.rawValue,
            ])
    }

    /// Stores what changes of a webhook; what waits for one that is disabled is given up.
    static func update(
        _ db: Database, _ database: SQLiteDatabase, _ webhook: Webhook, from before: Webhook
    ) throws {
        // What has yet to be given up must not be sent after all.
        if before.disabled != nil, webhook.disabled == nil { while try giveUpSome(db, webhook.id) {} }
        try db.execute(
            sql: """
                UPDATE webhook SET url = ?, topics = ?, secret = ?, old_secret = ?, old_secret_until = ?,
                    failures = ?, failing_since = ?, retry_at = ?, disabled_at = ?, disabled_reason = ?
                WHERE id = ?
                """,
            arguments: [
                webhook.url, text(webhook.topics), blob(webhook.secret),
                webhook.oldSecret.map { blob($0.bytes) }, webhook.oldSecret?.until.milliseconds,
                webhook.failures,
                webhook.failingSince?.milliseconds, webhook.retryAt.milliseconds,
                webhook.disabled?.at.milliseconds, webhook.disabled?.reason, webhook.id.rawValue,
            ])
        if webhook.disabled != nil { try giveUp(db, database, webhook.id) }
    }

    /// Ends what waits for a webhook that is disabled: at once if it is little, else by and by.
    static func giveUp(_ db: Database, _ database: SQLiteDatabase, _ id: WebhookID) throws {
        guard try giveUpSome(db, id) else { return }
        db.afterNextTransaction { [bell = database.discards] _ in bell.strike() }
    }

    /// Ends some of what waits for webhooks that are disabled; whether there may be more.
    static func giveUpSome(_ db: Database) throws -> Bool {
        let disabled = try String.fetchAll(
            db.cachedStatement(sql: "SELECT id FROM webhook WHERE disabled_at IS NOT NULL"))
        for id in disabled where try giveUpSome(db, JobRows.id(id)) { return true }
        return false
    }

    /// The newest first, so that what is forgotten is never brought back.
    private static func giveUpSome(_ db: Database, _ id: WebhookID) throws -> Bool {
        try db.cachedStatement(
            sql: """
                UPDATE webhook_delivery SET state = 'failed', next_at = NULL, error = coalesce(error, ?1)
                WHERE webhook_id = ?2 AND id IN (
                    SELECT id FROM webhook_delivery
                    WHERE webhook_id = ?2 AND state = 'pending' AND type <> ?3 ORDER BY id DESC LIMIT ?4)
                """
        ).execute(arguments: [
            WebhookDelivery.disabledError, id.rawValue, WebhookDelivery.testType, Discards.messagesMax,
        ])
        let count = db.changesCount
        if count > 0 { try forget(db, id) }
        return count == Discards.messagesMax
    }

    /// Forgets what is too much of what does not wait any more: whole messages, then what they said.
    static func forget(_ db: Database, _ id: WebhookID) throws {
        try db.execute(
            sql: """
                DELETE FROM webhook_delivery INDEXED BY webhook_delivery_over
                WHERE webhook_id = ?1 AND state <> 'pending' AND id <= (
                    SELECT id FROM webhook_delivery INDEXED BY webhook_delivery_over
                    WHERE webhook_id = ?1 AND state <> 'pending' ORDER BY id DESC LIMIT 1 OFFSET ?2)
                """, arguments: [id.rawValue, SQLiteWebhookRepository.rememberedMax])
        try db.execute(
            sql: """
                UPDATE webhook_delivery INDEXED BY webhook_delivery_over SET byte_count = 0, body = NULL
                WHERE webhook_id = ?1 AND state <> 'pending' AND byte_count > 0 AND id <= (
                    SELECT id FROM (
                        SELECT id, sum(byte_count) OVER (ORDER BY id DESC) AS total
                        FROM webhook_delivery INDEXED BY webhook_delivery_over
                        WHERE webhook_id = ?1 AND state <> 'pending')
                    WHERE total > ?2 ORDER BY id DESC LIMIT 1)
                """, arguments: [id.rawValue, SQLiteWebhookRepository.rememberedByteCountMax])
    }
}

extension WebhookDelivery {
    /// Why a message was given up.
    fileprivate static let disabledError = "the webhook was disabled"

    /// The message as clients may see it: what waits for a webhook that is disabled is being given up.
    func shown(of webhook: Webhook) -> WebhookDelivery {
        guard webhook.disabled != nil, state == .pending, !isTest else { return self }
        var shown = self
        (shown.state, shown.nextAt, shown.error) = (.failed, nil, error ?? Self.disabledError)
        return shown
    }
}
