import Files
import Foundation
import JSON
import Jobs
import Store
import Synchronization

/// Takes datasets for tests of the routes: files are hashed and forgotten, and a commit ends as a test says.
final class Shelf: DatasetIntake {
    typealias Ending = @Sendable (DatasetRecord) throws(JobError) -> DatasetRecord

    private static let name = Field.string("name", lengthMax: 64, "The name.")
    private let repository: SQLiteDatasetRepository
    private let identifiers: IdentifierGenerator
    private let ending = Mutex<Ending?>(nil)

    init(_ repository: SQLiteDatasetRepository, _ identifiers: IdentifierGenerator) {
        (self.repository, self.identifiers) = (repository, identifiers)
    }

    func set(_ new: @escaping Ending) { ending.withLock { $0 = new } }

    var schema: ObjectSchema { ObjectSchema("DatasetUpload", "A dataset.", fields: [Self.name]) }
    var fileByteCountMax: Int { 1000 }
    var openSeconds: Double { 60 }

    func open(_ body: JSONValue) throws(JobError) -> DatasetRecord {
        let log = ViolationLog()
        var reader = ObjectReader(body, as: schema, at: "", log: log)
        let name = reader.read(Self.name)
        reader.finish()
        guard log.isEmpty else { throw .invalid(log.violations) }
        let now = Timestamp(milliseconds: 5000)
        let id: DatasetID = identifiers.next(at: now)
        let record = DatasetRecord(
            id: id, name: name, format: "idx", isReady: false, path: "datasets/\(id)", sha256: "",
            createdAt: now, details: ["options": body])
        try repository.open(record, openMax: 2)
        return record
    }

    func isCommitting(_ id: DatasetID) -> Bool { false }

    func receive(_ name: String, for dataset: String, byteCount: Int?) throws(JobError) -> any FileIntake {
        let record = try repository.dataset(dataset)
        guard !record.isReady else { throw .datasetReady(record.id) }
        guard name != "vast" else { throw .noRoom("There is no room.") }
        return File(name, record.id, repository)
    }

    func commit(_ dataset: String) throws(JobError) -> Pending<DatasetRecord, JobError> {
        let record = try repository.dataset(dataset)
        let pending = Pending<DatasetRecord, JobError>()
        guard let end = ending.withLock({ $0 }) else { return pending }
        do throws(JobError) {
            let ready = try end(record)
            try repository.update(ready)
            pending.finish(.success(ready))
        } catch { pending.finish(.failure(error)) }
        return pending
    }

    func delete(_ dataset: String, mayDeleteReady: Bool) throws(JobError) {
        let record = try repository.dataset(dataset)
        guard !record.isReady || mayDeleteReady else { throw .forbidden("It needs the scope admin.") }
        guard record.name != "needed" else { throw .inUse(record.name) }
        _ = try repository.deleteDataset(record.id)
    }

    private final class File: FileIntake {
        private let name: String
        private let id: DatasetID
        private let repository: SQLiteDatasetRepository
        private let bytes = Mutex<[UInt8]>([])

        init(_ name: String, _ id: DatasetID, _ repository: SQLiteDatasetRepository) {
            (self.name, self.id, self.repository) = (name, id, repository)
        }

        func take(_ more: [UInt8]) throws(JobError) { bytes.withLock { $0 += more } }

        func finish(expecting sha256: [UInt8]?) throws(JobError) -> (file: DatasetFile, isNew: Bool) {
            let all = bytes.withLock { $0 }
            let digest = SHA256.digest(of: all)
            if let sha256, sha256 != digest.bytes {
                throw .digestMismatch(expected: SHA256.Digest.hex(sha256), found: digest.hex)
            }
            let file = DatasetFile(
                name: name, path: "uploads/\(id)/\(UUID().uuidString)", byteCount: Int64(all.count),
                sha256: digest.hex, createdAt: Timestamp(milliseconds: 9000))
            return (file, try repository.put(file, of: id, filesMax: 2) == nil)
        }

        func abandon() {}
    }
}
