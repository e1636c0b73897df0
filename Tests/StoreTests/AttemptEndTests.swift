import Foundation
import JSON
import Jobs
import Store
import Synchronization
import Testing

@Suite("What is known of an attempt's end") struct AttemptEndTests {
    private static let success = JobOutcome.succeeded(JobResult(models: [], report: .null))

    /// What the one attempt of a shop came to, once it is settled.
    private func end(_ shop: Workshop) -> AttemptEnd? {
        for _ in 0..<10_000_000 {
            if let end = shop.executor.settled.first { return end }
            sched_yield()
        }
        return nil
    }

    /// A job that runs until the flag is raised, and looks at no signal.
    private func begin(in shop: Workshop) throws -> (id: JobID, isOver: Flag) {
        let isOver = Flag()
        shop.executor.script("deaf") { _, _, _ in
            while !isOver.isRaised { sched_yield() }
            return Self.success
        }
        shop.pool.start()
        let id = try shop.submit("deaf")
        try shop.wait(for: id, toBe: .running)
        return (id, isOver)
    }

    @Test("is the state that the job entered with it, whatever the attempt came to")
    func stored() throws {
        let shop = try Workshop(workers: 1)
        let (id, isOver) = try begin(in: shop)
        // Behind the last step nobody looks at the signal any more.
        _ = try shop.service.cancel(id)
        isOver.raise()
        try shop.wait(for: id, toBe: .cancelled)
        #expect(end(shop) == .stored(.cancelled))
        try shop.wait(for: try shop.submit("fine"), toBe: .succeeded)
        #expect(shop.pool.drain(milliseconds: 60_000))
        #expect(shop.executor.settled == [.stored(.cancelled), .stored(.succeeded)])
    }

    @Test("is void where the lease was lost, as when a drain did not wait")
    func void() throws {
        let shop = try Workshop()
        let (id, isOver) = try begin(in: shop)
        #expect(!shop.pool.drain(milliseconds: 0))
        #expect(shop.pool.drain(milliseconds: 600_000), "who was given up is not waited for again")
        isOver.raise()
        shop.pool.stop(milliseconds: 60_000)
        #expect(shop.executor.settled == [.void])
        #expect(try shop.service.job(id).state == .queued)
    }

    @Test("is unknown where the store did not answer")
    func unknown() throws {
        let shop = try Workshop(workers: 1)
        let isOver = try begin(in: shop).isOver
        try shop.store.database.close()
        isOver.raise()
        shop.pool.stop(milliseconds: 60_000)
        #expect(end(shop) == .unknown)
    }

    @Test("comes before a new attempt of the job is forgotten, which another worker began meanwhile")
    func keepsTheNewRun() throws {
        let shop = try Workshop(workers: 2)
        let (hasSecondBegun, mayEnd) = (Flag(), Flag())
        shop.executor.script("twice") { job, control, sink in
            guard job.lease.fence > 1 else { return ScriptedExecutor.obedient(job, control, sink) }
            hasSecondBegun.raise()
            while !mayEnd.isRaised { sched_yield() }
            return Self.success
        }
        shop.executor.onSettling { job in
            // The first worker is held up between the end that it stored and forgetting its run.
            while job.lease.fence == 1, !hasSecondBegun.isRaised { sched_yield() }
        }
        shop.pool.start()
        let id = try shop.submit("twice")
        try shop.wait(for: id, toBe: .running)
        _ = try shop.service.pause(id)
        try shop.wait(for: id, toBe: .paused)
        _ = try shop.service.resume(id)
        let fresh = try shop.wait(for: id, toBe: .running)
        // The first worker takes another job: then it has forgotten its run of this one.
        let other = try shop.submit("fine")
        try shop.wait(for: other, toBe: .succeeded)
        while shop.pool.occupancy.running.contains(other) { sched_yield() }
        #expect(shop.pool.occupancy.running == [id])
        #expect(shop.pool.occupancy.free.threads == 3)
        for _ in 0..<10 { shop.time.advance(milliseconds: 5_000) }
        mayEnd.raise()
        let done = try shop.wait(for: id, toBe: .succeeded)
        #expect(done.fence == fresh.fence, "its lease was extended")
    }
}
