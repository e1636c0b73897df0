import JSON
import Jobs
import Store
import Synchronization
import Testing

@Suite("Old jobs and old curves") struct RetentionTests {
    private static let day: Int64 = 86_400_000

    /// What a round did, for tests to see.
    private final class Trace: Sendable {
        let removed = Mutex<[String]>([])
        let lines = Mutex<[String]>([])
    }

    private func retention(
        _ store: TemporaryStore, _ trace: Trace, at now: Timestamp,
        over repository: (any RetentionRepository)? = nil, _ edit: (inout RetentionPolicy) -> Void
    ) -> JobRetention {
        var policy = RetentionPolicy()
        edit(&policy)
        let time = ManualTime()
        time.advance(milliseconds: now.milliseconds - Timestamp.start.milliseconds)
        return JobRetention(
            policy, retention: repository ?? store.jobs, jobs: store.jobs, metrics: store.metrics,
            hub: ChangeHub(), time: time, removeFiles: { paths in trace.removed.withLock { $0 += paths } },
            log: { message, detail, _ in trace.lines.withLock { $0.append("\(message): \(detail)") } })
    }

    /// A job that ended then, with a curve of `points` whose spike must not be lost.
    @discardableResult
    private func ended(_ store: TemporaryStore, at now: Timestamp, points: Int = 0) throws -> JobID {
        try store.submit(at: now)
        let claim = try #require(try store.claim(at: now))
        var report = RunReport()
        report.points = (0..<points).map {
            MetricPoint(series: "train_loss", step: $0, value: $0 == points / 3 ? 99 : 1, at: now)
        }
        report.samples = (0..<points).map { index in
            var sample = ResourcePoint(at: now + Int64(index), step: index)
            (sample.watts, sample.gflops) = (index == points / 2 ? 500 : 10, Double(index % 7))
            return sample
        }
        _ = try store.jobs.record(report, for: claim.lease, at: now)
        let model = ModelRecord.sample(store, job: claim.job.id, path: "models/\(claim.job.id)")
        let change = try store.jobs.finish(
            claim.lease,
            .succeeded(JobResult(models: [model], report: [:])),
            at: now)
        return try #require(change).job.id
    }

    @Test("jobs go when they are old enough, and their models stay with what made them forgotten")
    func deletesByAge() throws {
        let store = try TemporaryStore()
        let old = try ended(store, at: .start, points: 5000)
        let young = try ended(store, at: .start + 2 * Self.day)
        let waiting = try store.submit(at: .start)
        let trace = Trace()
        try retention(store, trace, at: .start + 2 * Self.day) { $0.jobDays = 1 }.round()
        #expect(throws: JobError.jobNotFound(old)) { try store.jobs.job(old) }
        #expect(try store.jobs.job(young).state == .succeeded && store.jobs.job(waiting.id).state == .queued)
        let models = try store.models.models(PageRequest()).items
        #expect(models.count == 2 && models.count { $0.jobID == nil } == 1)
        #expect(trace.lines.withLock { $0 } == ["old jobs were deleted: 1"])
        try retention(store, trace, at: .start + 2 * Self.day) { $0.jobDays = 1 }.round()
        #expect(trace.lines.withLock { $0.count } == 1)
    }

    @Test("of the jobs that ended the last so many stay")
    func deletesByCount() throws {
        let store = try TemporaryStore()
        let all = try (0..<5).map { try ended(store, at: .start + $0) }
        try retention(store, Trace(), at: .start + 10) { $0.jobCount = 2 }.round()
        #expect(try store.jobs.list(JobQuery()).items.map(\.id) == [all[4], all[3]])
        try retention(store, Trace(), at: .start + 10) { $0.jobCount = 2 }.round()
        #expect(try store.jobs.list(JobQuery()).items.count == 2)
        try retention(store, Trace(), at: .start + 10) { $0.jobCount = 0 }.round()
        #expect(try store.jobs.list(JobQuery()).items.isEmpty)
    }

    @Test("a job that another one waits for stays until that one is over")
    func keepsWhatIsNeeded() throws {
        let store = try TemporaryStore()
        let needed = try ended(store, at: .start)
        let dependant = try store.submit(.sample(dependencies: [needed]), at: .start)
        let much = Timestamp.start + 10 * Self.day
        try retention(store, Trace(), at: much) { $0.jobDays = 1 }.round()
        #expect(try store.jobs.job(needed).state == .succeeded)
        _ = try store.jobs.cancel(dependant.id, reason: JobReason(code: "c", message: "m"), at: .start)
        try retention(store, Trace(), at: much) { $0.jobDays = 1 }.round()
        #expect(try store.jobs.list(JobQuery()).items.isEmpty)
    }

    @Test("checkpoints of a deleted job are handed over for deletion")
    func removesFiles() throws {
        let store = try TemporaryStore()
        try store.submit()
        let claim = try #require(try store.claim())
        _ = try store.jobs.checkpoint(.sample(step: 1, path: "jobs/a/1"), for: claim.lease, at: .start)
        let failure = JobFailure(code: "nan", message: "not a number")
        _ = try store.jobs.finish(claim.lease, .failed(failure), at: .start)
        let trace = Trace()
        try retention(store, trace, at: .start + 2 * Self.day) { $0.jobDays = 1 }.round()
        #expect(trace.removed.withLock { $0 } == ["jobs/a/1", "jobs/\(claim.job.id)"])
    }

    @Test("old curves keep their ends and their spikes in a thousand points, and their summaries")
    func thins() throws {
        let store = try TemporaryStore()
        let old = try ended(store, at: .start, points: 12_345)
        let young = try ended(store, at: .start + 3 * Self.day, points: 3000)
        let summary = try store.jobs.job(old).summary
        let trace = Trace()
        let now = Timestamp.start + 3 * Self.day
        try retention(store, trace, at: now) { $0.pointDays = 2 }.round()
        let curve = try #require(try store.metrics.metrics(of: old, CurveQuery(pointsMax: 10_000)).first)
        #expect(curve.steps.count <= RetentionPolicy.pointsMax && curve.steps.count > 3)
        #expect(curve.steps.first == 0 && curve.steps.last == 12_344)
        #expect(zip(curve.steps, curve.values).contains { $0 == 4115 && $1 == 99 })
        #expect(try store.jobs.job(old).summary == summary)
        let samples = try store.metrics.resources(of: old, CurveQuery(pointsMax: 10_000))
        #expect(samples.allSatisfy { $0.steps.count <= RetentionPolicy.pointsMax })
        #expect(samples.first { $0.name == "watts" }?.values.contains(500) == true)
        let whole = try #require(try store.metrics.metrics(of: young, CurveQuery(pointsMax: 10_000)).first)
        #expect(whole.steps.count == 3000)
        #expect(trace.lines.withLock { $0 } == ["old curves were thinned: 1"])
        try retention(store, trace, at: now) { $0.pointDays = 2 }.round()
        #expect(trace.lines.withLock { $0.count } == 1)
    }

    @Test("a job that is tried again while its curves are thinned is passed over, and others are not")
    func passesOver() throws {
        let store = try TemporaryStore()
        let ids = try (0..<3).map { _ in
            try store.submit()
            let claim = try #require(try store.claim())
            var report = RunReport()
            report.points = (0..<2000).map {
                MetricPoint(series: "train_loss", step: $0, value: 1, at: .start)
            }
            _ = try store.jobs.record(report, for: claim.lease, at: .start)
            let failure = JobFailure(code: "nan", message: "not a number")
            _ = try store.jobs.finish(claim.lease, .failed(failure), at: .start)
            return claim.job.id
        }
        let trace = Trace()
        let much = Timestamp.start + 10 * Self.day
        let meddler = Meddler(jobs: store.jobs, id: ids[1])
        try retention(store, trace, at: much, over: meddler) { $0.pointDays = 1 }.round()
        #expect(trace.lines.withLock { $0 } == ["old curves were thinned: 2"])
        #expect(try store.jobs.job(ids[1]).state == .queued)
        let counts = try ids.map { id in
            try store.metrics.metrics(of: id, CurveQuery(pointsMax: 10_000)).first?.steps.count ?? 0
        }
        #expect(counts[0] <= 1000 && counts[1] == 2000 && counts[2] <= 1000, "\(counts)")
    }

    /// A client that asks for another attempt of a job just before its curves are thinned.
    private struct Meddler: RetentionRepository {
        let jobs: SQLiteJobRepository
        let id: JobID

        func expiredJobs(
            by policy: RetentionPolicy, at now: Timestamp, limit: Int
        ) throws(JobError) -> [JobID] {
            try jobs.expiredJobs(by: policy, at: now, limit: limit)
        }
        func unthinnedJobs(before: Timestamp, limit: Int) throws(JobError) -> [JobID] {
            try jobs.unthinnedJobs(before: before, limit: limit)
        }
        func thin(_ id: JobID, series: String, keeping steps: [Int], from start: Int) throws(JobError) -> Int
        {
            if id == self.id {
                _ = try jobs.retry(id, fromScratch: false, limits: QueueLimits(), at: .start)
            }
            return try jobs.thin(id, series: series, keeping: steps, from: start)
        }
        func thinSamples(of id: JobID, keeping times: [Timestamp], from start: Int) throws(JobError) -> Int {
            try jobs.thinSamples(of: id, keeping: times, from: start)
        }
        func markThinned(_ id: JobID) throws(JobError) { try jobs.markThinned(id) }
    }

    @Test("samples of a job without steps, or that went back to a checkpoint, keep their peaks on the disk")
    func thinsSamplesOfAnySteps() throws {
        for step in [{ _ in 0 }, { 4000 - $0 }] as [(Int) -> Int] {
            let store = try TemporaryStore()
            try store.submit()
            let claim = try #require(try store.claim())
            var report = RunReport()
            report.samples = (0..<4000).map { index in
                var sample = ResourcePoint(at: .start + Int64(index), step: step(index))
                sample.rssBytes = index == 1234 ? 500 : index == 2345 ? 1 : 100
                return sample
            }
            _ = try store.jobs.record(report, for: claim.lease, at: .start)
            let result = JobResult(models: [], report: [:])
            _ = try store.jobs.finish(claim.lease, .succeeded(result), at: .start)
            try retention(store, Trace(), at: .start + 3 * Self.day) { $0.pointDays = 2 }.round()
            let query = CurveQuery(pointsMax: 10_000)
            let curve = try #require(try store.metrics.resources(of: claim.job.id, query).first)
            #expect(curve.values.count <= RetentionPolicy.pointsMax)
            #expect(curve.values.filter { $0 != 100 } == [500, 1])
            #expect(curve.times == curve.times.sorted())
        }
    }

    @Test("a job that is tried again is thinned again when it is over")
    func thinsAgain() throws {
        let store = try TemporaryStore()
        try store.submit()
        let claim = try #require(try store.claim())
        let failure = JobFailure(code: "nan", message: "not a number")
        _ = try store.jobs.finish(claim.lease, .failed(failure), at: .start)
        let much = Timestamp.start + 10 * Self.day
        try retention(store, Trace(), at: much) { $0.pointDays = 1 }.round()
        #expect(try store.jobs.unthinnedJobs(before: much, limit: 10).isEmpty)
        _ = try store.jobs.retry(claim.job.id, fromScratch: false, limits: QueueLimits(), at: .start)
        #expect(throws: JobError.stateConflict(claim.job.id, state: .queued, action: "be cleared away")) {
            try store.jobs.thinSamples(of: claim.job.id, keeping: [], from: 0)
        }
        _ = try store.jobs.cancel(claim.job.id, reason: JobReason(code: "c", message: "m"), at: .start)
        #expect(try store.jobs.unthinnedJobs(before: much, limit: 10) == [claim.job.id])
    }
}
