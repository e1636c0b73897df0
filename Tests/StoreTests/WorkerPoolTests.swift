import Foundation
import JSON
import Jobs
import Store
import Synchronization
import Testing

@Suite("The worker pool") struct WorkerPoolTests {
    @Test("runs a job and stores all it reported")
    func runsAJob() throws {
        let shop = try Workshop()
        shop.executor.script("train") { job, _, sink in
            sink.metrics(
                (1...300).map {
                    MetricPoint(series: "train_loss", step: $0, value: 1 / Double($0), at: .start)
                })
            sink.progress(JobProgress(fraction: 1, step: 300, steps: 300))
            sink.totals(JobResources(cpuSeconds: 4))
            sink.event(.info, "note", "half way", ["step": 150])
            return .succeeded(JobResult(models: [], report: ["test_accuracy": 0.9]))
        }
        shop.pool.start()
        let id = try shop.submit("train")
        let job = try shop.wait(for: id, toBe: .succeeded)
        #expect(job.progress.step == 300)
        #expect(job.resources.cpuSeconds == 4)
        #expect(job.summary.map(\.name) == ["train_loss"])
        #expect(job.summary.first?.count == 300)
        #expect(job.summary.first?.bestStep == 300)
        #expect(job.result?.report["test_accuracy"] == 0.9)
        let curve = try #require(try shop.service.metrics(of: id, CurveQuery(pointsMax: 1000)).first)
        #expect(curve.steps == Array(1...300))
        #expect(try shop.service.events(of: id).map(\.type) == ["state", "state", "note", "state"])
    }

    @Test("runs each job on a thread whose name the kernel knows")
    func namesItsThreads() throws {
        let shop = try Workshop()
        let names = Mutex<[String]>([])
        shop.executor.script("train") { _, _, _ in
            let name = try? String(contentsOfFile: "/proc/thread-self/comm", encoding: .utf8)
            names.withLock { $0.append(name ?? "unknown") }
            return .succeeded(JobResult(models: [], report: .null))
        }
        shop.pool.start()
        for _ in 0..<10 { try shop.wait(for: try shop.submit("train"), toBe: .succeeded) }
        #expect(Set(names.withLock { $0 }).isSubset(of: ["worker-0\n", "worker-1\n"]))
    }

    @Test("cancels a queued job at once and a running one at its next step")
    func cancels() throws {
        let shop = try Workshop(workers: 1)
        shop.executor.script("long", ScriptedExecutor.obedient)
        shop.pool.start()
        let running = try shop.submit("long")
        try shop.wait(for: running, toBe: .running)
        let queued = try shop.submit("long")
        #expect(try shop.service.job(queued).waitingFor?.code == "worker")
        #expect(try shop.service.cancel(queued).state == .cancelled)
        #expect(try shop.service.cancel(running).state == .cancelling)
        let job = try shop.wait(for: running, toBe: .cancelled)
        #expect(job.transitions.map(\.state) == [.queued, .running, .cancelling, .cancelled])
        #expect(job.reason?.code == "cancelled_by_client")
        #expect(try shop.service.cancel(running).state == .cancelled)
    }

    @Test("pauses a running job at a checkpoint and goes on from it when resumed")
    func pausesAndResumes() throws {
        let shop = try Workshop()
        shop.executor.script("train") { job, control, sink in
            if let checkpoint = job.checkpoints.first {
                return .succeeded(JobResult(models: [], report: ["from": .integer(Int64(checkpoint.step))]))
            }
            let outcome = ScriptedExecutor.obedient(job, control, sink)
            guard (try? sink.checkpoint(.sample(step: 17, path: "jobs/17"))) == [] else {
                return .failed(JobFailure(code: "no_checkpoint", message: "The checkpoint was refused."))
            }
            return outcome
        }
        shop.pool.start()
        let id = try shop.submit("train")
        try shop.wait(for: id, toBe: .running)
        #expect(try shop.service.pause(id).state == .pausing)
        let paused = try shop.wait(for: id, toBe: .paused)
        #expect(paused.attempt == 0)
        #expect(try shop.service.resume(id).state == .queued)
        let done = try shop.wait(for: id, toBe: .succeeded)
        #expect(done.result?.report["from"] == 17)
        #expect(done.attempt == 1)
    }

    @Test("tries again after a back-off when that may help")
    func retries() throws {
        let shop = try Workshop()
        shop.executor.script("flaky") { job, _, _ in
            job.job.attempt == 1
                ? .failed(JobFailure(code: "io", message: "The disk hiccuped.", isRetryable: true))
                : .succeeded(JobResult(models: [], report: .null))
        }
        shop.pool.start()
        let id = try shop.submit("flaky")
        let waiting = try shop.wait(for: id) { $0.failures == 1 }
        #expect(waiting.state == .queued)
        #expect(waiting.waitingFor == WaitingFor(code: "backoff", message: "Is tried again in 10 s."))
        shop.time.advance(milliseconds: 10_000)
        #expect(try shop.wait(for: id, toBe: .succeeded).attempt == 2)
    }

    @Test("never spends more threads or memory than it has")
    func respectsBudgets() throws {
        let shop = try Workshop(workers: 6, budget: Budget(threads: 4, memoryBytes: 1000))
        var random = Seeded(state: 1)
        shop.executor.script("busy") { _, _, _ in
            for _ in 0..<50 { sched_yield() }
            return .succeeded(JobResult(models: [], report: .null))
        }
        shop.pool.start()
        let ids = try (0..<40).map { _ in
            try shop.submit(
                "busy", threads: .random(in: 1...4, using: &random),
                memory: .random(in: 1...600, using: &random))
        }
        for id in ids { try shop.wait(for: id, toBe: .succeeded) }
        #expect(shop.executor.most.threads <= 4)
        #expect(shop.executor.most.memoryBytes <= 1000)
        #expect(shop.pool.occupancy.free.threads <= 4)
    }

    @Test("drains: running jobs go back into the queue uncharged and new ones are refused")
    func drains() throws {
        let shop = try Workshop()
        shop.executor.script("long", ScriptedExecutor.obedient)
        shop.pool.start()
        let id = try shop.submit("long")
        try shop.wait(for: id, toBe: .running)
        #expect(shop.pool.drain(milliseconds: 60_000))
        let job = try shop.service.job(id)
        #expect(job.state == .queued)
        #expect((job.attempt, job.failures, job.crashes) == (0, 0, 0))
        #expect(job.waitingFor?.code == "drain")
        #expect(throws: JobError.draining) { try shop.submit("late") }
    }

    @Test("puts a job back that does not stop in time, and ignores what it says later")
    func abandonsTheDeaf() throws {
        let shop = try Workshop()
        let release = Flag()
        shop.executor.script("deaf") { _, _, sink in
            while !release.isRaised { sched_yield() }
            sink.metrics([MetricPoint(series: "train_loss", step: 1, value: 1, at: .start)])
            return .succeeded(JobResult(models: [], report: .null))
        }
        shop.pool.start()
        let id = try shop.submit("deaf")
        try shop.wait(for: id, toBe: .running)
        #expect(!shop.pool.drain(milliseconds: 0))
        #expect(try shop.service.job(id).state == .queued)
        release.raise()
        shop.pool.stop(milliseconds: 60_000)
        let job = try shop.service.job(id)
        #expect(job.state == .queued)
        #expect(job.attempt == 0)
        #expect(job.summary.isEmpty)
    }

    @Test("hears with the next heartbeat what was asked behind its back")
    func heartbeatsDeliverSignals() throws {
        let shop = try Workshop()
        shop.executor.script("long", ScriptedExecutor.obedient)
        shop.pool.start()
        let id = try shop.submit("long")
        try shop.wait(for: id, toBe: .running)
        let reason = JobReason(code: "cancelled_by_client", message: "A client cancelled the job.")
        _ = try shop.store.jobs.cancel(id, reason: reason, at: .start)
        shop.time.advance(milliseconds: 5_000)
        try shop.wait(for: id, toBe: .cancelled)
    }

    @Test("stops an attempt whose lease was given away")
    func stopsWithoutLease() throws {
        let shop = try Workshop(workers: 1)
        let signals = Mutex<[JobSignal]>([])
        shop.executor.script("long") { job, control, sink in
            guard job.lease.fence == 1 else { return .succeeded(JobResult(models: [], report: .null)) }
            let outcome = ScriptedExecutor.obedient(job, control, sink)
            signals.withLock { $0.append(control.signal) }
            return outcome
        }
        shop.pool.start()
        let id = try shop.submit("long")
        try shop.wait(for: id, toBe: .running)
        #expect(try shop.store.jobs.reclaimExpired(before: .max, at: .start) == [id])
        shop.time.advance(milliseconds: 5_000)
        let job = try shop.wait(for: id, toBe: .succeeded)
        #expect(job.fence == 2)
        #expect(signals.withLock { $0 } == [.cancel])
    }

    @Test("fails a job whose result or report the store can never take, and says so in the log")
    func failsWhatIsRefused() throws {
        let logged = Mutex<[JobError]>([])
        let shop = try Workshop(workers: 1) { error in logged.withLock { $0.append(error) } }
        var model = ModelRecord.sample(shop.store, job: nil)
        model.name = ""  // The schema wants a name.
        shop.executor.script("result") { [model] _, _, _ in
            .succeeded(JobResult(models: [model], report: .null))
        }
        shop.executor.script("report") { _, control, sink in
            // The schema wants a name of a series, too.
            sink.metrics([MetricPoint(series: "", step: 1, value: 1, at: .start)])
            return .succeeded(JobResult(models: [], report: .null))
        }
        shop.pool.start()
        for name in ["result", "report"] {
            let id = try shop.submit(name)
            let job = try shop.wait(for: id, toBe: .failed)
            #expect(job.error?.code == "internal")
            #expect(
                job.error?.message
                    == "The store does not take what the job reported; the log of the service says why.")
        }
        #expect(logged.withLock { $0.map(\.code) } == ["internal", "internal"])
        #expect(logged.withLock { $0.allSatisfy { $0.cause?.contains("CHECK constraint failed") == true } })
        try shop.wait(for: try shop.submit("fine"), toBe: .succeeded)
    }

    @Test("takes back a job whose lease ended and that nobody runs")
    func reclaimsTheForgotten() throws {
        let shop = try Workshop(workers: 1)
        let id = try shop.submit("forgotten")
        _ = try #require(try shop.store.claim())
        shop.pool.start()
        #expect(try shop.service.job(id).state == .running)
        shop.time.advance(milliseconds: 60_000)
        let job = try shop.wait(for: id, toBe: .succeeded)
        #expect(job.fence == 2)
        #expect(job.transitions.map(\.state) == [.queued, .running, .queued, .running, .succeeded])
    }

    @Test("runs the suspects of a crash one at a time and alone")
    func isolatesSuspects() throws {
        let store = try TemporaryStore()
        let suspects = try ["a", "b"].map { try store.submit(.sample(name: $0)).id }
        for _ in suspects { _ = try store.claim(isIdle: false, bootID: "boot-0") }
        let innocent = try store.submit(.sample(name: "c")).id
        let summary = try store.jobs.recover(bootID: "boot-1", crashLimit: 2, at: .start)
        #expect(Set(summary.requeued) == Set(suspects))
        let shop = try Workshop(workers: 3, store: store)
        shop.pool.start()
        for id in suspects + [innocent] { try shop.wait(for: id, toBe: .succeeded) }
        for gathering in shop.executor.gatherings where gathering.contains("a") || gathering.contains("b") {
            #expect(gathering.count == 1)
        }
        #expect(try suspects.map { try shop.service.job($0).crashes } == [0, 0])
    }

    @Test("says what a queued job waits for")
    func explainsWaiting() throws {
        let shop = try Workshop(workers: 4, budget: Budget(threads: 4, memoryBytes: 1000))
        shop.executor.script("long", ScriptedExecutor.obedient)
        shop.pool.start()
        let first = try shop.submit("long", threads: 2, memory: 700)
        try shop.wait(for: first, toBe: .running)
        let memory = try shop.submit("long", threads: 1, memory: 400)
        let threads = try shop.submit("long", threads: 3, memory: 100)
        #expect(
            try shop.service.job(memory).waitingFor
                == WaitingFor(code: "memory", message: "Needs 400 bytes; 300 are free."))
        #expect(
            try shop.service.job(threads).waitingFor
                == WaitingFor(code: "threads", message: "Needs 3 thread(s); 2 are free."))
        #expect(try shop.service.job(memory).queuePosition == 0)
        #expect(try shop.service.job(threads).queuePosition == 1)
    }

    @Test("refuses at submission what can never run, with the numbers")
    func refusesTheImpossible() throws {
        let shop = try Workshop()
        let error = #expect(throws: JobError.self) { try shop.submit("huge", threads: 5, memory: 4001) }
        guard case .invalid(let violations)? = error else { return }
        #expect(violations.map(\.code) == ["out_of_range", "insufficient_memory"])
        #expect(violations.last?.detail == "needs 4001 bytes; this service may use 4000")
        #expect(try shop.service.counts() == [:])
    }

    @Test("brings back-offs forward when the wall clock is set back")
    func survivesClockJumps() throws {
        let shop = try Workshop(workers: 1)
        shop.executor.script("flaky") { job, _, _ in
            job.job.attempt == 1
                ? .failed(JobFailure(code: "io", message: "The disk hiccuped.", isRetryable: true))
                : .succeeded(JobResult(models: [], report: .null))
        }
        shop.pool.start()
        let id = try shop.submit("flaky")
        try shop.wait(for: id) { $0.failures == 1 }
        shop.time.advance(milliseconds: 60_000, wallMilliseconds: -86_400_000)
        let now = shop.time.now()
        var due = try #require(try shop.store.jobs.nextDue(after: now))
        while due > now.adding(milliseconds: Settlement.backOffMillisecondsMax) {
            sched_yield()
            due = try #require(try shop.store.jobs.nextDue(after: now))
        }
        shop.time.advance(milliseconds: Settlement.backOffMillisecondsMax)
        try shop.wait(for: id, toBe: .succeeded)
    }

    @Test("lets no job that was never tried wait because the wall clock was set back")
    func neverTriedJobsDoNotWait() throws {
        let shop = try Workshop(workers: 1)
        shop.executor.script("long", ScriptedExecutor.obedient)
        shop.pool.start()
        let running = try shop.submit("long")
        try shop.wait(for: running, toBe: .running)
        let (fresh, resumed) = (try shop.submit("fresh"), try shop.submit("long"))
        _ = try shop.service.cancel(running)
        try shop.wait(for: fresh, toBe: .succeeded)
        try shop.wait(for: resumed, toBe: .running)
        _ = try shop.service.pause(resumed)
        try shop.wait(for: resumed, toBe: .paused)
        let blocker = try shop.submit("long")
        try shop.wait(for: blocker, toBe: .running)
        _ = try shop.service.resume(resumed)
        let waiting = try shop.submit("fresh")
        shop.time.advance(milliseconds: 60_000, wallMilliseconds: -86_400_000)
        _ = try shop.service.cancel(blocker)
        // Neither has a reason to wait: one was never tried, the other did not fail.
        try shop.wait(for: resumed, toBe: .running)
        _ = try shop.service.cancel(resumed)
        try shop.wait(for: waiting, toBe: .succeeded)
    }

    @Test("lets no job wait because the wall clock was set back while nobody ran")
    func noWaitsFromAnotherRun() throws {
        let shop = try Workshop(workers: 1)
        let id = try shop.submit("fresh")
        shop.time.advance(milliseconds: 0, wallMilliseconds: -86_400_000)
        shop.pool.start()
        try shop.wait(for: id, toBe: .succeeded)
    }
}

/// A flag that a test raises for a script.
final class Flag: Sendable {
    private let raised = Atomic(false)
    var isRaised: Bool { raised.load(ordering: .relaxed) }
    func raise() { raised.store(true, ordering: .relaxed) }
}
