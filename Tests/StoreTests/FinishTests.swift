import JSON
import Jobs
import Store
import Testing

@Suite("Ending an attempt") struct FinishTests {
    @Test("in success stores model, report and resources with the job")
    func storesTheResult() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        let model = ModelRecord.sample(store, job: job.id)
        let resources = JobResources(cpuSeconds: 3.5, wallSeconds: 2, peakMemoryBytes: 1 << 27, joules: 12)
        let result = JobResult(models: [model], report: ["test_accuracy": 0.913], resources: resources)
        let done = try #require(try store.jobs.finish(lease, .succeeded(result), at: .start + 7)).job
        #expect(done.state == .succeeded)
        #expect(done.finishedAt == .start + 7)
        #expect(done.result == StoredResult(modelID: model.id, report: ["test_accuracy": 0.913]))
        #expect(done.resources == resources)
        #expect(try store.models.model(model.id) == model)
        #expect(try store.jobs.namedPaths() == ["models/a"])
    }

    @Test("never comes before its beginning, though the clock was set back")
    func endsBehindItsStart() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        let result = JobOutcome.succeeded(JobResult(models: [], report: .null))
        let done = try #require(try store.jobs.finish(lease, result, at: .start + -86_400_000)).job
        let started = try #require(done.startedAt)
        #expect(started >= done.createdAt)
        #expect(try #require(done.finishedAt) >= started)
        let times = try store.jobs.job(job.id).transitions.map(\.at)
        #expect(times.count == 3 && times == times.sorted())
        #expect(done.finishedAt == times.last)
    }

    @Test("by somebody who lost the lease changes nothing at all")
    func respectsTheFence() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let stale = try #require(try store.claim()).lease
        #expect(try store.jobs.reclaimExpired(before: 30_000_000_001, at: .start) == [job.id])
        let fresh = try #require(try store.claim()).lease
        #expect(fresh.fence > stale.fence)
        let before = try store.jobs.job(job.id)

        let model = ModelRecord.sample(store, job: job.id)
        let result = JobOutcome.succeeded(JobResult(models: [model], report: .null))
        #expect(try store.jobs.finish(stale, result, at: .start) == nil)
        #expect(try store.jobs.heartbeat([stale, fresh], until: 5) == [fresh: .running])
        var report = RunReport()
        report.points = [MetricPoint(series: "train_loss", step: 1, value: 1, at: .start)]
        report.progress = JobProgress(fraction: 1)
        #expect(try !store.jobs.record(report, for: stale, at: .start))
        #expect(try store.jobs.checkpoint(.sample(step: 1, path: "x"), for: stale, at: .start) == nil)
        #expect(try !store.jobs.rewind(toStep: 0, of: "", for: stale))

        #expect(try store.jobs.job(job.id) == before)
        #expect(try store.models.models(PageRequest()).items.isEmpty)
        #expect(try store.jobs.checkpoints(of: job.id).isEmpty)
        #expect(try store.jobs.finish(fresh, result, at: .start)?.job.state == .succeeded)
        #expect(try store.jobs.finish(fresh, result, at: .start) == nil)
    }

    @Test("in success releases its dependants once all their dependencies succeeded")
    func releasesDependants() throws {
        let store = try TemporaryStore()
        let (one, two) = (try store.submit(), try store.submit())
        let both = try store.submit(.sample(dependencies: [one.id, two.id]))
        #expect(both.unfinishedDependencies == 2)
        #expect(Set(both.dependencies) == [one.id, two.id])
        let leases = try (0..<2).map { _ in try #require(try store.claim()).lease }
        #expect(try store.claim() == nil)
        let done = JobOutcome.succeeded(JobResult(models: [], report: .null))
        #expect(try store.jobs.finish(leases[0], done, at: .start)?.dependants == [both.id])
        #expect(try store.claim() == nil)
        #expect(try store.jobs.finish(leases[1], done, at: .start)?.dependants == [both.id])
        #expect(try store.claim()?.job.id == both.id)
    }

    @Test("in failure cancels everything that needed it, however far away")
    func cancelsDependants() throws {
        let store = try TemporaryStore()
        let first = try store.submit()
        let second = try store.submit(.sample(dependencies: [first.id]))
        let third = try store.submit(.sample(dependencies: [second.id]))
        let bystander = try store.submit()
        let lease = try #require(try store.claim()).lease
        let failure = JobFailure(
            code: "loss_not_finite", message: "The loss is NaN at step 7.", step: 7,
            report: ["gate": ["kept": "none"]])
        let change = try #require(try store.jobs.finish(lease, .failed(failure), at: .start))
        #expect(change.job.error == failure)
        #expect(
            change.job.reason == JobReason(code: "loss_not_finite", message: "The loss is NaN at step 7."))
        #expect(Set(change.dependants) == [second.id, third.id])
        for id in [second.id, third.id] {
            let job = try store.jobs.job(id)
            #expect(job.state == .cancelled)
            #expect(job.reason?.code == "dependency_failed")
        }
        #expect(try store.jobs.job(bystander.id).state == .queued)
    }

    @Test("by a failure worth retrying fails for good after the last attempt")
    func exhaustsAttempts() throws {
        let store = try TemporaryStore()
        try store.submit(.sample(maxAttempts: 2))
        let outcome = JobOutcome.failed(JobFailure(code: "io", message: "no", isRetryable: true))
        let first = try #require(try store.claim()).lease
        #expect(try store.jobs.finish(first, outcome, at: .start)?.job.state == .queued)
        let second = try #require(try store.claim(at: .start + 20_000)).lease
        let job = try #require(try store.jobs.finish(second, outcome, at: .start)).job
        #expect(job.state == .failed)
        #expect((job.attempt, job.failures) == (2, 2))
    }

    @Test("by a shutdown forgets the attempt and keeps the place in the queue")
    func refundsADrainedAttempt() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim(at: .start + 50)).lease
        let yielded = try #require(try store.jobs.finish(lease, .yielded, at: .start + 99)).job
        #expect(yielded.state == .queued)
        #expect((yielded.attempt, yielded.failures) == (0, 0))
        #expect(yielded.queuedAt == job.queuedAt)
        #expect(yielded.reason?.code == "drained")
    }

    @Test("of a job that should cancel cancels it, whatever the attempt says")
    func cancellationWins() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        let reason = JobReason(code: "cancelled_by_client", message: "A client cancelled the job.")
        #expect(try store.jobs.cancel(job.id, reason: reason, at: .start).job.state == .cancelling)
        #expect(try store.jobs.heartbeat([lease], until: 9) == [lease: .cancelling])
        let model = ModelRecord.sample(store, job: job.id)
        let outcome = JobOutcome.succeeded(JobResult(models: [model], report: .null))
        let ended = try #require(try store.jobs.finish(lease, outcome, at: .start)).job
        #expect(ended.state == .cancelled)
        #expect(ended.reason == reason)
        #expect(ended.result == nil)
        #expect(try store.models.models(PageRequest()).items.isEmpty)
    }
}
