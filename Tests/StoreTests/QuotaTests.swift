import JSON
import Jobs
import Store
import Testing

@Suite("How many jobs may wait") struct QuotaTests {
    private static let limits = QueueLimits(total: 6, perToken: 2, exempt: ["owner"])
    private static let reason = JobReason(code: "c", message: "m")

    private func submit(_ store: TemporaryStore, _ submitter: String = "ci") throws -> JobID {
        let job = ResolvedJob.sample()
        let submission = JobSubmission(
            resolved: job, idempotency: nil, body: job.spec, submitter: submitter, limits: Self.limits)
        return try store.jobs.submit(submission, at: .start).job.id
    }

    private func resume(_ store: TemporaryStore, _ id: JobID) throws {
        _ = try store.jobs.resume(id, limits: Self.limits, at: .start)
    }

    private func retry(_ store: TemporaryStore, _ id: JobID) throws {
        _ = try store.jobs.retry(id, fromScratch: false, limits: Self.limits, at: .start)
    }

    @Test("counts paused ones, so that pausing makes no room")
    func paused() throws {
        let store = try TemporaryStore()
        let first = try [submit(store), submit(store)]
        for id in first { _ = try store.jobs.pause(id, at: .start) }
        #expect(throws: JobError.tokenQueueFull(limit: 2)) { try submit(store) }
        try store.reopen()
        #expect(throws: JobError.tokenQueueFull(limit: 2)) { try submit(store) }
        for name in ["other", "owner", ""] { _ = try submit(store, name) }
        for id in first { try resume(store, id) }
        #expect(try store.jobs.counts() == [.queued: 5])
        #expect(throws: JobError.tokenQueueFull(limit: 2)) { try submit(store) }
        _ = try store.jobs.cancel(first[0], reason: Self.reason, at: .start)
        _ = try submit(store)
    }

    @Test("counts those that were paused while they ran")
    func pausedWhileRunning() throws {
        let store = try TemporaryStore()
        // When the third comes none waits, and until two more have come nothing need be counted.
        let running = try (0..<3).map { _ in
            _ = try submit(store)
            return try #require(try store.claim()).lease
        }
        for lease in running {
            _ = try store.jobs.pause(lease.jobID, at: .start)
            _ = try store.jobs.finish(lease, .paused, at: .start)
        }
        #expect(try store.jobs.counts() == [.paused: 3])
        #expect(throws: JobError.tokenQueueFull(limit: 2)) { try submit(store) }
    }

    @Test("is checked when a paused job comes back, of what is in the queue alone")
    func resuming() throws {
        let store = try TemporaryStore()
        var running: [Lease] = []
        for _ in 0..<2 {
            _ = try submit(store)
            running.append(try #require(try store.claim()).lease)
        }
        let queued = try [submit(store), submit(store)]
        for lease in running {
            _ = try store.jobs.pause(lease.jobID, at: .start)
            _ = try store.jobs.finish(lease, .paused, at: .start)
        }
        #expect(throws: JobError.tokenQueueFull(limit: 2)) { try resume(store, running[0].jobID) }
        #expect(try store.jobs.job(running[0].jobID).state == .paused)
        _ = try #require(try store.claim())
        try resume(store, running[0].jobID)
        #expect(throws: JobError.tokenQueueFull(limit: 2)) { try resume(store, running[1].jobID) }
        _ = try store.jobs.cancel(queued[1], reason: Self.reason, at: .start)
        try resume(store, running[1].jobID)
    }

    @Test("is checked when a job is tried again")
    func retrying() throws {
        let store = try TemporaryStore()
        let first = try submit(store)
        _ = try store.jobs.cancel(first, reason: Self.reason, at: .start)
        let others = try [submit(store), submit(store)]
        #expect(throws: JobError.tokenQueueFull(limit: 2)) { try retry(store, first) }
        #expect(try store.jobs.job(first).state == .cancelled)
        _ = try store.jobs.pause(others[0], at: .start)
        #expect(throws: JobError.tokenQueueFull(limit: 2)) { try retry(store, first) }
        _ = try store.jobs.cancel(others[1], reason: Self.reason, at: .start)
        try retry(store, first)
    }

    @Test("is checked for all together, also of those whose token has no limit")
    func total() throws {
        let store = try TemporaryStore()
        let all = try (0..<6).map { _ in try submit(store, "owner") }
        _ = try store.jobs.pause(all[0], at: .start)
        #expect(throws: JobError.queueFull(limit: 6)) { try submit(store, "owner") }
        _ = try store.jobs.cancel(all[1], reason: Self.reason, at: .start)
        _ = try submit(store, "owner")
        #expect(throws: JobError.queueFull(limit: 6)) { try retry(store, all[1]) }
        try resume(store, all[0])
        #expect(try store.jobs.counts() == [.queued: 6, .cancelled: 1])
    }

    @Test("a retry from scratch tells which checkpoints serve nobody any more")
    func obsolete() throws {
        let store = try TemporaryStore()
        let id = try submit(store)
        let lease = try #require(try store.claim()).lease
        for step in 1...2 {
            let record = CheckpointRecord.sample(step: step, path: "\(id.folder)/\(step)")
            _ = try store.jobs.checkpoint(record, for: lease, at: .start)
        }
        #expect(try store.jobs.resumableJobs() == [id])
        _ = try store.jobs.finish(lease, .cancelled, at: .start)
        #expect(try store.jobs.resumableJobs() == [id], "it may be tried again from there")
        let retried = try store.jobs.retry(id, fromScratch: true, limits: Self.limits, at: .start)
        #expect(retried.job.state == .queued)
        #expect(Set(retried.obsolete) == ["\(id.folder)/1", "\(id.folder)/2"])
        #expect(try store.jobs.resumableJobs() == [] && store.jobs.checkpoints(of: id) == [])
    }
}
