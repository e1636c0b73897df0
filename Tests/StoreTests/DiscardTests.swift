import Dispatch
import GRDB
import Glibc
import JSON
import Jobs
import Testing

@testable import Store

@Suite("What was deleted") struct DiscardTests {
    private static let tables = [
        "series", "point", "resource_point", "event", "webhook_delivery", "discarded",
    ]

    /// How many rows each table has.
    private func counts(_ store: TemporaryStore) throws -> [String: Int] {
        try store.database.read { db in
            try Dictionary(
                uniqueKeysWithValues: Self.tables.map { table in
                    (table, try Int.fetchOne(db, sql: "SELECT count(*) FROM \(table)") ?? 0)
                })
        }
    }

    private func isEmpty(_ store: TemporaryStore) throws -> Bool {
        try counts(store).allSatisfy { $0.value == 0 }
    }

    private func clear(_ store: TemporaryStore) throws {
        while try SQLiteClearing(store.database).clearSome() {}
    }

    /// What a doctor finds.
    private func faults(_ store: TemporaryStore) throws -> [String] {
        let inspection = try SQLiteInspection(path: store.path, newestSchema: .max)
        return try inspection.damage(isThorough: true) + inspection.violations().map { "\($0)" }
    }

    /// A job that failed, with so many points, samples and events.
    private func failed(_ store: TemporaryStore, points: Int) throws -> JobID {
        try store.submit()
        let claim = try #require(try store.claim())
        var report = RunReport()
        for series in ["train_loss", "val_loss"] {
            report.points += (0..<points).map {
                MetricPoint(series: series, step: $0, value: 1, at: .start)
            }
        }
        report.samples = (0..<points).map { index in
            var sample = ResourcePoint(at: .start + Int64(index), step: index)
            sample.watts = 10
            return sample
        }
        report.events = (0..<points).map {
            EventDraft(at: .start + Int64($0), level: .info, type: "note", message: "m", data: [:])
        }
        _ = try store.jobs.record(report, for: claim.lease, at: .start)
        _ = try store.jobs.finish(
            claim.lease, .failed(JobFailure(code: "nan", message: "not a number")), at: .start)
        return claim.job.id
    }

    @Test("is gone at once for whoever looks, and from the disk in pieces, a crash between them or not")
    func jobs() throws {
        let store = try TemporaryStore()
        let id = try failed(store, points: 5000)
        let other = try failed(store, points: 10)
        _ = try store.jobs.delete(id, includingModels: false)
        #expect(throws: JobError.jobNotFound(id)) { try store.jobs.job(id) }
        #expect(throws: JobError.jobNotFound(id)) { try store.metrics.metrics(of: id, CurveQuery()) }
        #expect(throws: JobError.jobNotFound(id)) { try store.events.events(of: id, after: nil, limit: 10) }
        #expect(try store.jobs.list(JobQuery()).items.map(\.id) == [other])
        #expect(try faults(store) == [])

        var before = try counts(store)
        #expect(before["discarded"] == 1)
        var pieces = 0
        while try SQLiteClearing(store.database).clearSome() {
            let after = try counts(store)
            let gone = before.values.reduce(0, +) - after.values.reduce(0, +)
            #expect((1...Discards.rowsMax + 5).contains(gone), "a piece of \(gone) rows")
            // As after a crash.
            try store.reopen()
            #expect(try faults(store) == [])
            before = after
            pieces += 1
        }
        #expect(pieces >= 8)
        #expect(try store.metrics.metrics(of: other, CurveQuery()).map(\.steps.count) == [10, 10])
        _ = try store.jobs.delete(other, includingModels: false)
        #expect(try isEmpty(store), "what is little goes at once")
    }

    @Test("never comes back in the curves of a job that begins anew")
    func curves() throws {
        let store = try TemporaryStore()
        let id = try failed(store, points: 3000)
        _ = try store.jobs.retry(id, fromScratch: true, limits: QueueLimits(), at: .start)
        #expect(try store.jobs.job(id).summary.isEmpty)
        #expect(try store.metrics.metrics(of: id, CurveQuery()).isEmpty)
        let claim = try #require(try store.claim())
        var report = RunReport()
        report.points = [MetricPoint(series: "train_loss", step: 7, value: 2, at: .start)]
        #expect(try store.jobs.record(report, for: claim.lease, at: .start))
        for _ in 0..<2 {
            let curves = try store.metrics.metrics(of: id, CurveQuery())
            #expect(curves.map(\.steps) == [[7]] && curves.map(\.values) == [[2]])
            #expect(try faults(store) == [])
            try clear(store)
        }
        #expect(try counts(store)["point"] == 1 && counts(store)["series"] == 1)
        let samples = try store.metrics.resources(of: id, CurveQuery(pointsMax: 10_000))
        #expect(samples.first?.steps.count == 3000)
    }

    @Test("is cleared away by the janitor: what another run left, and what is deleted meanwhile")
    func janitor() throws {
        let store = try TemporaryStore()
        let (first, second) = (try failed(store, points: 3000), try failed(store, points: 3000))
        _ = try store.jobs.delete(first, includingModels: false)
        try store.reopen()
        let janitor = Janitor(SQLiteClearing(store.database)) { Issue.record("\($0)") }
        janitor.start()
        defer { janitor.stop(milliseconds: 10_000) }
        func waitUntil(_ isDone: () throws -> Bool) throws {
            let deadline = DispatchTime.now() + .seconds(10)
            while try !isDone(), DispatchTime.now() < deadline { sched_yield() }
            #expect(try isDone())
        }
        try waitUntil { try counts(store)["discarded"] == 0 }
        _ = try store.jobs.delete(second, includingModels: false)
        try waitUntil { try isEmpty(store) }
    }

    @Test("of a webhook: what waited is given up for whoever looks, and is never sent")
    func webhooks() throws {
        let outlet = WebhookOutlet { job in [WebhookNotice(.queued, ["id": .string(job.id.rawValue)])] }
        let store = try TemporaryStore(outlet: outlet)
        let id: WebhookID = store.database.identifiers.next(at: .start)
        let webhook = Webhook(
            id: id, url: "https://a.example/", topics: [.queued], secret: [1], createdAt: .start)
        try store.webhooks.add(webhook, limit: 1)
        for _ in 0..<300 { try store.submit() }
        var changes = WebhookChanges()
        changes.isEnabled = false
        for isCleared in [true, false] {
            _ = try store.webhooks.update(id, changes, at: .start)
            #expect(try store.webhooks.pendingCount() == 100, "the rest is given up by and by")
            if isCleared { try clear(store) }
            let page = try store.webhooks.deliveries(of: id, PageRequest(limit: 500)).items
            #expect(page.count == (isCleared ? 100 : 200))
            #expect(page.allSatisfy { $0.state == .failed && $0.error == "the webhook was disabled" })
            changes.isEnabled = true
            _ = try store.webhooks.update(id, changes, at: .start)
            if case .due = try store.webhooks.nextDelivery(at: .start + 1, except: []) {
                Issue.record("what was given up is sent")
            }
            #expect(try store.webhooks.pendingCount() == 0 && counts(store)["webhook_delivery"] == 100)
            for _ in 0..<300 { try store.submit() }
            changes.isEnabled = false
        }
        try store.webhooks.deleteWebhook(id)
        #expect(try store.webhooks.pendingCount() == 0)
        #expect(throws: JobError.webhookNotFound(id)) {
            try store.webhooks.deliveries(of: id, PageRequest(limit: 1))
        }
        #expect(try faults(store) == [] && counts(store)["webhook_delivery"] == 200)
        try clear(store)
        #expect(try counts(store)["webhook_delivery"] == 0 && counts(store)["discarded"] == 0)
    }
}
