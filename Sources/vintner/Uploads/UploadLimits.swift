import Files
import Jobs

/// How much may be uploaded, and how much room must stay.
struct UploadLimits: Sendable {
    /// The largest file, in bytes.
    var fileByteCountMax = 10 << 30
    /// The most that all datasets and uploads may take; `nil`: until four fifths of the disk are full.
    var totalByteCountMax: Int?
    /// The most that all models may take for another one to be imported; `nil` as for datasets.
    var modelsByteCountMax: Int?
    /// Models that may be on their way or being checked at once.
    var importsMax = 4
    /// Uploads that may be open.
    var openMax = 100
    /// Files that an upload may have.
    var filesMax = 64
    /// Files that may be on their way at once: each takes up to 2 MiB of memory.
    var receivingMax = 16
    /// Commits that may be checked at once; others wait.
    var commitsMax = 4
    /// Memory that reading texts may take.
    var memoryByteCount = Int.max
    /// What must stay free of the disk, where that is more than the usual.
    var freeByteCountMin = 0
    /// How long an upload stays open after something last came for it.
    var openSeconds = 86_400.0

    /// What counts towards a limit of its own.
    struct Quota {
        let subject: String
        let option: String
        let byteCountMax: Int?
    }

    /// What datasets may take, uploads included.
    var datasetsQuota: Quota {
        Quota(subject: "Datasets", option: "--max-datasets-bytes", byteCountMax: totalByteCountMax)
    }
    /// What models may take.
    var modelsQuota: Quota {
        Quota(subject: "Models", option: "--max-models-bytes", byteCountMax: modelsByteCountMax)
    }

    /// What must stay free for the jobs: 2 GiB, or a twentieth of the disk where that is more.
    private static let freeMin = 2 << 30
    private static let freeShare = 20
    /// Without a limit of their own, files may fill the disk up to four of five parts.
    private static let fullShare = 0.8

    /// How much of a file was announced, 0 where nobody said; refuses one that is too large.
    func announced(_ byteCount: Int?) throws(JobError) -> Int {
        let announced = byteCount ?? 0
        guard announced <= fileByteCountMax else { throw .fileTooLarge(limit: fileByteCountMax) }
        return announced
    }

    /// Refuses bytes for which there is no room.
    ///
    /// - Parameters:
    ///   - byteCount: What is to come, with everything else that is announced.
    ///   - quota: What counts, and how much of it there may be.
    ///   - used: What of it there is already; asked only where there is a limit of its own.
    ///   - folder: Whose disk counts.
    /// - Throws: `JobError.noRoom`.
    func checkRoom(
        for byteCount: Int, _ quota: Quota, used: () throws(FileError) -> Int, in folder: String
    ) throws(JobError) {
        let reason: String?
        do throws(FileError) {
            reason = try shortage(for: byteCount, quota, used: used, in: folder)
        } catch { throw JobError(error) }
        if let reason { throw .noRoom(reason) }
    }

    /// Why there is no room for bytes that are to come, of which `checkRoom` says more; `nil` where there is.
    func shortage(
        for byteCount: Int, _ quota: Quota, used: () throws(FileError) -> Int, in folder: String
    ) throws(FileError) -> String? {
        let space = try Folder.space(at: folder)
        let floor = max(Self.freeMin, space.total / Self.freeShare, freeByteCountMin)
        guard byteCount <= space.free - floor else {
            return "\(byteCount) bytes are to come, \(space.free) are free on the disk, and \(floor) of them "
                + "must stay free."
        }
        guard let most = quota.byteCountMax else {
            let full = Double(space.total - space.free) + Double(byteCount)
            guard full <= Self.fullShare * Double(space.total) else {
                return "The disk would be filled by more than four fifths with the \(byteCount) bytes that "
                    + "are to come; \(quota.option) allows it."
            }
            return nil
        }
        let taken = try used()
        guard byteCount <= most - taken else {
            return "\(byteCount) bytes are to come. \(quota.subject) may take \(most) bytes, and take "
                + "\(taken) already; delete some."
        }
        return nil
    }
}

extension JobError {
    /// A file that could not be read or written.
    init(_ error: FileError) {
        self = error.isDiskFull ? .storeFull(cause: "\(error)") : .storeUnavailable(cause: "\(error)")
    }

    /// Runs `body` and translates its file errors.
    static func translating<R>(_ body: () throws(FileError) -> R) throws(JobError) -> R {
        do { return try body() } catch { throw JobError(error) }
    }
}
