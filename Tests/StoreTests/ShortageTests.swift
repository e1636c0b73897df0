import Foundation
import JSON
import Synchronization
import Testing

@testable import Jobs
@testable import Store

@Suite("A disk with too little room") struct ShortageTests {
    /// A disk that a test fills and empties.
    private final class Disk: Sendable {
        private let free = Mutex(100)

        func set(_ bytes: Int) { free.withLock { $0 = bytes } }

        var shortage: DiskShortage? {
            free.withLock { $0 < 50 ? DiskShortage(free: $0, least: 50) : nil }
        }
    }

    @Test("refuses new jobs and begins no old ones, and is over when there is room again")
    func admissionStops() throws {
        let disk = Disk()
        let shop = try Workshop(configure: { $0.shortage = { disk.shortage } })
        disk.set(10)
        #expect(throws: JobError.storeFull(cause: DiskShortage(free: 10, least: 50).description)) {
            try shop.submit("train")
        }
        disk.set(100)
        let id = try shop.submit("train")
        disk.set(10)
        shop.pool.start()
        shop.time.advance(milliseconds: 5_000)
        let waiting = try shop.service.job(id)
        #expect(waiting.state == .queued)
        #expect(waiting.waitingFor?.code == "disk")
        disk.set(100)
        // Each second a worker looks by itself.
        while try shop.service.job(id).state != .succeeded { shop.time.advance(milliseconds: 1_000) }
    }

    @Test("makes a running job wait for room and say so, without charging it")
    func runningJobsWait() throws {
        let shop = try Workshop()
        let hasRoom = Flag()
        let tries = Mutex(0)
        shop.executor.script("train") { _, _, sink in
            while !hasRoom.isRaised {
                tries.withLock { $0 += 1 }
                guard sink.awaitRoom() else { return .failed(.diskFull) }
            }
            guard (try? sink.checkpoint(.sample(step: 1, path: "jobs/1"))) != nil else {
                return .failed(JobFailure(code: "no_checkpoint", message: "The checkpoint was refused."))
            }
            return .succeeded(JobResult(models: [], report: .null))
        }
        shop.pool.start()
        let id = try shop.submit("train")
        while try shop.service.job(id).waitingFor?.code != "disk" { sched_yield() }
        #expect(try shop.service.job(id).state == .running)
        #expect(try shop.service.jobs(JobQuery()).items.first?.waitingFor?.code == "disk")
        while tries.withLock({ $0 }) < 3 { shop.time.advance(milliseconds: 1_000) }
        hasRoom.raise()
        while try shop.service.job(id).state != .succeeded { shop.time.advance(milliseconds: 1_000) }
        let job = try shop.service.job(id)
        #expect(job.attempt == 1)
        #expect(job.waitingFor == nil)
        // Told once, not at each look.
        #expect(try shop.service.events(of: id).count { $0.type == "disk_full" } == 1)
    }

    @Test("gives a job back to the queue, uncharged, when the service shuts down meanwhile")
    func drainEndsTheWait() throws {
        let shop = try Workshop()
        shop.executor.script("train") { _, _, sink in
            while sink.awaitRoom() {}
            return .failed(.diskFull)
        }
        shop.pool.start()
        let id = try shop.submit("train")
        while try shop.service.job(id).waitingFor?.code != "disk" { sched_yield() }
        let (drained, pool) = (Flag(), shop.pool)
        WorkerThread.start("drain") {
            pool.drain(milliseconds: 1 << 40)
            drained.raise()
        }
        while !drained.isRaised { shop.time.advance(milliseconds: 1_000) }
        let job = try shop.service.job(id)
        #expect(job.state == .queued)
        #expect(job.attempt == 0)
        #expect(job.failures == 0)
        #expect(job.reason?.code == "disk_full")
    }
}

@Suite("The write-ahead log") struct LogTests {
    @Test("is brought into the file every so many commits or rows")
    func clockStrikes() {
        var clock = CheckpointClock()
        let struck = (1...256).filter { clock.isDue(afterChanges: $0) }
        #expect(struck == [128, 256])
        let later = [256, 257].map { clock.isDue(afterChanges: $0 + CheckpointClock.changesMax) }
        #expect(later == [true, false])
    }

    @Test("stays small however many jobs are stored")
    func staysSmall() throws {
        let store = try TemporaryStore()
        for _ in 0..<600 { try store.submit(.sample()) }
        // 128 commits of a job, its transition and its event write fewer than 20 pages each.
        let log = try FileManager.default.attributesOfItem(atPath: store.database.path + "-wal")
        let byteCount = try #require(log[.size] as? Int)
        #expect(byteCount < 128 * 20 * 4096)
    }
}
