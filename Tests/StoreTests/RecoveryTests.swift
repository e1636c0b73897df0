import Jobs
import Store
import Testing

@Suite("Recovery at start") struct RecoveryTests {
    private func crash(_ store: TemporaryStore, at run: Int) throws -> RecoverySummary {
        try store.jobs.recover(bootID: "boot-\(run)", crashLimit: 2, at: .start + Int64(run))
    }

    @Test("takes back what another run held, with its checkpoint, and leaves its own alone")
    func requeues() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let claim = try #require(try store.claim(bootID: "boot-1"))
        _ = try store.jobs.checkpoint(.sample(step: 40, path: "c/40"), for: claim.lease, at: .start)
        #expect(try crash(store, at: 1).requeued.isEmpty)
        #expect(try crash(store, at: 2).requeued == [job.id])
        let found = try store.jobs.job(job.id)
        #expect(found.state == .queued)
        #expect(found.reason?.code == "worker_lost")
        #expect((found.crashes, found.isSuspect, found.failures) == (1, true, 0))
        let again = try #require(try store.claim(bootID: "boot-2"))
        #expect(again.job.attempt == 2)
        #expect(again.checkpoints.map(\.step) == [40])
    }

    @Test("quarantines a job that crashed alone twice without a checkpoint between, and what needs it")
    func quarantines() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let dependant = try store.submit(.sample(dependencies: [job.id]))
        _ = try store.claim(bootID: "boot-1")
        #expect(try crash(store, at: 2).requeued == [job.id])
        _ = try store.claim(bootID: "boot-2")
        #expect(try crash(store, at: 3).quarantined == [job.id])
        let found = try store.jobs.job(job.id)
        #expect(found.state == .failed)
        #expect(found.error?.code == "worker_crash")
        #expect(found.error?.message.contains("took the service down 2 times") == true)
        #expect(try store.jobs.job(dependant.id).state == .cancelled)
    }

    @Test("forgives a job that reached a checkpoint since")
    func forgivesProgress() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        for run in 1...5 {
            let claim = try #require(try store.claim(bootID: "boot-\(run)"))
            let checkpoint = CheckpointRecord.sample(step: run, path: "c/\(run)")
            _ = try store.jobs.checkpoint(checkpoint, for: claim.lease, at: .start)
            #expect(try crash(store, at: run + 1).requeued == [job.id])
        }
        #expect(try store.jobs.job(job.id).crashes == 1)
    }

    @Test("quarantines a job that crashes behind the checkpoint that it began with, stored again or not")
    func forgivesNoRepetition() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        for run in 1...2 {
            let claim = try #require(try store.claim(bootID: "boot-\(run)"))
            for (step, kind) in [(300, CheckpointRecord.Kind.last), (300, .best), (200, .kept), (300, .last)]
            {
                let checkpoint = CheckpointRecord.sample(step: step, kind: kind, path: "c/\(run)-\(kind)")
                _ = try store.jobs.checkpoint(checkpoint, for: claim.lease, at: .start)
            }
            let summary = try crash(store, at: run + 1)
            // The first attempt came from 0 to 300.
            #expect(try store.jobs.job(job.id).crashes == run)
            #expect(summary.quarantined == (run == 2 ? [job.id] : []))
        }
        #expect(try store.jobs.job(job.id).error?.code == "worker_crash")
    }

    @Test("charges nobody for a crash that several shared, but suspects all")
    func suspectsAll() throws {
        let store = try TemporaryStore()
        for _ in 0..<3 { try store.submit() }
        for _ in 0..<3 { _ = try store.claim(bootID: "boot-1") }
        let requeued = try crash(store, at: 2).requeued
        #expect(requeued.count == 3)
        for id in requeued {
            let job = try store.jobs.job(id)
            #expect((job.crashes, job.isSuspect) == (0, true))
        }
        #expect(try store.claim(isIdle: false, bootID: "boot-2") == nil)
        #expect(try store.claim(isIdle: true, bootID: "boot-2") != nil)
    }

    @Test("finishes what a client had asked for")
    func finishesRequests() throws {
        let store = try TemporaryStore()
        let (paused, cancelled) = (try store.submit(), try store.submit())
        _ = try store.claim()
        _ = try store.claim()
        _ = try store.jobs.pause(paused.id, at: .start)
        let reason = JobReason(code: "cancelled_by_client", message: "A client cancelled the job.")
        _ = try store.jobs.cancel(cancelled.id, reason: reason, at: .start)
        #expect(Set(try crash(store, at: 2).stopped) == [paused.id, cancelled.id])
        #expect(try store.jobs.job(paused.id).state == .paused)
        #expect(try store.jobs.job(cancelled.id).state == .cancelled)
        #expect(try store.jobs.job(cancelled.id).reason == reason)
    }

    @Test("of ten thousand jobs touches only the one that ran")
    func touchesOne() throws {
        let store = try TemporaryStore()
        try store.submit()
        try store.multiply(by: 10_000)
        #expect(try store.jobs.counts() == [.queued: 10_001])
        _ = try store.claim()
        try store.reopen()
        #expect(try crash(store, at: 2).requeued.count == 1)
        #expect(try store.jobs.counts()[.queued] == 10_001)
    }
}
