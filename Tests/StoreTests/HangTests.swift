import Foundation
import JSON
import Synchronization
import Testing
import Threads

@testable import Jobs

@Suite("A job that stands still") struct HangTests {
    /// A processor clock that a test moves, and the jobs for which the process would have ended.
    private final class Watched: Sendable {
        let used = Mutex<UInt64>(0)
        let ended = Mutex<[JobID]>([])

        func policy(seconds: Int) -> WorkerPool.HangPolicy {
            WorkerPool.HangPolicy(
                seconds: seconds, meter: { [self] _ in { self.used.withLock { $0 } } },
                end: { [self] _, job in ended.withLock { $0.append(job) } })
        }
    }

    /// Lets five seconds pass so many times, with room for the pulse to look in between.
    private func beat(_ shop: Workshop, _ count: Int, _ each: () -> Void = {}) {
        for _ in 0..<count {
            each()
            shop.time.advance(milliseconds: 5_000)
            for _ in 0..<200 { sched_yield() }
        }
    }

    @Test("is failed as hung, may be tried again, and ends the process")
    func isNoticed() throws {
        let watched = Watched()
        let shop = try Workshop(configure: { $0.hangs = watched.policy(seconds: 30) })
        let release = DispatchSemaphore(value: 0)
        shop.executor.script("stuck") { _, _, _ in
            release.wait()
            return .succeeded(JobResult(models: [], report: .null))
        }
        shop.pool.start()
        let id = try shop.submit("stuck")
        try shop.wait(for: id, toBe: .running)
        while watched.ended.withLock({ $0 }).isEmpty { beat(shop, 1) }
        #expect(watched.ended.withLock { $0 } == [id])
        let job = try shop.service.job(id)
        #expect(job.state == .queued)
        #expect(job.reason?.code == "hung")
        #expect(job.failures == 1)
        #expect(shop.pool.isDraining)
        // Whatever it says when it wakes up comes too late.
        release.signal()
        shop.pool.stop(milliseconds: 60_000)
        #expect(try shop.service.job(id).state == .queued)
    }

    @Test("is left alone while it computes, or while it listens")
    func isSpared() throws {
        let watched = Watched()
        let shop = try Workshop(configure: { $0.hangs = watched.policy(seconds: 30) })
        let (release, listens) = (Flag(), Flag())
        shop.executor.script("busy") { _, control, _ in
            while !release.isRaised {
                if listens.isRaised { _ = control.signal }
                sched_yield()
            }
            return .succeeded(JobResult(models: [], report: .null))
        }
        shop.pool.start()
        let id = try shop.submit("busy")
        try shop.wait(for: id, toBe: .running)
        beat(shop, 20) { watched.used.withLock { $0 += 1 } }
        listens.raise()
        beat(shop, 20)
        release.raise()
        try shop.wait(for: id, toBe: .succeeded)
        #expect(watched.ended.withLock { $0 } == [])
    }

    @Test("is suspected for no time in which nobody watched: the process was stopped, the machine slept")
    func sleepIsNoHang() throws {
        let lease = Lease(jobID: try #require(JobID("job_00000000000000000000000001")), fence: 1)
        var watch = StallWatch(seconds: 30) { _ in { 7 } }
        let store = try TemporaryStore()
        let job = try store.submit()
        let control = JobControl(threads: 1)
        let recorder = RunRecorder(
            lease: lease, jobs: store.jobs, control: control, time: SystemTime(), hub: ChangeHub(),
            pulse: Bell())
        let run = WorkerPool.Run(
            job: job, worker: "worker-0", lease: lease, control: control, recorder: recorder)
        func isHung(atSecond second: UInt64) -> Bool {
            !watch.hung([run], now: second * 1_000_000_000, interval: 10_000_000_000).isEmpty
        }
        #expect(!isHung(atSecond: 1))
        // An hour in one look counts as ten seconds.
        #expect(!isHung(atSecond: 3_601))
        #expect(!isHung(atSecond: 7_201))
        _ = control.signal
        #expect(!isHung(atSecond: 7_206))
        for second: UInt64 in stride(from: 7_211, through: 7_231, by: 5) {
            #expect(!isHung(atSecond: second))
        }
        #expect(isHung(atSecond: 7_236))
    }
}
