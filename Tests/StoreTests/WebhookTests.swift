import Foundation
import JSON
import Jobs
import Store
import Synchronization
import Testing

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
        let body = try JSONValue(parsing: Array((told.first?.body ?? "").utf8))
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
            let (delivery, webhook) = try #require(try due(store, at: now))
            bodies.insert(delivery.body)
            let settlement = WebhookSettlement(
                of: .status(500), delivery, to: webhook, at: now, jitter: 0)
            try store.webhooks.settle(settlement)
            let next = try #require(settlement.delivery.nextAt)
            waits.append(next.milliseconds - now.milliseconds)
            #expect(try due(store, at: next + -1) == nil)
            now = next
        }
        #expect(waits == [5000, 20_000, 80_000, 320_000, 1_280_000, 3_600_000, 3_600_000, 3_600_000])
        #expect(bodies.count == 1)
        let (delivery, webhook) = try #require(try due(store, at: now))
        try store.webhooks.settle(
            WebhookSettlement(of: .status(204), delivery, to: webhook, at: now, jitter: 0))
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
        while let (delivery, webhook) = try due(store, at: now) {
            let settlement = WebhookSettlement(
                of: .failure("no connection"), delivery, to: webhook, at: now, jitter: 0)
            try store.webhooks.settle(settlement)
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
        let (delivery, webhook) = try #require(try due(store, at: now))
        #expect(delivery.id == test.id)
        try store.webhooks.settle(
            WebhookSettlement(of: .status(200), delivery, to: webhook, at: now, jitter: 0))
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
            return WebhookSettlement(of: answer, delivery, to: webhook, at: .start, jitter: 1)
        }
        let gone = settled(.status(410))
        #expect(gone.webhook.disabled != nil && gone.delivery.state == .failed && gone.delivery.body == nil)
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
            let (delivery, webhook) = try #require(try due(store, at: .start))
            let answer = WebhookAnswer.status(index == 0 ? 200 : 204)
            try store.webhooks.settle(
                WebhookSettlement(of: answer, delivery, to: webhook, at: .start, jitter: 0))
        }
        let kept = try store.webhooks.deliveries(of: id, PageRequest(limit: 1000)).items
        #expect(kept.count == 100 && kept.allSatisfy { $0.status == 204 && $0.body == nil })
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
            done.wait(after: ring, seconds: 20)
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
