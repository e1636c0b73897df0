import JSON
import Jobs
import Store
import Testing

/// Random moves, legal and illegal, against a model that knows nothing of the store.
@Suite("Any sequence of moves") struct StateMachineTests {
    /// What the model expects of one job.
    struct Expected {
        var state = JobState.queued
        var lease: Lease?
        var history = [JobState.queued]

        mutating func enter(_ next: JobState) {
            state = next
            history.append(next)
            if !next.isHeld { lease = nil }
        }
    }

    static let reason = JobReason(code: "cancelled_by_client", message: "A client cancelled the job.")

    @Test("leaves the store where the table of states says", arguments: 1...12)
    func followsTheTable(seed: Int) throws {
        var random = Seeded(state: UInt64(seed))
        let store = try TemporaryStore()
        var model: [JobID: Expected] = [:]
        var stale: [Lease] = []
        for step in 0..<150 {
            let now = Timestamp.start + Int64(step) * 1_000_000
            guard Int.random(in: 0..<6, using: &random) > 0,
                let id = model.keys.sorted().randomElement(using: &random)
            else {
                model[try store.submit(at: now).id] = Expected()
                continue
            }
            switch Int.random(in: 0..<8, using: &random) {
            case 0: try cancel(store, id, &model[id, default: Expected()], now)
            case 1: try pause(store, id, &model[id, default: Expected()], now)
            case 2: try resume(store, id, &model[id, default: Expected()], now)
            case 3: try retry(store, id, &model[id, default: Expected()], now)
            case 4, 5: try claim(store, &model, now)
            case 6:
                let outcome = try #require(Self.outcomes.randomElement(using: &random))
                try finish(store, id, outcome, &model[id, default: Expected()], &stale, now)
            default:
                for lease in stale { #expect(try store.jobs.finish(lease, .cancelled, at: now) == nil) }
            }
        }
        for (id, expected) in model { try check(store, id, expected) }
        #expect(try SQLiteInspection(path: store.path, newestSchema: .max).violations() == [])
    }

    static let outcomes: [JobOutcome] = [
        .succeeded(JobResult(models: [], report: .null)), .cancelled, .paused, .yielded,
        .failed(JobFailure(code: "io", message: "no", isRetryable: true)),
        .failed(JobFailure(code: "loss_not_finite", message: "NaN")),
    ]

    private func cancel(_ store: TemporaryStore, _ id: JobID, _ model: inout Expected, _ now: Timestamp)
        throws
    {
        switch model.state {
        case .queued, .paused: model.enter(.cancelled)
        case .running, .pausing: model.enter(.cancelling)
        case .cancelling, .cancelled: break
        case .succeeded, .failed:
            #expect(throws: JobError.stateConflict(id, state: model.state, action: "be cancelled")) {
                try store.jobs.cancel(id, reason: Self.reason, at: now)
            }
            return
        }
        #expect(try store.jobs.cancel(id, reason: Self.reason, at: now).job.state == model.state)
    }

    private func pause(_ store: TemporaryStore, _ id: JobID, _ model: inout Expected, _ now: Timestamp) throws
    {
        switch model.state {
        case .queued: model.enter(.paused)
        case .running: model.enter(.pausing)
        case .pausing, .paused: break
        case .cancelling, .cancelled, .succeeded, .failed:
            #expect(throws: JobError.self) { try store.jobs.pause(id, at: now) }
            return
        }
        #expect(try store.jobs.pause(id, at: now).state == model.state)
    }

    private let limits = QueueLimits()

    private func resume(_ store: TemporaryStore, _ id: JobID, _ model: inout Expected, _ now: Timestamp)
        throws
    {
        guard model.state == .paused else {
            #expect(throws: JobError.self) { try store.jobs.resume(id, limits: limits, at: now) }
            return
        }
        model.enter(.queued)
        #expect(try store.jobs.resume(id, limits: limits, at: now).state == .queued)
    }

    private func retry(_ store: TemporaryStore, _ id: JobID, _ model: inout Expected, _ now: Timestamp) throws
    {
        guard model.state == .failed || model.state == .cancelled else {
            #expect(throws: JobError.self) {
                try store.jobs.retry(id, fromScratch: false, limits: limits, at: now)
            }
            return
        }
        model.enter(.queued)
        let retried = try store.jobs.retry(id, fromScratch: false, limits: limits, at: now)
        #expect(retried.job.state == .queued && retried.obsolete == [])
    }

    private func claim(_ store: TemporaryStore, _ model: inout [JobID: Expected], _ now: Timestamp) throws {
        guard let claim = try store.claim(at: now) else {
            #expect(!model.values.contains { $0.state == .queued })
            return
        }
        #expect(model[claim.job.id]?.state == .queued)
        model[claim.job.id]?.enter(.running)
        model[claim.job.id]?.lease = claim.lease
    }

    private func finish(
        _ store: TemporaryStore, _ id: JobID, _ outcome: JobOutcome, _ model: inout Expected,
        _ stale: inout [Lease], _ now: Timestamp
    ) throws {
        guard let lease = model.lease else { return }
        let change = try #require(try store.jobs.finish(lease, outcome, at: now))
        #expect(model.state.successors.contains(change.job.state))
        #expect(model.state != .cancelling || change.job.state == .cancelled)
        stale.append(lease)
        model.enter(change.job.state)
    }

    private func check(_ store: TemporaryStore, _ id: JobID, _ expected: Expected) throws {
        let job = try store.jobs.job(id)
        #expect(job.state == expected.state)
        #expect(job.transitions.map(\.state) == expected.history)
        for (before, after) in zip(expected.history, expected.history.dropFirst()) {
            #expect(before.successors.contains(after))
        }
        let events = try store.events.events(of: id, after: nil, limit: 1000).filter { $0.type == "state" }
        #expect(events.compactMap { $0.data["state"]?.stringValue } == expected.history.map(\.rawValue))
        #expect(job.state.isTerminal == (job.finishedAt != nil))
    }
}

@Suite("Changing and deleting a job") struct JobUpkeepTests {
    @Test("changes what a client may change and raises the version")
    func changes() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let changed = try store.jobs.update(job.id, JobChanges(labels: ["a": "b"], priority: 9), at: .start)
        #expect((changed.name, changed.labels, changed.priority) == (job.name, ["a": "b"], 9))
        #expect(changed.version > job.version)
        #expect(throws: JobError.jobNotFound(.unknown)) {
            try store.jobs.update(.unknown, JobChanges(), at: .start)
        }
    }

    @Test("is not paused for ever: what it went through is kept and shown")
    func limitsPauses() throws {
        let store = try TemporaryStore()
        let id = try store.submit().id
        for _ in 0..<250 {
            _ = try store.jobs.pause(id, at: .start)
            _ = try store.jobs.resume(id, limits: QueueLimits(), at: .start)
        }
        let refusal = #expect(throws: JobError.self) { try store.jobs.pause(id, at: .start) }
        #expect(
            refusal?.description.hasSuffix("it cannot be paused: it has changed its state 500 times.") == true
        )
        #expect(try store.claim() != nil, "it runs all the same")
    }

    @Test("deletes a job with all that hangs on it, but keeps its model unless asked")
    func deletes() throws {
        for includingModels in [false, true] {
            let store = try TemporaryStore()
            let job = try store.submit()
            let lease = try #require(try store.claim()).lease
            #expect(throws: JobError.self) { try store.jobs.delete(job.id, includingModels: false) }
            var report = RunReport()
            report.points = [MetricPoint(series: "train_loss", step: 1, value: 1, at: .start)]
            report.samples = [ResourcePoint(at: .start, step: 1)]
            #expect(try store.jobs.record(report, for: lease, at: .start))
            _ = try store.jobs.checkpoint(.sample(step: 1, path: "c/1"), for: lease, at: .start)
            let result = JobResult(models: [.sample(store, job: job.id)], report: .null)
            _ = try store.jobs.finish(lease, .succeeded(result), at: .start)
            let paths = try store.jobs.delete(job.id, includingModels: includingModels)
            #expect(paths == (includingModels ? ["c/1", "models/a"] : ["c/1"]) + ["jobs/\(job.id)"])
            #expect(throws: JobError.jobNotFound(job.id)) { try store.jobs.job(job.id) }
            #expect(
                try store.models.models(PageRequest()).items.map(\.jobID) == (includingModels ? [] : [nil]))
            try store.reopen()
        }
    }

    @Test("refuses to delete what another job still waits for")
    func keepsDependencies() throws {
        let store = try TemporaryStore()
        let first = try store.submit()
        let lease = try #require(try store.claim()).lease
        let second = try store.submit(.sample(dependencies: [first.id]))
        _ = try store.jobs.finish(lease, .succeeded(JobResult(models: [], report: .null)), at: .start)
        let error = #expect(throws: JobError.self) { try store.jobs.delete(first.id, includingModels: false) }
        #expect(error?.description == "\(first.id): \(second.id) depends on it and is still needed.")
    }
}
