import Foundation
import GRDB
import JSON
import Jobs
import Store
import Synchronization
import Testing
import Threads

/// Answers what it is told to, and remembers what it was sent.
private final class Receiver: WebhookSender {
    private let answers = Mutex<[WebhookAnswer]>([])
    private let seen = Mutex<[WebhookDelivery]>([])

    var deliveries: [WebhookDelivery] { seen.withLock { $0 } }
    func answer(_ new: [WebhookAnswer]) { answers.withLock { $0 = new } }
    func fault(of url: String) -> (code: String, detail: String)? { nil }
    func send(_ delivery: WebhookDelivery, to webhook: Webhook, at now: Timestamp) -> WebhookAnswer {
        seen.withLock { $0.append(delivery) }
        return answers.withLock { $0.isEmpty ? .status(200) : $0.removeFirst() }
    }
}

@Suite("Webhooks") struct WebhookTests {
    private let outlet = WebhookOutlet { job in
        let topic: WebhookTopic? =
            switch job.state {
            case .queued: .queued
            case .succeeded: .succeeded
            case .failed: .failed
            case .cancelled: .cancelled
            default: nil
            }
        return topic.map { [WebhookNotice($0, ["state": .string(job.state.rawValue)])] } ?? []
    }

    private func store() throws -> TemporaryStore { try TemporaryStore(outlet: outlet) }

    private func webhook(
        _ store: TemporaryStore, _ topics: [WebhookTopic] = [.succeeded, .cancelled]
    ) throws -> Webhook {
        let webhook = Webhook(
            id: store.database.identifiers.next(at: .start), url: "https://known.example/", topics: topics,
            secret: [1, 2, 3], createdAt: .start)
        try store.webhooks.add(webhook, limit: 32)
        return webhook
    }

    private func due(_ store: TemporaryStore, at now: Timestamp) throws -> (WebhookDelivery, Webhook)? {
        guard case .due(let delivery, let webhook) = try store.webhooks.nextDelivery(at: now, except: [])
        else { return nil }
        return (delivery, webhook)
    }

    @discardableResult
    private func settle(
        _ store: TemporaryStore, _ due: (WebhookDelivery, Webhook), _ answer: WebhookAnswer, at now: Timestamp
    ) throws -> WebhookSettlement {
        let attempt = WebhookAttempt(due.0, to: due.1, answer)
        return try #require(try store.webhooks.settle(attempt, at: now, jitter: 0))
    }

    @Test("a change that a webhook wants to know of is stored with it, and no other")
    func storesMessages() throws {
        let store = try store()
        let one = try webhook(store)
        let other = try webhook(store, [.queued])
        let job = try store.submit()
        _ = try store.jobs.cancel(job.id, reason: JobReason(code: "c", message: "m"), at: .start + 5)
        try store.reopen()
        let told = try store.webhooks.deliveries(of: one.id, PageRequest()).items
        #expect(told.map(\.type) == ["job.cancelled"] && told.first?.jobID == job.id)
        let whole = try store.webhooks.delivery(#require(told.first?.id), of: one.id)
        let body = try JSONValue(parsing: Array((whole.body ?? "").utf8))
        #expect(body["id"]?.stringValue == told.first?.id.rawValue && body["type"] == "job.cancelled")
        #expect(body["timestamp"] == "2023-11-14T22:13:20.005Z" && body["data"] == ["state": "cancelled"])
        #expect(
            try store.webhooks.deliveries(of: other.id, PageRequest()).items.map(\.type) == ["job.queued"])
        #expect(try store.webhooks.pendingCount() == 2)
    }

    @Test("what fails is tried again with the same bytes, later and later, and not before")
    func retries() throws {
        let store = try store()
        _ = try webhook(store, [.queued])
        try store.submit()
        var (now, waits, bodies) = (Timestamp.start, [Int64](), Set<String?>())
        for _ in 0..<8 {
            let found = try #require(try due(store, at: now))
            bodies.insert(found.0.body)
            let settlement = try settle(store, found, .status(500), at: now)
            let next = try #require(settlement.delivery.nextAt)
            waits.append(next.milliseconds - now.milliseconds)
            #expect(try due(store, at: next + -1) == nil)
            now = next
        }
        #expect(waits == [5000, 20_000, 80_000, 320_000, 1_280_000, 3_600_000, 3_600_000, 3_600_000])
        #expect(bodies.count == 1)
        let (delivery, webhook) = try #require(try due(store, at: now))
        try settle(store, (delivery, webhook), .status(204), at: now)
        let end = try store.webhooks.delivery(delivery.id, of: webhook.id)
        #expect(end.state == .delivered && end.attempts == 9 && end.status == 204 && end.error == nil)
        #expect(try store.webhooks.webhook(webhook.id).failures == 0 && due(store, at: now + 1 << 40) == nil)
    }

    @Test("a webhook that takes nothing for three days is disabled; a test that arrives brings it back")
    func disables() throws {
        let store = try store()
        let id = try webhook(store, [.queued]).id
        try store.submit()
        var now = Timestamp.start
        while let found = try due(store, at: now) {
            let settlement = try settle(store, found, .failure("no connection"), at: now)
            if settlement.webhook.disabled != nil { break }
            now = settlement.delivery.nextAt ?? now
        }
        #expect(now.milliseconds - Timestamp.start.milliseconds >= WebhookSettlement.patienceMilliseconds)
        #expect(try store.webhooks.webhook(id).disabled?.at == now)
        #expect(try store.webhooks.pendingCount() == 0)
        try store.submit()
        #expect(try store.webhooks.pendingCount() == 0)
        let test = WebhookDelivery(
            id: store.database.identifiers.next(at: now), to: id, type: WebhookDelivery.testType, jobID: nil,
            data: .null, at: now)
        try store.webhooks.add(test)
        let found = try #require(try due(store, at: now))
        #expect(found.0.id == test.id)
        try settle(store, found, .status(200), at: now)
        #expect(try store.webhooks.webhook(id).disabled == nil)
    }

    @Test("410 Gone disables at once; redirections, silence and a failed test do not")
    func answers() throws {
        let webhook = Webhook(
            id: IdentifierGenerator().next(at: .start), url: "", topics: [], secret: [], createdAt: .start)
        func settled(_ answer: WebhookAnswer, type: String = "job.failed") -> WebhookSettlement {
            let delivery = WebhookDelivery(
                id: IdentifierGenerator().next(at: .start), to: webhook.id, type: type, jobID: nil,
                data: .null, at: .start)
            let attempt = WebhookAttempt(delivery, to: webhook, answer)
            return WebhookSettlement(of: attempt, delivery, to: webhook, at: .start, jitter: 1)
        }
        let gone = settled(.status(410))
        #expect(gone.webhook.disabled != nil && gone.delivery.state == .failed)
        let moved = settled(.status(302))
        #expect(moved.webhook.disabled == nil && moved.delivery.state == .pending)
        #expect(moved.delivery.error?.contains("not followed") == true)
        #expect(moved.delivery.nextAt == .start + 6000)
        let silent = settled(.failure("no answer"))
        #expect(silent.delivery.status == nil && silent.delivery.error == "no answer")
        let test = settled(.status(500), type: WebhookDelivery.testType)
        #expect(test.delivery.state == .failed && test.webhook == webhook)
    }

    @Test("there are at most as many as allowed, and a deleted one leaves nothing")
    func limits() throws {
        let store = try store()
        let first = try webhook(store, [.queued])
        let second = Webhook(
            id: store.database.identifiers.next(at: .start), url: "https://a.example/", topics: [.queued],
            secret: [], createdAt: .start)
        #expect(throws: JobError.webhooksFull(limit: 1)) { try store.webhooks.add(second, limit: 1) }
        try store.submit()
        try store.webhooks.deleteWebhook(first.id)
        #expect(try store.webhooks.webhooks().isEmpty && store.webhooks.pendingCount() == 0)
        #expect(throws: JobError.webhookNotFound(first.id)) { try store.webhooks.deleteWebhook(first.id) }
    }

    @Test("the last hundred messages are remembered")
    func forgets() throws {
        let store = try store()
        let id = try webhook(store, [.queued]).id
        for index in 0..<103 {
            try store.submit()
            let found = try #require(try due(store, at: .start))
            try settle(store, found, .status(index == 0 ? 200 : 204), at: .start)
        }
        let kept = try store.webhooks.deliveries(of: id, PageRequest(limit: 1000)).items
        #expect(kept.count == 100 && kept.allSatisfy { $0.status == 204 && $0.isKept })
    }

    @Test("what they said is forgotten where it is too much, and cannot be sent again")
    func forgetsBodies() throws {
        let store = try store()
        let id = try webhook(store, []).id
        let long = JSONValue.string(String(repeating: "x", count: 1 << 20))
        for _ in 0..<5 {
            try store.webhooks.add(
                WebhookDelivery(
                    id: store.database.identifiers.next(at: .start), to: id, type: "job.failed", jobID: nil,
                    data: long, at: .start))
            try settle(store, try #require(try due(store, at: .start)), .status(200), at: .start)
        }
        let kept = try store.webhooks.deliveries(of: id, PageRequest()).items
        #expect(kept.map(\.isKept) == [true, true, true, false, false])
        #expect(throws: JobError.deliveryForgotten(kept[4].id)) {
            try store.webhooks.redeliver(kept[4].id, of: id)
        }
    }

    @Test("a message is sent once more as it was, before all others, and forgotten by nobody else")
    func redelivers() throws {
        let store = try store()
        let id = try webhook(store, [.queued]).id
        try store.submit()
        let first = try #require(try due(store, at: .start))
        try settle(store, first, .status(200), at: .start)
        try store.submit()
        let second = try #require(try due(store, at: .start))
        try settle(store, second, .status(500), at: .start)
        #expect(try due(store, at: .start) == nil)
        #expect(try store.webhooks.redeliver(first.0.id, of: id).state == .pending)
        let again = try #require(try due(store, at: .start))
        #expect(again.0.id == first.0.id && again.0.body == first.0.body && again.0.attempts == 1)
        #expect(try settle(store, again, .status(500), at: .start).delivery.nextAt == .start + 20_000)
        // What waits for its time goes at once too.
        _ = try store.webhooks.redeliver(second.0.id, of: id)
        #expect(try due(store, at: .start)?.0.id == second.0.id)
        let other = try webhook(store).id
        #expect(throws: JobError.deliveryNotFound(first.0.id)) {
            try store.webhooks.redeliver(first.0.id, of: other)
        }
        #expect(throws: JobError.deliveryNotFound(first.0.id)) {
            try store.webhooks.delivery(first.0.id, of: other)
        }
    }

    @Test("few tests wait at a time")
    func limitsTests() throws {
        let store = try store()
        let id = try webhook(store, [.queued]).id
        let add = {
            try store.webhooks.add(
                WebhookDelivery(
                    id: store.database.identifiers.next(at: .start), to: id, type: WebhookDelivery.testType,
                    jobID: nil, data: [:], at: .start))
        }
        for _ in 0..<10 { try add() }
        #expect(throws: JobError.messagesWaiting(id, limit: 10)) { try add() }
    }

    @Test("what is redelivered after three days is sent once, and given up where it fails")
    func redeliversOldMessagesOnce() throws {
        let store = try store()
        let id = try webhook(store, [.queued]).id
        try store.submit()
        let sent = try #require(try due(store, at: .start))
        try settle(store, sent, .status(200), at: .start)
        _ = try store.webhooks.redeliver(sent.0.id, of: id)
        let late = Timestamp.start + WebhookSettlement.patienceMilliseconds
        let again = try #require(try due(store, at: late))
        #expect(try settle(store, again, .status(500), at: late).delivery.state == .failed)
    }

    @Test("one that a client disabled gives up what waits, and neither a test nor an old attempt enables it")
    func disablesByHand() throws {
        let store = try store()
        let id = try webhook(store, [.queued]).id
        try store.submit()
        let onItsWay = try #require(try due(store, at: .start))
        try store.submit()
        var changes = WebhookChanges()
        changes.isEnabled = false
        let disabled = try store.webhooks.update(id, changes, at: .start + 1)
        #expect(disabled.disabled?.reason == Webhook.disabledByClient)
        #expect(try store.webhooks.pendingCount() == 0)
        let settled = try settle(store, onItsWay, .status(200), at: .start + 2)
        #expect(settled.delivery.state == .delivered && settled.webhook.disabled != nil)
        try store.submit()
        #expect(try store.webhooks.pendingCount() == 0)
        #expect(throws: JobError.webhookDisabled(id)) {
            try store.webhooks.redeliver(onItsWay.0.id, of: id)
        }
        try store.webhooks.add(
            WebhookDelivery(
                id: store.database.identifiers.next(at: .start), to: id, type: WebhookDelivery.testType,
                jobID: nil, data: .null, at: .start))
        let test = try #require(try due(store, at: .start + 3))
        #expect(try settle(store, test, .status(200), at: .start + 3).webhook.disabled != nil)
        changes.isEnabled = true
        #expect(try store.webhooks.update(id, changes, at: .start + 4).disabled == nil)
        try store.submit()
        #expect(try due(store, at: .start + 5) != nil)
    }

    @Test("what waits goes to a new address at once, and what failed at the old one counts no more")
    func changesAddress() throws {
        let store = try store()
        let id = try webhook(store, [.queued]).id
        try store.submit()
        let first = try #require(try due(store, at: .start))
        #expect(try settle(store, first, .status(500), at: .start).webhook.failures == 1)
        try store.submit()
        let onItsWay = try #require(try due(store, at: .start + 5000))
        var changes = WebhookChanges()
        (changes.url, changes.topics, changes.secret) = ("https://new.example/", [.failed], [4, 5])
        let changed = try store.webhooks.update(id, changes, at: .start + 5001)
        #expect(changed.failures == 0 && changed.url == "https://new.example/")
        let settled = try settle(store, onItsWay, .status(410), at: .start + 5002)
        #expect(settled.webhook.disabled == nil && settled.webhook.failures == 0)
        #expect(settled.delivery.state == .pending && settled.delivery.nextAt == .start + 5002)
        let next = try #require(try due(store, at: .start + 5002))
        #expect(
            next.1.url == "https://new.example/" && next.1.secret == [4, 5] && next.1.topics == [.failed])
        try store.submit()
        #expect(try store.webhooks.pendingCount() == 2, "it is not told of queued jobs any more")
    }

    @Test("messages of an older schema are still sent, and what was sent is still remembered")
    func migrates() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "old-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = TemporaryStore.path(folder)
        try SQLiteDatabase(path: path, migrations: Array(TemporaryStore.migrations().prefix(6))).close()
        let (id, waiting) = ("whk_00000000000000000000000001", "dlv_00000000000000000000000002")
        let queue = try DatabaseQueue(path: path)
        try queue.write { db in
            try db.execute(
                sql: """
                    INSERT INTO webhook(id, url, topics, secret, created_at)
                    VALUES ('\(id)', 'https://a.example/', 'job.failed', x'01', 0);
                    INSERT INTO webhook_delivery(webhook_id, id, type, created_at, body, next_at)
                    VALUES ('\(id)', '\(waiting)', 'job.failed', 0, '{"ä": 1}', 5);
                    INSERT INTO webhook_delivery(webhook_id, id, type, created_at, state, attempts, status)
                    VALUES ('\(id)', 'dlv_00000000000000000000000001', 'job.failed', 0, 'delivered', 1, 200);
                    """)
        }
        try queue.close()
        let database = try TemporaryStore.open(folder)
        defer { try? database.close() }
        let webhooks = SQLiteWebhookRepository(database)
        let all = try webhooks.deliveries(of: #require(WebhookID(id)), PageRequest()).items
        #expect(all.map(\.state) == [.pending, .delivered] && all.map(\.isKept) == [true, false])
        #expect(all[1].status == 200 && all[1].attempts == 1)
        guard case .due(let next, _) = try webhooks.nextDelivery(at: .start, except: []) else {
            Issue.record("nothing is due")
            return
        }
        #expect(next.id.rawValue == waiting && next.body == "{\"ä\": 1}")
    }

    @Test("an attempt at what was deleted meanwhile leaves nothing")
    func settlesNothing() throws {
        let store = try store()
        let id = try webhook(store, [.queued]).id
        try store.submit()
        let sent = try #require(try due(store, at: .start))
        try store.webhooks.deleteWebhook(id)
        let attempt = WebhookAttempt(sent.0, to: sent.1, .status(200))
        #expect(try store.webhooks.settle(attempt, at: .start, jitter: 0) == nil)
        #expect(throws: JobError.webhookNotFound(id)) { try store.webhooks.delivery(sent.0.id, of: id) }
    }

    @Test("the service delivers what is stored as it is stored, and tells who waits")
    func delivers() throws {
        let store = try store()
        let receiver = Receiver()
        let (hub, time) = (ChangeHub(), ManualTime())
        let service = WebhookService(
            repository: store.webhooks, sender: receiver, identifiers: store.database.identifiers,
            bell: outlet.bell, hub: hub, time: time, jitter: { 0 })
        time.adopt(outlet.bell)
        let webhook = try service.add(url: "https://a.example/", topics: [.queued], secret: nil)
        #expect(webhook.secret.count == 32)
        receiver.answer([.status(500)])
        service.start()
        defer { service.stop(milliseconds: 10_000) }
        let done = Bell()
        func waitForAttempt(_ body: () throws -> Void) rethrows {
            let ring = done.ring
            hub.subscribe(to: .webhook(webhook.id)) { done.strike() }
            try body()
            done.wait(after: ring, nanoseconds: 20_000_000_000)
        }
        try waitForAttempt { try store.submit() }
        #expect(service.totals == .init(delivered: 0, failed: 1))
        waitForAttempt { time.advance(milliseconds: 5000) }
        #expect(service.totals == .init(delivered: 1, failed: 1))
        let seen = receiver.deliveries
        #expect(seen.count == 2 && Set(seen.map(\.id)).count == 1 && Set(seen.map(\.body)).count == 1)
        var test: WebhookDelivery?
        try waitForAttempt { test = try service.test(webhook.id) }
        let id = try #require(test?.id)
        #expect(try service.delivery(id, of: webhook.id).state == .delivered)
    }
}

@Suite("ISO 8601 times") struct TimestampTextTests {
    @Test(
        "are those of the calendar",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"), (-1, "1969-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] as [(Int64, String)])
    func text(_ milliseconds: Int64, _ text: String) {
        #expect(Timestamp(milliseconds: milliseconds).iso8601 == text)
    }
}
