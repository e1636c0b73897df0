import Foundation
import JSON
import Jobs
import Store
import Synchronization
import Testing

@Suite("Submitting a job") struct SubmissionTests {
    private func submission(_ seed: Int64, key: String?, principal: String = "alice") -> JobSubmission {
        JobSubmission(
            resolved: .sample(spec: ["seed": .integer(seed)]),
            idempotency: key.map { IdempotencyKey(principal: principal, key: $0) },
            body: ["seed": .integer(seed)])
    }

    @Test("stores it queued, with all it was resolved to")
    func storesAllFields() throws {
        let store = try TemporaryStore()
        let resolved = ResolvedJob.sample(
            name: "näme", labels: ["commit": "abc", "ci": "yes"], priority: 7, maxAttempts: 2, threads: 3,
            memoryBytes: 1 << 33, spec: ["lr": 0.05, "layers": [1, 2]])
        let job = try store.submit(resolved)
        #expect(job == (try store.jobs.job(job.id)))
        #expect(job.state == .queued)
        #expect(job.name == "näme")
        #expect(job.labels == ["commit": "abc", "ci": "yes"])
        #expect((job.priority, job.maxAttempts, job.threads, job.memoryBytes) == (7, 2, 3, 1 << 33))
        #expect(job.spec == ["lr": 0.05, "layers": [1, 2]])
        #expect(job.transitions == [JobTransition(state: .queued, at: .start)])
        #expect((job.attempt, job.version) == (0, 1))
    }

    @Test("again under the same key gives the same job, across restarts too")
    func replays() throws {
        let store = try TemporaryStore()
        let first = try store.jobs.submit(submission(1, key: "k"), at: .start)
        try store.reopen()
        let again = try store.jobs.submit(submission(1, key: "k"), at: .start + 1000)
        #expect(!first.isReplay)
        #expect(again.isReplay)
        #expect(again.job.id == first.job.id)
        #expect(try store.jobs.counts() == [.queued: 1])
    }

    @Test("again under the key of a job that was deleted makes no second one, for a day")
    func remembersDeletedJobs() throws {
        let store = try TemporaryStore()
        let first = try store.jobs.submit(submission(1, key: "k"), at: .start).job.id
        _ = try store.jobs.cancel(first, reason: JobReason(code: "x", message: "x"), at: .start)
        _ = try store.jobs.delete(first, includingModels: false)
        try store.reopen()
        for again in [Timestamp.start, .start + 86_400_000] {
            #expect(throws: JobError.jobDeleted(first, key: "k")) {
                try store.jobs.submit(submission(1, key: "k"), at: again)
            }
        }
        #expect(throws: JobError.idempotencyConflict(key: "k")) {
            try store.jobs.submit(submission(2, key: "k"), at: .start)
        }
        #expect(try store.jobs.counts() == [:])
        try store.database.close()
        let inspection = try SQLiteInspection(path: store.path, newestSchema: .max)
        #expect(try inspection.violations() == [])
        try store.reopen()
        #expect(try !store.jobs.submit(submission(1, key: "k"), at: .start + 86_400_001).isReplay)
    }

    @Test("under a used key with another body is refused")
    func refusesOtherBody() throws {
        let store = try TemporaryStore()
        _ = try store.jobs.submit(submission(1, key: "k"), at: .start)
        let error = #expect(throws: JobError.idempotencyConflict(key: "k")) {
            try store.jobs.submit(submission(2, key: "k"), at: .start)
        }
        #expect(error?.description.contains("was used before with another body") == true)
        _ = try store.jobs.submit(submission(2, key: "k", principal: "bob"), at: .start)
        #expect(try store.jobs.counts() == [.queued: 2])
    }

    @Test("again gives the same job even when the request would not be accepted any more")
    func replaysWhatIsNoLongerValid() throws {
        let body: JSONValue = ["name": "sample", "threads": 4]
        let key = IdempotencyKey(principal: "alice", key: "k")
        let shop = try Workshop()
        let first = try shop.service.submit(body, idempotency: key)
        let smaller = try Workshop(budget: Budget(threads: 1, memoryBytes: 1), store: shop.store)
        #expect(throws: JobError.self) { try smaller.service.submit(body) }
        let again = try smaller.service.submit(body, idempotency: key)
        #expect(again.isReplay)
        #expect(again.job.id == first.job.id)
        #expect(again.job.waitingFor?.code == "capacity")
        #expect(throws: JobError.idempotencyConflict(key: "k")) {
            try smaller.service.submit(["name": "other"], idempotency: key)
        }
    }

    @Test("under a key older than a day makes a new job")
    func forgetsOldKeys() throws {
        let store = try TemporaryStore()
        _ = try store.jobs.submit(submission(1, key: "k"), at: .start)
        let day: Int64 = 86_400_000
        #expect(try store.jobs.submit(submission(1, key: "k"), at: .start + day).isReplay)
        #expect(try !store.jobs.submit(submission(1, key: "k"), at: .start + (day + 1)).isReplay)
    }

    @Test("50 times at once under one key makes one job")
    func isIdempotentUnderConcurrency() throws {
        let store = try TemporaryStore()
        let jobs = store.jobs
        let receipts = Mutex<[SubmissionReceipt]>([])
        DispatchQueue.concurrentPerform(iterations: 50) { _ in
            if let receipt = try? jobs.submit(submission(1, key: "k"), at: .start) {
                receipts.withLock { $0.append(receipt) }
            }
        }
        let all = receipts.withLock { $0 }
        #expect(all.count == 50)
        #expect(Set(all.map(\.job.id)).count == 1)
        #expect(all.filter { !$0.isReplay }.count == 1)
        #expect(try store.jobs.counts() == [.queued: 1])
    }

    @Test("is refused when the queue is full, but a replay is not")
    func refusesBeyondLimit() throws {
        let store = try TemporaryStore()
        let one = JobSubmission(
            resolved: .sample(), idempotency: IdempotencyKey(principal: "a", key: "k"), body: 1,
            limits: QueueLimits(total: 1))
        let two = JobSubmission(resolved: .sample(), idempotency: nil, body: 1, limits: QueueLimits(total: 1))
        _ = try store.jobs.submit(one, at: .start)
        #expect(throws: JobError.queueFull(limit: 1)) { try store.jobs.submit(two, at: .start) }
        #expect(try store.jobs.submit(one, at: .start).isReplay)
    }

    @Test("is refused when too many jobs of its token wait, whatever others have; but for the exempt")
    func refusesBeyondTokenLimit() throws {
        let store = try TemporaryStore()
        let limits = QueueLimits(perToken: 2, exempt: ["owner"])
        let submit = { (submitter: String) in
            let submission = JobSubmission(
                resolved: .sample(), idempotency: nil, body: 1, submitter: submitter, limits: limits)
            return try store.jobs.submit(submission, at: .start).job.id
        }
        let first = try submit("ci")
        _ = try submit("ci")
        #expect(throws: JobError.tokenQueueFull(limit: 2)) { try submit("ci") }
        for name in ["other", "owner", "owner", "owner", "", "", ""] { _ = try submit(name) }
        _ = try store.jobs.cancel(first, reason: JobReason(code: "x", message: "x"), at: .start)
        _ = try submit("ci")
        try store.reopen()
        #expect(throws: JobError.tokenQueueFull(limit: 2)) { try submit("ci") }
    }

    @Test("names every dependency that is missing or can never succeed")
    func refusesImpossibleDependencies() throws {
        let store = try TemporaryStore()
        let failed = try store.submit()
        _ = try store.jobs.cancel(failed.id, reason: JobReason(code: "x", message: "x"), at: .start)
        let unknown: JobID = IdentifierGenerator().next(at: .start)
        let fine = try store.submit()
        let error = #expect(throws: JobError.self) {
            try store.submit(.sample(dependencies: [fine.id, unknown, failed.id]))
        }
        guard case .invalid(let violations)? = error else {
            Issue.record("not a violation: \(String(describing: error))")
            return
        }
        #expect(violations.map(\.pointer) == ["/depends_on/1", "/depends_on/2"])
        #expect(violations.map(\.code) == ["job_not_found", "dependency_failed"])
    }

    @Test("tells of its dependencies beside every other violation, and before it is stored")
    func refusesDependenciesEarly() throws {
        let shop = try Workshop()
        let unknown: JobID = IdentifierGenerator().next(at: .start)
        func violations(_ body: JSONValue) -> [Violation] {
            do throws(JobError) { _ = try shop.service.resolve(body) } catch {
                if case .invalid(let violations) = error { return violations }
            }
            return []
        }
        let named = JSONValue.string(unknown.rawValue)
        #expect(violations(["name": "a", "depends_on": [named]]).map(\.code) == ["job_not_found"])
        #expect(
            violations(["depends_on": ["job_1", named]]).map(\.pointer) == ["/name", "/depends_on/1"])
        let needed = try shop.submit("needed")
        let fine: JSONValue = ["name": "a", "depends_on": [.string(needed.rawValue)]]
        #expect(violations(fine).isEmpty)
        _ = try shop.service.cancel(needed)
        #expect(violations(fine).map(\.code) == ["dependency_failed"])
    }

    @Test("with a spec beyond 256 KiB is refused, not cut")
    func refusesLongSpecs() throws {
        let store = try TemporaryStore()
        let long = ResolvedJob.sample(spec: .string(String(repeating: "x", count: 262_143)))
        #expect(throws: JobError.self) { try store.submit(long) }
        #expect(try store.jobs.counts() == [:])
    }

    @Test("tells the place in the queue that is counted", arguments: 0..<4 as Range<UInt64>)
    func places(seed: UInt64) throws {
        let store = try TemporaryStore()
        var random = Seeded(state: seed)
        var (now, waiting) = (Timestamp.start, [JobID]())
        for _ in 0..<120 {
            now = now + Int64.random(in: 0...3, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0:
                if let claim = try store.claim(at: now) { waiting.removeAll { $0 == claim.job.id } }
            case 1:
                guard let id = waiting.randomElement(using: &random) else { continue }
                let reason = JobReason(code: "c", message: "m")
                _ = try store.jobs.cancel(id, reason: reason, at: now)
                waiting.removeAll { $0 == id }
            default:
                var needs: [JobID] = []
                if Int.random(in: 0..<8, using: &random) == 0, let last = waiting.last,
                    try store.jobs.job(last).state == .queued
                {
                    needs = [last]
                }
                let job = ResolvedJob.sample(
                    priority: Int.random(in: 0..<6, using: &random) == 0 ? 50 : 0, dependencies: needs)
                let submission = JobSubmission(resolved: job, idempotency: nil, body: job.spec)
                let receipt = try store.jobs.submit(submission, at: now)
                let counted = try store.jobs.queuePosition(of: receipt.job, at: now)
                #expect(receipt.queuePosition == (needs.isEmpty ? counted : nil))
                waiting.append(receipt.job.id)
            }
        }
    }

    @Test("is refused where what it starts from was deleted since it was checked")
    func missingSources() throws {
        let store = try TemporaryStore()
        let model = ModelRecord.sample(store, job: nil)
        var job = ResolvedJob.sample()
        job.dataset = "dst_1"
        job.models = [NeededModel(pointer: "/model/id", id: model.id, job: nil)]
        func submit(hasDataset: Bool) throws {
            let submission = JobSubmission(resolved: job, idempotency: nil, body: job.spec) { hasDataset }
            _ = try store.jobs.submit(submission, at: .start)
        }
        let error = #expect(throws: JobError.self) { try submit(hasDataset: false) }
        guard case .invalid(let violations) = error else { throw error ?? JobError.draining }
        #expect(violations.map(\.pointer) == ["/dataset", "/model/id"])
        #expect(violations.map(\.code) == ["unknown_dataset", "unknown_model"])
        try store.models.add(model)
        #expect(throws: JobError.self) { try submit(hasDataset: false) }
        #expect(try store.jobs.counts().isEmpty)
        try submit(hasDataset: true)
        #expect(try store.jobs.counts() == [.queued: 1])

        // The model of a job that had not ended when it was checked.
        let maker = try store.submit(.sample(name: "maker", priority: 50))
        job.models = [NeededModel(pointer: "/distill/teacher/job", id: nil, job: maker.id)]
        try submit(hasDataset: true)
        let claim = try #require(try store.claim())
        #expect(claim.job.id == maker.id)
        _ = try store.jobs.finish(
            claim.lease, .succeeded(JobResult(models: [], report: .null)), at: .start)
        let late = #expect(throws: JobError.self) { try submit(hasDataset: true) }
        guard case .invalid(let missing) = late else { throw late ?? JobError.draining }
        #expect(missing.map(\.pointer) == ["/distill/teacher/job"] && missing.map(\.code) == ["no_model"])
    }

    @Test(
        "waits once for a job that it names twice, and never starts after one that was deleted unsuccessful")
    func dependencies() throws {
        let store = try TemporaryStore()
        let reason = JobReason(code: "c", message: "m")
        let needed = try store.submit(.sample(name: "needed"))
        let twice = try store.submit(.sample(dependencies: [needed.id, needed.id]))
        let once = try store.submit(.sample(dependencies: [needed.id]))
        let claim = try #require(try store.claim())
        _ = try store.jobs.finish(claim.lease, .succeeded(JobResult(models: [], report: .null)), at: .start)
        for job in [twice, once] {
            let claim = try #require(try store.claim())
            #expect(claim.job.id == job.id)
            _ = try store.jobs.finish(claim.lease, .cancelled, at: .start)
        }

        let failed = try store.submit(.sample(name: "failed"))
        let dependant = try store.submit(.sample(dependencies: [needed.id, failed.id]))
        _ = try store.jobs.cancel(failed.id, reason: reason, at: .start)
        #expect(try store.jobs.job(dependant.id).state == .cancelled)
        func retry() throws -> Job {
            try store.jobs.retry(dependant.id, fromScratch: false, limits: QueueLimits(), at: .start).job
        }
        #expect(throws: JobError.self) { try retry() }
        _ = try store.jobs.delete(needed.id, includingModels: false)
        _ = try store.jobs.delete(failed.id, includingModels: false)
        let error = #expect(throws: JobError.self) { try retry() }
        #expect(error?.description.contains("was deleted and had not succeeded") == true)

        let plain = try store.submit(.sample(name: "plain"))
        let later = try store.submit(.sample(dependencies: [plain.id]))
        let second = try #require(try store.claim())
        _ = try store.jobs.finish(second.lease, .succeeded(JobResult(models: [], report: .null)), at: .start)
        _ = try store.jobs.cancel(later.id, reason: reason, at: .start)
        _ = try store.jobs.delete(plain.id, includingModels: false)
        #expect(
            try store.jobs.retry(later.id, fromScratch: false, limits: QueueLimits(), at: .start).job.state
                == .queued)
    }

    @Test("is refused by the service where its dataset goes between the check and the storing")
    func fleetingDataset() throws {
        let shop = try Workshop()
        let error = #expect(throws: JobError.self) {
            try shop.service.submit(["name": "a", "dataset": .string(PlainResolver.fleeting)])
        }
        guard case .invalid(let violations) = error else { throw error ?? JobError.draining }
        #expect(violations.map(\.code) == ["unknown_dataset"])
        #expect(try shop.store.jobs.counts().isEmpty)
        _ = try shop.service.submit(["name": "a", "dataset": "kept"])
    }

    @Test("is refused at the limit exactly, though the queue is not counted each time")
    func countsAtTheLimit() throws {
        let store = try TemporaryStore()
        var limits = QueueLimits(total: 5, perToken: 3)
        limits.exempt = ["operator"]
        func submit(_ submitter: String) throws -> JobID {
            let job = ResolvedJob.sample()
            return try store.jobs.submit(
                JobSubmission(
                    resolved: job, idempotency: nil, body: job.spec, submitter: submitter, limits: limits),
                at: .start
            ).job.id
        }
        let reason = JobReason(code: "c", message: "m")
        for _ in 0..<4 {
            let own = try (0..<3).map { _ in try submit("alice") }
            #expect(throws: JobError.tokenQueueFull(limit: 3)) { try submit("alice") }
            let others = try (0..<2).map { _ in try submit("operator") }
            #expect(throws: JobError.queueFull(limit: 5)) { try submit("operator") }
            for id in own + others { _ = try store.jobs.cancel(id, reason: reason, at: .start) }
        }
    }
}
