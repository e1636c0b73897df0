import Foundation
import GRDB
import JSON
import Jobs
import Synchronization
import Testing

@testable import Store

@Suite("The settings of the database") struct DurabilityTests {
    @Test("make each commit survive a power cut, although GRDB would not")
    func writerIsDurable() throws {
        let store = try TemporaryStore()
        let found = try store.database.pool.writeWithoutTransaction { db in
            try ["journal_mode", "synchronous", "foreign_keys", "wal_autocheckpoint"].map {
                try Row.fetchOne(db, sql: "PRAGMA \($0)").map { "\($0[0] as DatabaseValue)" }
            }
        }
        #expect(found == ["\"wal\"", "2", "1", "0"])
    }

    @Test("let readers neither write nor checkpoint")
    func readersOnlyRead() throws {
        let store = try TemporaryStore()
        try store.database.pool.read { db in
            let pages = try Int.fetchOne(db, sql: "PRAGMA wal_autocheckpoint")
            #expect(pages == 0)
            #expect(throws: DatabaseError.self) { try db.execute(sql: "DELETE FROM job") }
        }
    }

    @Test("serve every index's query from that index")
    func indexesServeTheirQueries() throws {
        let store = try TemporaryStore()
        let queries = [
            "job_state": "SELECT * FROM job WHERE state = 'failed' ORDER BY id DESC LIMIT 9",
            "job_lease": "SELECT * FROM job WHERE lease_until IS NOT NULL AND lease_until < 7",
            "job_dependency_reverse": "SELECT job_id FROM job_dependency WHERE dependency_id = 'x'",
            "idempotency_age": "DELETE FROM idempotency WHERE created_at < 7",
            "idempotency_job": "SELECT 1 FROM idempotency WHERE job_id = 'x'",
            "model_job": "SELECT path FROM model WHERE job_id = 'x'",
            "job_model": "SELECT 1 FROM job WHERE model_id = 'x'",
            "job_finished": "SELECT * FROM job WHERE finished_at IS NOT NULL "
                + "AND (finished_at, id) < (7, 'x') ORDER BY finished_at DESC, id DESC LIMIT 9",
        ]
        try store.database.pool.read { db in
            for (index, query) in queries {
                let plan = try Row.fetchAll(db, sql: "EXPLAIN QUERY PLAN \(query)").map {
                    $0["detail"] as String
                }
                #expect(plan.contains { $0.contains(" \(index) ") }, "\(query): \(plan)")
            }
        }
    }
}

@Suite("A full disk") struct FullDiskTests {
    /// Lets the file grow by no page more; stands for a disk without room.
    private func setFull(_ isFull: Bool, _ store: TemporaryStore) throws {
        try store.database.pool.writeWithoutTransaction { db in
            let pages = try Int.fetchOne(db, sql: "PRAGMA page_count") ?? 0
            _ = try Int.fetchOne(db, sql: "PRAGMA max_page_count = \(isFull ? pages : 1_000_000)")
        }
    }

    @Test("refuses a job, keeps what was acknowledged, and is over when there is room")
    func refusesAndRecovers() throws {
        let store = try TemporaryStore()
        try setFull(true, store)
        let long = ResolvedJob.sample(spec: .string(String(repeating: "x", count: 100_000)))
        let error = #expect(throws: JobError.self) { try store.submit(long) }
        #expect(error?.code == "insufficient_storage")
        #expect(error?.description == "The disk has too little room; try again when there is more.")
        #expect(try store.jobs.counts() == [:])
        try setFull(false, store)
        try store.submit(long)
        #expect(try store.jobs.counts() == [.queued: 1])
    }

    @Test("holds a running job up, loses none of its points and lets it go on")
    func holdsUpRunningJobs() throws {
        let shop = try Workshop()
        let isFull = Flag()
        shop.executor.script("train") { _, _, sink in
            while !isFull.isRaised { sched_yield() }
            for start in stride(from: 0, to: 15_000, by: 100) {
                sink.metrics(
                    (start..<start + 100).map {
                        MetricPoint(series: "train_loss", step: $0, value: Double($0), at: .start)
                    })
            }
            return .succeeded(JobResult(models: [], report: .null))
        }
        shop.pool.start()
        let id = try shop.submit("train")
        try shop.wait(for: id, toBe: .running)
        try setFull(true, shop.store)
        isFull.raise()
        shop.time.advance(milliseconds: 1_000)
        #expect(try shop.service.job(id).state == .running)
        try setFull(false, shop.store)
        // Each beat of the pulse stores what waits; the trainer goes on in between.
        while try shop.service.job(id).state == .running {
            shop.time.advance(milliseconds: 1_000)
            sched_yield()
        }
        let job = try shop.service.job(id)
        #expect(job.state == .succeeded)
        #expect(job.summary.first?.count == 15_000)
        #expect(try shop.service.metrics(of: id, CurveQuery(pointsMax: 10)).first?.steps.last == 14_999)
    }
}
