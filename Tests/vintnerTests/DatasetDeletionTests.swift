import Data
import Files
import Foundation
import JSON
import Jobs
import Store
import Synchronization
import Testing
import Threads

@testable import vintner

@Suite("Datasets") struct DatasetDeletionTests {
    @Test("that were published are deleted by who may, unless a job needs them")
    func deletion() throws {
        let dock = try Dock()
        let service = dock.service()
        _ = try publish(dock, service)
        let error = #expect(throws: JobError.self) { try service.delete("play", mayDeleteReady: false) }
        #expect(error?.code == "insufficient_scope")
        let jobs = SQLiteJobRepository(dock.database)
        let resolved = ResolvedJob(
            type: .train, name: "job", spec: ["dataset": "play"], threads: 1, memoryBytes: 1)
        let job = try jobs.submit(
            JobSubmission(resolved: resolved, idempotency: nil, body: resolved.spec), at: dock.clock.now()
        ).job
        #expect(throws: JobError.inUse("play")) { try service.delete("play", mayDeleteReady: true) }
        _ = try jobs.cancel(job.id, reason: JobReason(code: "x", message: "y"), at: dock.clock.now())
        try service.delete("play", mayDeleteReady: true)
        #expect(try dock.catalogue.list().isEmpty && Folder.names(in: dock.folder.datasets).isEmpty)
        #expect(throws: JobError.datasetNotFound("play")) { try dock.repository.dataset("play") }
    }

    @Test("whose deletion was interrupted are gone after the next start")
    func interruptedDeletion() throws {
        let dock = try Dock()
        let service = dock.service()
        let id = try publish(dock, service).0.id
        try dock.catalogue.bury(id.rawValue)
        #expect(try dock.catalogue.list().isEmpty && dock.repository.dataset("play").isReady)
        for _ in 1...2 {
            try dock.service().recover()
            #expect(try Folder.names(in: dock.folder.datasets).isEmpty)
            #expect(throws: JobError.datasetNotFound("play")) { try dock.repository.dataset("play") }
        }
    }

    /// A dataset that is published, and what a job over it is.
    private func publish(
        _ dock: Dock, _ service: UploadService
    ) throws -> (DatasetRecord, @Sendable () -> JobSubmission) {
        let id = try Dock.open(service)
        _ = try Dock.put(service, id, "train.txt", Dock.text)
        let record = try Dock.commit(service, id)
        var resolved = ResolvedJob(
            type: .train, name: "job", spec: ["dataset": "play"], threads: 1, memoryBytes: 1)
        resolved.dataset = id.rawValue
        let (job, catalogue) = (resolved, dock.catalogue)
        return (
            record,
            {
                JobSubmission(resolved: job, idempotency: nil, body: job.spec) { catalogue.has(id.rawValue) }
            }
        )
    }

    @Test("that a job needs are put back where their deletion was interrupted, or somebody put them back")
    func interruptedDeletionOfNeeded() throws {
        let dock = try Dock()
        let (record, submission) = try publish(dock, dock.service())
        let id = record.id.rawValue
        let jobs = SQLiteJobRepository(dock.database)
        let job = try jobs.submit(submission(), at: dock.clock.now()).job
        try dock.catalogue.bury(id)
        let error = #expect(throws: JobError.self) { try jobs.submit(submission(), at: dock.clock.now()) }
        #expect(error?.description.contains("deleted a moment ago") == true)
        for isThereTwice in [false, true] {
            let grave = "\(dock.folder.datasets)/\(DatasetCatalogue.graveName(of: id))"
            if isThereTwice {
                try FileManager.default.copyItem(atPath: "\(dock.folder.datasets)/\(id)", toPath: grave)
            }
            try dock.service().recover()
            #expect(try dock.repository.dataset("play") == record && dock.catalogue.has(id))
            try dock.catalogue.verify(id, readsContent: true)
            #expect(try dock.catalogue.buried().isEmpty)
        }
        _ = try jobs.cancel(job.id, reason: JobReason(code: "x", message: "y"), at: dock.clock.now())
        try dock.service().delete("play", mayDeleteReady: true)
        #expect(try Folder.names(in: dock.folder.datasets).isEmpty)
    }

    @Test("are deleted once, or kept for a job that came first, whoever asks at the same time")
    func deletionsAtOnce() throws {
        let dock = try Dock()
        let service = dock.service()
        let jobs = SQLiteJobRepository(dock.database)
        var (keptCount, goneCount) = (0, 0)
        for round in 0..<24 {
            let (record, submission) = try publish(dock, service)
            let stored = Mutex<JobID?>(nil)
            let answers = Mutex<[JobError?]>([])
            let now = dock.clock.now()
            DispatchQueue.concurrentPerform(iterations: 3) { index in
                usleep(UInt32((index + round) % 3) * 150)
                guard index > 0 else {
                    let job = try? jobs.submit(submission(), at: now).job.id
                    return stored.withLock { $0 = job }
                }
                var answer: JobError?
                do throws(JobError) { try service.delete("play", mayDeleteReady: true) } catch {
                    answer = error
                }
                answers.withLock { [answer] in $0.append(answer) }
            }
            let job = stored.withLock { $0 }
            let isDeleted = answers.withLock { $0.contains { $0 == nil } }
            #expect(isDeleted == (job == nil))
            #expect(dock.catalogue.has(record.id.rawValue) == !isDeleted)
            #expect(((try? dock.repository.dataset("play")) != nil) == !isDeleted)
            #expect(try dock.catalogue.buried().isEmpty)
            if isDeleted { goneCount += 1 } else { keptCount += 1 }
            guard let job else { continue }
            _ = try jobs.cancel(job, reason: JobReason(code: "x", message: "y"), at: dock.clock.now())
            try service.delete("play", mayDeleteReady: true)
        }
        #expect(keptCount + goneCount == 24)
    }
}
