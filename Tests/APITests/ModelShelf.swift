import Files
import JSON
import Jobs
import Store
import Synchronization

/// Takes models for tests of the routes: files are hashed and forgotten, and one of no bytes is no model.
final class ModelShelf: ModelIntake {
    private let repository: SQLiteModelRepository
    private let identifiers: IdentifierGenerator

    init(_ repository: SQLiteModelRepository, _ identifiers: IdentifierGenerator) {
        (self.repository, self.identifiers) = (repository, identifiers)
    }

    var fileByteCountMax: Int { 1000 }

    func receive(byteCount: Int?) throws(JobError) -> any ModelFileIntake {
        guard byteCount != 999 else { throw .noRoom("There is no room.") }
        return File(identifiers.next(at: Timestamp(milliseconds: 5000)), repository)
    }

    private final class File: ModelFileIntake {
        private let id: ModelID
        private let repository: SQLiteModelRepository
        private let bytes = Mutex<[UInt8]>([])

        init(_ id: ModelID, _ repository: SQLiteModelRepository) {
            (self.id, self.repository) = (id, repository)
        }

        func take(_ more: [UInt8]) throws(JobError) { bytes.withLock { $0 += more } }

        func finish(
            expecting sha256: [UInt8]?, name: String, by importer: String
        ) throws(JobError) -> ModelRecord {
            let all = bytes.withLock { $0 }
            let digest = SHA256.digest(of: all)
            if let sha256, sha256 != digest.bytes {
                throw .digestMismatch(expected: SHA256.Digest.hex(sha256), found: digest.hex)
            }
            guard !all.isEmpty else {
                throw .invalid([Violation(pointer: "", code: "malformed_file", detail: "it is empty")])
            }
            let record = ModelRecord(
                id: id, name: name.isEmpty ? id.rawValue : name, jobID: nil,
                createdAt: Timestamp(milliseconds: 5000), architecture: [:], parameters: 0, macs: 0,
                path: "models/\(id)/model.safetensors", byteCount: Int64(all.count), sha256: digest.hex,
                lineage: ["imported": true, "imported_by": .string(importer)])
            try repository.add(record)
            return record
        }

        func abandon() {}
    }
}
