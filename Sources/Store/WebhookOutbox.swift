import GRDB
import Jobs
import Threads

/// What webhooks are told as jobs change.
enum WebhookOutbox {
    /// A webhook for which more messages wait, or more bytes of them, is disabled.
    static let pendingMax = 10_000, pendingByteCountMax = 64 << 20

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
            try limit(db, database, webhook.id, now)
        }
        db.afterNextTransaction { [bell = database.outlet.bell] _ in bell.strike() }
    }

    private static func limit(
        _ db: Database, _ database: SQLiteDatabase, _ id: WebhookID, _ now: Timestamp
    ) throws {
        let waiting = try Row.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT count(*) AS messages, coalesce(sum(byte_count), 0) AS bytes
                    FROM webhook_delivery INDEXED BY webhook_delivery_due
                    WHERE webhook_id = ? AND state = 'pending'
                    """), arguments: [id.rawValue])
        guard let waiting, waiting["messages"] > pendingMax || waiting["bytes"] > pendingByteCountMax else {
            return
        }
        try db.execute(
            sql: "UPDATE webhook SET disabled_at = ?, disabled_reason = ? WHERE id = ?",
            arguments: [
                now.milliseconds,
                "More than \(pendingMax) messages waited, or more than \(pendingByteCountMax) bytes of them.",
                id.rawValue,
            ])
        try WebhookRows.giveUp(db, database, id)
    }
}
