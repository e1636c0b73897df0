import Files
import Jobs
import Synchronization

/// A file on its way into an open upload: written and hashed piece by piece, visible only when it is whole.
final class UploadedFile: FileIntake {
    private struct State {
        /// Gone once the file is finished or given up.
        var writer: AtomicFile.Writer?
        var byteCount = 0
        /// Where room is looked for anew.
        var nextLook = 0
        var isOver = false
    }

    /// How much may come before room is looked for anew.
    private static let lookByteCount = 64 << 20

    private let name: String
    private let id: DatasetID
    /// Where the file will lie, relative to the data folder.
    private let path: String
    private let service: UploadService
    private let announced: Int
    private let state: Mutex<State>

    init(
        _ name: String, of id: DatasetID, at path: String, announced: Int, _ service: UploadService
    ) throws(JobError) {
        (self.name, self.id, self.path) = (name, id, path)
        (self.announced, self.service) = (announced, service)
        let absolute = service.folder.absolute(path)
        let writer = try JobError.translating { () throws(FileError) in try AtomicFile.Writer(absolute) }
        state = Mutex(State(writer: writer, nextLook: Self.lookByteCount))
    }

    func take(_ bytes: [UInt8]) throws(JobError) {
        try state.withLock { (state) throws(JobError) in
            guard let writer = state.writer else { return }
            state.byteCount += bytes.count
            guard state.byteCount <= service.limits.fileByteCountMax else {
                throw .fileTooLarge(limit: service.limits.fileByteCountMax)
            }
            if state.byteCount >= state.nextLook {
                state.nextLook += Self.lookByteCount
                // What was announced is accounted for; what comes in chunks is not.
                try service.checkRoom(for: announced > 0 ? 0 : bytes.count)
            }
            try JobError.translating { () throws(FileError) in try writer.write(bytes) }
        }
    }

    func finish(expecting sha256: [UInt8]?) throws(JobError) -> (file: DatasetFile, isNew: Bool) {
        let receipt = try state.withLock { (state) throws(JobError) -> AtomicFile.Receipt? in
            guard let writer = state.writer else { return nil }
            state.writer = nil
            return try JobError.translating { () throws(FileError) in try writer.commit() }
        }
        defer { abandon() }
        guard let receipt else { throw .storeRefused(cause: "the file \(path) is finished already") }
        do throws(JobError) {
            if let sha256, sha256 != receipt.sha256.bytes {
                throw .digestMismatch(expected: SHA256.Digest.hex(sha256), found: receipt.sha256.hex)
            }
            let file = DatasetFile(
                name: name, path: path, byteCount: Int64(receipt.byteCount), sha256: receipt.sha256.hex,
                createdAt: service.time.now())
            return (file, try service.store(file, of: id))
        } catch {
            service.remove(path)
            throw error
        }
    }

    func abandon() {
        let isFirst = state.withLock { state in
            defer { state.isOver = true }
            // The writer deletes what it wrote unless it was committed.
            state.writer = nil
            return !state.isOver
        }
        if isFirst { service.ended(announced, of: id) }
    }

    deinit { abandon() }
}
