import Foundation
import Jobs
import Store
import Synchronization
import Testing

@Suite("Claiming a job") struct ClaimTests {
    @Test("places in the queue are those of the order in which jobs are claimed") func placesFollowOrder()
        throws
    {
        let store = try TemporaryStore()
        // One that is tried again later, some that wait for it, and ready ones, urgent and not.
        let failed = try store.submit(.sample(priority: 9))
        let lease = try #require(try store.claim()).lease
        let failure = JobFailure(code: "out_of_memory", message: "no", isRetryable: true)
        _ = try store.jobs.finish(lease, .failed(failure), at: .start)
        for index in 0..<12 {
            let dependencies = index.isMultiple(of: 4) ? [failed.id] : []
            try store.submit(
                .sample(priority: index % 3 - 1, dependencies: dependencies), at: .start + Int64(index % 5))
        }
        let now = Timestamp.start + 100
        let order = try store.jobs.queueOrder(at: now, limit: 99)
        #expect(order.count == 13 && order.last != failed.id)
        for (place, id) in order.enumerated() {
            #expect(try store.jobs.queuePosition(of: store.jobs.job(id), at: now) == place)
        }
    }

    @Test("takes the highest priority first, then the oldest")
    func respectsPriority() throws {
        let store = try TemporaryStore()
        let low = try store.submit(.sample(priority: -1))
        let first = try store.submit(.sample(priority: 1))
        let second = try store.submit(.sample(priority: 1))
        #expect(try store.jobs.queueOrder(at: .start, limit: 9) == [first.id, second.id, low.id])
        #expect(try (0..<4).map { _ in try store.claim()?.job.id } == [first.id, second.id, low.id, nil])
    }

    @Test("prefers a job that has waited ten minutes longer per priority")
    func ages() throws {
        let store = try TemporaryStore()
        let old = try store.submit(.sample(priority: 0), at: .start)
        _ = try store.submit(.sample(priority: 1), at: .start + 600_001)
        #expect(try store.claim(at: .start + 600_001)?.job.id == old.id)
        let other = try TemporaryStore()
        _ = try other.submit(.sample(priority: 0), at: .start)
        let urgent = try other.submit(.sample(priority: 1), at: .start + 599_999)
        #expect(try other.claim(at: .start + 600_001)?.job.id == urgent.id)
    }

    @Test("skips what does not fit now, until it has been skipped for a quarter of an hour")
    func holdsRoomForABigJob() throws {
        let store = try TemporaryStore()
        let big = try store.submit(.sample(threads: 4, memoryBytes: 4000))
        let small = try store.submit(.sample(threads: 1, memoryBytes: 1000))
        let last = try store.submit(.sample(threads: 1, memoryBytes: 1000))
        let (total, half) = (Budget(threads: 4, memoryBytes: 4000), Budget(threads: 2, memoryBytes: 2000))
        #expect(try store.claim(at: .start + 899_999, free: half, total: total)?.job.id == small.id)
        #expect(try store.claim(at: .start + 900_000, free: half, total: total) == nil)
        #expect(try store.claim(at: .start + 900_000, free: total, total: total)?.job.id == big.id)
        #expect(try store.claim(at: .start + 900_000, free: half, total: total)?.job.id == last.id)
    }

    @Test("never lets a job that cannot fit at all hold up the others")
    func ignoresImpossibleJobs() throws {
        let store = try TemporaryStore()
        _ = try store.submit(.sample(threads: 8))
        let small = try store.submit()
        let total = Budget(threads: 4, memoryBytes: 1 << 30)
        #expect(try store.claim(at: .start + 10_000_000, free: total, total: total)?.job.id == small.id)
    }

    @Test("raises attempt, fence and version and records the state")
    func recordsTheClaim() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let claim = try #require(try store.claim(at: .start + 5))
        #expect(claim.job.state == .running)
        #expect((claim.job.attempt, claim.job.fence, claim.lease.fence) == (1, 1, 1))
        #expect(claim.job.version > job.version)
        #expect(claim.job.startedAt == .start + 5)
        #expect(claim.job.transitions.map(\.state) == [.queued, .running])
        #expect(try store.events.events(of: job.id, after: nil, limit: 9).map(\.type) == ["state", "state"])
    }

    @Test("by eight threads at once hands out each job once")
    func isExclusive() throws {
        let store = try TemporaryStore()
        for _ in 0..<40 { try store.submit() }
        let jobs = store.jobs
        let claimed = Mutex<[JobID]>([])
        DispatchQueue.concurrentPerform(iterations: 8) { index in
            let request = ClaimRequest(
                worker: "w\(index)", bootID: "b", free: .large, total: .large, isIdle: false, now: .start,
                leaseDeadline: 1)
            while let claim = try? jobs.claimNext(request) { claimed.withLock { $0.append(claim.job.id) } }
        }
        let all = claimed.withLock { $0 }
        #expect(all.count == 40)
        #expect(Set(all).count == 40)
    }

    @Test("waits for the end of a back-off and says when that is")
    func waitsForBackOff() throws {
        let store = try TemporaryStore()
        try store.submit()
        let lease = try #require(try store.claim()).lease
        let failure = JobFailure(code: "io", message: "The disk hiccuped.", isRetryable: true)
        let job = try #require(try store.jobs.finish(lease, .failed(failure), at: .start)).job
        #expect(job.state == .queued)
        #expect(job.failures == 1)
        #expect(try store.jobs.nextDue(after: .start) == .start + 10_000)
        #expect(try store.claim(at: .start + 9_999) == nil)
        #expect(try store.claim(at: .start + 10_000)?.job.attempt == 2)
    }
}
