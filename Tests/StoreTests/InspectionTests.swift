import Foundation
import GRDB
import JSON
import Jobs
import Store
import Testing

@Suite("A database is looked at and copied from outside") struct InspectionTests {
    private func inspect(_ path: String) throws(StoreError) -> SQLiteInspection {
        try SQLiteInspection(path: path, newestSchema: .max)
    }

    @Test("a copy holds what was stored when it was made, while the writer goes on")
    func copies() throws {
        let store = try TemporaryStore()
        let jobs = try (0..<20).map { _ in try store.submit() }
        let target = store.path + ".copy"
        try inspect(store.path).copy(to: target)
        let later = try store.submit()
        let copy = try SQLiteDatabase(path: target, migrations: TemporaryStore.migrations())
        let copied = SQLiteJobRepository(copy)
        for job in jobs { #expect(try copied.job(job.id) == job) }
        #expect(throws: JobError.jobNotFound(later.id)) { try copied.job(later.id) }
        try copy.close()
        #expect(try store.jobs.job(later.id) == later)
    }

    @Test("what is damaged, newer or not there is refused")
    func refusals() throws {
        let store = try TemporaryStore()
        try store.submit()
        let schema = try TemporaryStore.migrations().count
        let newer = StoreError.newerSchema(path: store.path, found: schema, newest: schema - 1)
        #expect(throws: newer) { try SQLiteInspection(path: store.path, newestSchema: schema - 1) }
        let missing = store.path + ".none"
        let error = #expect(throws: StoreError.self) { try inspect(missing) }
        #expect(error?.description.hasSuffix("cannot be opened: there is no such file") == true)
        try Data("no database at all".utf8).write(to: URL(fileURLWithPath: missing))
        let damage = #expect(throws: StoreError.self) { try inspect(missing) }
        #expect(damage?.description.hasSuffix("restore a backup.") == true)
    }

    @Test("an index that does not fit its table is found by the thorough check alone")
    func integrity() throws {
        let store = try TemporaryStore()
        for _ in 0..<3 { try store.submit() }
        #expect(try inspect(store.path).damage(isThorough: true) == [])
        try store.database.close()
        var configuration = Configuration()
        configuration.prepareDatabase { try $0.execute(sql: "PRAGMA writable_schema = ON") }
        let queue = try DatabaseQueue(path: store.path, configuration: configuration)
        // The index is told to hold other rows than it does.
        try queue.write { db in
            try db.execute(
                sql: """
                    UPDATE sqlite_schema SET sql = replace(sql, 'state = ''queued''', 'state = ''failed''')
                    WHERE name = 'job_due'
                    """)
            #expect(db.changesCount == 1)
        }
        try queue.close()
        #expect(try inspect(store.path).damage(isThorough: false) == [])
        #expect(try !inspect(store.path).damage(isThorough: true).isEmpty)
    }

    @Test("files are named with their sizes and hashes, adapters too")
    func namedFiles() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        _ = try store.jobs.checkpoint(.sample(step: 4, path: "jobs/x/last-4"), for: lease, at: .start)
        let sum = String(repeating: "c", count: 64)
        let plain = ModelRecord.sample(store, job: job.id, path: "models/m/model.safetensors")
        let model = ModelRecord(
            id: plain.id, name: "one", jobID: job.id, createdAt: .start, architecture: .null, parameters: 1,
            macs: 1, path: plain.path, byteCount: 7, sha256: sum,
            lineage: ["adapters": ["bytes": 3, "sha256": .string(sum)]])
        try store.models.add(model)
        let found = try inspect(store.path).namedFiles()
        let names = found.map { $0.path.split(separator: "/").last }
        #expect(names == ["last-4", "adapters.safetensors", "model.safetensors"])
        #expect(found.map(\.byteCount) == [12, 3, 7])
        #expect(
            found.map(\.role) == [
                .checkpoint(job.id, kind: .last, step: 4), .adapters(model.id), .model(model.id),
            ])
        #expect(try inspect(store.path).models() == [model.id])
        #expect(try inspect(store.path).states() == [job.id: .running])
    }
}

@Suite("Repairs of the store") struct StoreRepairTests {
    @Test("forget a checkpoint and a model, and say so in the job's log")
    func forget() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        for step in [1, 2] {
            _ = try store.jobs.checkpoint(.sample(step: step, path: "c/\(step)"), for: lease, at: .start)
        }
        let model = ModelRecord.sample(store, job: job.id)
        let result = JobResult(models: [model], report: ["a": 1])
        _ = try store.jobs.finish(lease, .succeeded(result), at: .start)
        for _ in 0..<2 {
            try store.jobs.forgetCheckpoint(of: job.id, kind: .last, step: 2, at: .start)
            try store.jobs.forgetModel(model.id, at: .start)
        }
        #expect(try store.jobs.checkpoints(of: job.id).map(\.step) == [1])
        #expect(throws: JobError.modelNotFound(model.id)) { try store.models.model(model.id) }
        let found = try store.jobs.job(job.id)
        #expect(found.result?.report == ["a": 1] && found.result?.modelID == nil)
        let events = try store.events.events(of: job.id, after: nil, limit: 100).map(\.type)
        #expect(events.filter { $0.hasSuffix("_lost") } == ["checkpoint_lost", "model_lost"])
    }

    @Test("put back what ran when a copy was made, and charge nobody")
    func release() throws {
        let store = try TemporaryStore()
        let jobs = try (0..<4).map { _ in try store.submit().id }
        for _ in 0..<3 { _ = try store.claim() }
        _ = try store.jobs.pause(jobs[1], at: .start)
        let reason = JobReason(code: "cancelled_by_client", message: "A client cancelled the job.")
        _ = try store.jobs.cancel(jobs[2], reason: reason, at: .start)
        #expect(try store.jobs.release(at: .start) == Array(jobs[..<3]))
        let found = try jobs.map { try store.jobs.job($0) }
        #expect(found.map(\.state) == [.queued, .paused, .cancelled, .queued])
        #expect(found.map(\.reason?.code) == ["restored", "restored", "cancelled_by_client", nil])
        #expect(found.allSatisfy { $0.attempt == 0 && $0.crashes == 0 && !$0.isSuspect })
        #expect(try SQLiteInspection(path: store.path, newestSchema: .max).violations() == [])
        #expect(try store.claim()?.job.attempt == 1)
    }
}
