import Foundation
import GRDB
import JSON
import Jobs
import Store

/// A real database in a folder of its own, gone when the test is over.
final class TemporaryStore {
    let folder: URL
    private(set) var database: SQLiteDatabase

    init(jitter: Double = 0, outlet: WebhookOutlet = .silent) throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "store-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        (self.jitter, self.outlet) = (jitter, outlet)
        database = try Self.open(folder, outlet)
    }

    deinit {
        try? database.close()
        try? FileManager.default.removeItem(at: folder)
    }

    private let jitter: Double
    private let outlet: WebhookOutlet
    var path: String { Self.path(folder) }
    var jobs: SQLiteJobRepository { SQLiteJobRepository(database) { [jitter] in jitter } }
    var metrics: SQLiteMetricRepository { SQLiteMetricRepository(database) }
    var events: SQLiteEventRepository { SQLiteEventRepository(database) }
    var models: SQLiteModelRepository { SQLiteModelRepository(database) }
    var webhooks: SQLiteWebhookRepository { SQLiteWebhookRepository(database) }
    var datasets: SQLiteDatasetRepository { SQLiteDatasetRepository(database) }

    /// Closes the database and opens it again, as a new run of the process would.
    func reopen() throws {
        try database.close()
        database = try Self.open(folder, outlet)
    }

    static func path(_ folder: URL) -> String { folder.appending(path: "vintner.db").path }

    static func open(_ folder: URL, _ outlet: WebhookOutlet = .silent) throws -> SQLiteDatabase {
        try SQLiteDatabase(path: path(folder), migrations: migrations(), outlet: outlet)
    }

    /// The schema as it is released.
    static func migrations() throws -> [Migration] {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../migrations")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        return try names.filter { $0.hasSuffix(".sql") }.map { name in
            Migration(name: name, sql: try String(contentsOf: folder.appending(path: name), encoding: .utf8))
        }
    }

    // MARK: Shorthands

    static let start = Timestamp(milliseconds: 1_700_000_000_000)

    @discardableResult
    func submit(_ job: ResolvedJob = .sample(), at now: Timestamp = start) throws -> Job {
        try jobs.submit(JobSubmission(resolved: job, idempotency: nil, body: job.spec), at: now).job
    }

    /// Multiplies the one stored job behind the repository's back, because 10 000 durable commits take long.
    func multiply(by count: Int) throws {
        try database.close()
        let queue = try DatabaseQueue(path: path)
        try queue.write { db in
            let columns = try db.columns(in: "job").map(\.name).filter { $0 != "id" && $0 != "urgency" }
                .joined(separator: ", ")
            try db.execute(
                sql: """
                    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
                    INSERT INTO job(id, \(columns))
                    SELECT substr(id, 1, 24) || printf('%06d', i), \(columns) FROM job, n
                    """, arguments: [count])
        }
        try queue.close()
        database = try Self.open(folder)
    }

    func claim(
        at now: Timestamp = start, free: Budget = .large, total: Budget = .large, isIdle: Bool = true,
        bootID: String = "boot-1"
    ) throws -> ClaimedJob? {
        try jobs.claimNext(
            ClaimRequest(
                worker: "worker-0", bootID: bootID, free: free, total: total, isIdle: isIdle, now: now,
                leaseDeadline: 30_000_000_000))
    }
}

extension Budget {
    static let large = Budget(threads: 64, memoryBytes: 1 << 40)
}

extension ResolvedJob {
    static func sample(
        name: String = "sample", labels: [String: String] = [:], priority: Int = 0, maxAttempts: Int = 3,
        threads: Int = 1, memoryBytes: Int = 1000, dependencies: [JobID] = [], spec: JSONValue = ["seed": 1]
    ) -> ResolvedJob {
        ResolvedJob(
            type: .train, name: name, labels: labels, priority: priority, maxAttempts: maxAttempts,
            spec: spec,
            threads: threads, memoryBytes: memoryBytes, dependencies: dependencies)
    }
}

extension Timestamp {
    static let start = TemporaryStore.start
    static func + (time: Timestamp, milliseconds: Int64) -> Timestamp {
        time.adding(milliseconds: milliseconds)
    }
}

extension ModelRecord {
    static func sample(_ store: TemporaryStore, job: JobID?, path: String = "models/a") -> ModelRecord {
        ModelRecord(
            id: store.database.identifiers.next(at: .start), name: "lenet", jobID: job, createdAt: .start,
            architecture: ["preset": "lenet5_caffe"], parameters: 431_080, macs: 2_293_000, path: path,
            byteCount: 1_724_320, sha256: String(repeating: "a", count: 64))
    }
}

extension CheckpointRecord {
    static func sample(step: Int, kind: Kind = .last, path: String, at: Timestamp = .start)
        -> CheckpointRecord
    {
        CheckpointRecord(
            step: step, kind: kind, path: path, sha256: String(repeating: "b", count: 64), byteCount: 12,
            at: at)
    }
}
