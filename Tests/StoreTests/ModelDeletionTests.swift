import JSON
import Jobs
import Store
import Testing

@Suite("Deleting a model") struct ModelDeletionTests {
    /// A job that has made a model.
    private func made(_ store: TemporaryStore) throws -> (job: JobID, model: ModelID) {
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        let model = ModelRecord.sample(store, job: job.id, path: "models/\(job.id)")
        let result = JobResult(models: [model], report: [:])
        _ = try store.jobs.finish(lease, .succeeded(result), at: .start)
        return (job.id, model.id)
    }

    @Test("changes the job that made it, and tells who that is")
    func changesItsMaker() throws {
        let store = try TemporaryStore()
        let (job, model) = try made(store)
        let before = try store.jobs.job(job)
        let deleted = try store.models.deleteModel(model)
        #expect(deleted == DeletedModel(path: "models/\(job)", makers: [job]))
        let after = try store.jobs.job(job)
        #expect(after.result?.modelID == nil && after.version > before.version)
        #expect(throws: JobError.modelNotFound(model)) { try store.models.deleteModel(model) }
    }

    @Test("by a repair changes the job too")
    func repairsChangeTheJob() throws {
        let store = try TemporaryStore()
        let (job, model) = try made(store)
        let before = try store.jobs.job(job)
        try store.jobs.forgetModel(model, at: .start)
        let after = try store.jobs.job(job)
        #expect(after.result?.modelID == nil && after.version > before.version)
    }

    @Test("is refused while a job that is not over names it, wherever, and by its job")
    func isRefusedWhileNeeded() throws {
        let store = try TemporaryStore()
        let (maker, model) = try made(store)
        let (id, job) = (JSONValue.string(model.rawValue), JSONValue.string(maker.rawValue))
        let specs: [JSONValue] = [
            ["model": ["id": id]], ["model": ["job": job]], ["distill": ["teacher": ["id": id]]],
            ["model": ["preset": "linear"], "distill": ["teacher": [["job": job], ["id": "mdl_other"]]]],
        ]
        for spec in specs {
            let user = try store.submit(.sample(spec: spec)).id
            let expected = { (state: JobState) in
                JobError.inUse("\(model): \(user) is \(state.rawValue) and names it; it")
            }
            #expect(throws: expected(.queued)) { try store.models.deleteModel(model) }
            _ = try store.jobs.pause(user, at: .start)
            #expect(throws: expected(.paused)) { try store.models.deleteModel(model) }
            _ = try store.jobs.resume(user, limits: QueueLimits(), at: .start)
            let lease = try #require(try store.claim()).lease
            #expect(throws: expected(.running)) { try store.models.deleteModel(model) }
            #expect(throws: expected(.running)) { try store.jobs.delete(maker, includingModels: true) }
            _ = try store.jobs.finish(lease, .succeeded(JobResult(models: [], report: [:])), at: .start)
        }
        // Neither a label nor a name is a use.
        try store.submit(.sample(name: model.rawValue, spec: ["labels": ["id": id], "name": id]))
        #expect(try store.models.deleteModel(model).makers == [maker])
    }

    @Test("of the job before leaves what depended on it another version")
    func changesDependants() throws {
        let store = try TemporaryStore()
        let (first, _) = try made(store)
        let second = try store.submit(.sample(dependencies: [first])).id
        let lease = try #require(try store.claim()).lease
        _ = try store.jobs.finish(lease, .succeeded(JobResult(models: [], report: [:])), at: .start)
        let before = try store.jobs.job(second)
        _ = try store.jobs.delete(first, includingModels: true)
        let after = try store.jobs.job(second)
        #expect(before.dependencies == [first] && after.dependencies == [] && after.version > before.version)
    }
}
