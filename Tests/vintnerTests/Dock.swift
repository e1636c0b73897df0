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

/// A data folder with the upload service of one process over it, gone when the test is over.
final class Dock {
    let folder: DataFolder
    let database: SQLiteDatabase
    let repository: SQLiteDatasetRepository
    let catalogue: DatasetCatalogue
    let reports = Mutex<[String]>([])
    let clock: Clock

    /// A clock that the test sets.
    final class Clock: TimeSource {
        let seconds = Mutex(1000.0)
        func now() -> Timestamp { Timestamp(milliseconds: Int64(seconds.withLock { $0 } * 1000)) }
        func monotonicNanoseconds() -> UInt64 { 0 }
        func wait(for bell: Bell, after ring: UInt64, until deadline: UInt64) {}
    }

    init(in path: String? = nil) throws {
        folder = DataFolder(
            path: path ?? "\(NSTemporaryDirectory())vintner-uploads-\(UUID().uuidString)")
        try folder.make()
        database = try SQLiteDatabase(path: folder.database, migrations: DataFolder.migrations)
        repository = SQLiteDatasetRepository(database)
        catalogue = DatasetCatalogue(folder: folder.datasets)
        clock = Clock()
    }

    deinit {
        try? database.close()
        try? Folder.removeTree(folder.path)
    }

    func service(_ limits: UploadLimits = UploadLimits()) -> UploadService {
        let repository = repository
        return UploadService(
            folder: folder, limits: limits, repository: repository, catalogue: catalogue,
            identifiers: database.identifiers, time: clock,
            register: { info throws(JobError) in
                var record = try repository.dataset(info.id)
                (record.isReady, record.sha256, record.details) = (true, info.sha256, info.json)
                try repository.update(record)
            }, report: { message, cause in Issue.record("\(message): \(cause)") })
    }

    /// Everything below the folder of uploads.
    func uploaded() throws -> [String] {
        try Folder.names(in: folder.uploads).flatMap { name in
            try Folder.names(in: "\(folder.uploads)/\(name)").map { "\(name)/\($0)" }
        }
    }

    static let text = Array(String(repeating: "To be, or not to be.\n", count: 20).utf8)

    static func open(
        _ service: UploadService, _ name: String = "play", _ format: String = "text"
    ) throws -> DatasetID {
        try service.open(["name": .string(name), "format": .string(format)]).id
    }

    static func put(
        _ service: UploadService, _ id: DatasetID, _ name: String, _ bytes: [UInt8], sha256: [UInt8]? = nil
    ) throws -> (file: DatasetFile, isNew: Bool) {
        let file = try service.receive(name, for: id.rawValue, byteCount: bytes.count)
        defer { file.abandon() }
        for start in stride(from: 0, to: bytes.count, by: 100) {
            try file.take(Array(bytes[start..<min(start + 100, bytes.count)]))
        }
        return try file.finish(expecting: sha256)
    }

    static func commit(_ service: UploadService, _ id: DatasetID) throws -> DatasetRecord {
        let pending = try service.commit(id.rawValue)
        let done = DispatchSemaphore(value: 0)
        let subscription = pending.subscribe { done.signal() }
        done.wait()
        subscription()
        return try #require(pending.outcome).get()
    }
}
