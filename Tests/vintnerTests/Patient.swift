import Data
import Files
import Foundation
import JSON
import Jobs
import Store
import Testing
import Threads

@testable import vintner

/// A clock for what is written down.
struct StoppedTime: TimeSource {
    static let start = Timestamp(milliseconds: 1_700_000_000_000)
    func now() -> Timestamp { Self.start }
    func monotonicNanoseconds() -> UInt64 { 0 }
    func wait(for bell: Bell, after ring: UInt64, until deadline: UInt64) {}
}

/// A data folder as a service leaves it, gone when the test is over: a job that made a model, one that got to
/// its second checkpoint, and a dataset.
final class Patient {
    let folder: DataFolder
    let done: JobID, under: JobID, model: ModelID, dataset: DatasetID
    /// The newest checkpoint of `under`, relative.
    let checkpoint: String
    var weights: String { "\(DataFolder.folder(of: model))/model.safetensors" }
    /// What the folder lies in.
    var home: String { String(folder.path.dropLast("/data".count)) }

    /// Makes it; one that was killed has left its second job running.
    init(wasKilled: Bool = false) throws {
        folder = DataFolder(path: "\(NSTemporaryDirectory())vintner-care-\(UUID().uuidString)/data")
        try folder.make()
        _ = try folder.readOrMakeToken()
        let database = try SQLiteDatabase(path: folder.database, migrations: DataFolder.migrations)
        let jobs = SQLiteJobRepository(database)
        model = database.identifiers.next(at: StoppedTime.start)
        done = try Self.submit(jobs)
        let first = try Self.claim(jobs)
        let place = DataFolder.folder(of: model)
        let weights = try Self.write("weights", to: "\(place)/model.safetensors", folder)
        _ = try Self.write("{}", to: "\(place)/model.json", folder)
        let adapters = try Self.write("adapters", to: DataFolder.adapters(of: model), folder)
        let record = ModelRecord(
            id: model, name: "one", jobID: done, createdAt: StoppedTime.start, architecture: .null,
            parameters: 1, macs: 1, path: "\(place)/model.safetensors",
            byteCount: Int64(weights.byteCount), sha256: weights.sha256.hex,
            lineage: [
                "adapters": ["bytes": JSONValue(adapters.byteCount), "sha256": .string(adapters.sha256.hex)]
            ])
        _ = try jobs.finish(
            first, .succeeded(JobResult(models: [record], report: ["kept": true])), at: StoppedTime.start)
        under = try Self.submit(jobs)
        let second = try Self.claim(jobs)
        var path = ""
        for step in [10, 20] {
            path = "\(DataFolder.folder(of: under))/last-\(step).1.safetensors"
            let receipt = try Self.write("checkpoint \(step)", to: path, folder)
            let record = CheckpointRecord(
                step: step, kind: .last, path: path, sha256: receipt.sha256.hex,
                byteCount: Int64(receipt.byteCount), at: StoppedTime.start)
            _ = try jobs.checkpoint(record, for: second, at: StoppedTime.start)
        }
        checkpoint = path
        if !wasKilled { _ = try jobs.finish(second, .yielded, at: StoppedTime.start) }
        dataset = database.identifiers.next(at: StoppedTime.start)
        try Self.add(dataset, database, folder)
        try database.close()
        // The service makes it under a mask that keeps others out.
        for path in DataFolder.databaseFiles.map(folder.absolute) where Folder.status(of: path) != nil {
            try Folder.setPermissions(of: path, to: 0o600)
        }
    }

    deinit { try? Folder.removeTree(home) }

    /// What an examination finds that is not just a note.
    func findings(isFast: Bool = false) throws -> [Finding] {
        var examination = Examination(folder, isFast: isFast)
        try examination.run()
        return examination.findings.filter { $0.severity != .note }
    }

    /// Mends what is found.
    func treat() throws -> [Finding] {
        var examination = Examination(folder, isFast: false)
        try examination.run()
        try Treatment(folder, time: StoppedTime()).apply(to: &examination.findings)
        return examination.findings
    }

    /// Opens the database for as long as the body runs.
    func withDatabase<Value>(_ body: (SQLiteDatabase) throws -> Value) throws -> Value {
        let database = try SQLiteDatabase(path: folder.database, migrations: DataFolder.migrations)
        let value = try body(database)
        try database.close()
        return value
    }

    func write(_ text: String, to path: String) throws { _ = try Self.write(text, to: path, folder) }

    func exists(_ path: String) -> Bool { Folder.status(of: folder.absolute(path)) != nil }

    private static func write(
        _ text: String, to path: String, _ folder: DataFolder
    ) throws -> AtomicFile.Receipt {
        let parent = path.split(separator: "/").dropLast().joined(separator: "/")
        try Folder.make(folder.absolute(parent))
        return try AtomicFile.write(text, to: folder.absolute(path))
    }

    private static func submit(_ jobs: SQLiteJobRepository) throws -> JobID {
        let resolved = ResolvedJob(
            type: .train, name: "job", labels: [:], priority: 0, maxAttempts: 3, spec: ["seed": 1],
            threads: 1, memoryBytes: 1, dependencies: [])
        let submission = JobSubmission(resolved: resolved, idempotency: nil, body: resolved.spec)
        return try jobs.submit(submission, at: StoppedTime.start).job.id
    }

    private static func claim(_ jobs: SQLiteJobRepository) throws -> Lease {
        let budget = Budget(threads: 4, memoryBytes: 1000)
        let request = ClaimRequest(
            worker: "worker-0", bootID: "boot-1", free: budget, total: budget, isIdle: true,
            now: StoppedTime.start, leaseDeadline: 1)
        return try #require(try jobs.claimNext(request)).lease
    }

    private static func add(_ id: DatasetID, _ database: SQLiteDatabase, _ folder: DataFolder) throws {
        let source = folder.absolute("play.txt")
        try AtomicFile.write(String(repeating: "To be, or not to be.\n", count: 20), to: source)
        let info = try DatasetCatalogue(folder: folder.datasets).add(
            "play", from: source, as: .text(TextSettings()), id: id.rawValue, now: 0)
        try Folder.removeFile(source)
        try SQLiteDatasetRepository(database).add(
            DatasetRecord(
                id: id, name: "play", format: info.format, isReady: true, path: "datasets/\(id)",
                sha256: info.sha256, createdAt: StoppedTime.start, details: info.json))
    }
}
