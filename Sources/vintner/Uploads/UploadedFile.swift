import Files
import Jobs

/// A file on its way into an open upload.
final class UploadedFile: FileIntake {
    private let name: String
    private let id: DatasetID
    /// Where the file will lie, relative to the data folder.
    private let path: String
    private let service: UploadService
    private let file: IncomingFile

    init(
        _ name: String, of id: DatasetID, at path: String, announced: Int, _ service: UploadService
    ) {
        (self.name, self.id, self.path, self.service) = (name, id, path, service)
        file = IncomingFile(
            at: service.folder.absolute(path), announced: announced,
            byteCountMax: service.limits.fileByteCountMax,
            checkRoom: { byteCount throws(JobError) in try service.room.check(byteCount) },
            ended: { service.ended(announced, of: id) })
    }

    func take(_ bytes: [UInt8]) throws(JobError) { try file.take(bytes) }

    func finish(expecting sha256: [UInt8]?) throws(JobError) -> (file: DatasetFile, isNew: Bool) {
        defer { file.abandon() }
        let receipt = try file.commit()
        do throws(JobError) {
            try receipt.check(against: sha256)
            let file = DatasetFile(
                name: name, path: path, byteCount: Int64(receipt.byteCount), sha256: receipt.sha256.hex,
                createdAt: service.time.now())
            return (file, try service.store(file, of: id))
        } catch {
            service.remove(path)
            throw error
        }
    }

    func abandon() { file.abandon() }
}
