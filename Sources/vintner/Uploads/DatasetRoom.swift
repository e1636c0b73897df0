import Data
import Files
import Jobs
import Synchronization

/// Promises the room that datasets and uploads may take, so that nothing that comes at once gets it twice.
///
/// Looking and promising are one step. It knows what this process has promised; what others write it sees on
/// the disk.
final class DatasetRoom: Sendable {
    private struct Promises {
        /// Bytes of files that are on their way.
        var announced = 0
        /// Bytes of the files that a dataset is made of, by its id.
        var claimed: [String: Int] = [:]
    }

    private let folder: DataFolder
    private let limits: UploadLimits
    private let catalogue: DatasetCatalogue
    private let promises = Mutex(Promises())

    init(_ folder: DataFolder, _ limits: UploadLimits, _ catalogue: DatasetCatalogue) {
        (self.folder, self.limits, self.catalogue) = (folder, limits, catalogue)
    }

    /// Refuses bytes that nobody announced where there is no room for them.
    func check(_ byteCount: Int) throws(JobError) {
        try promises.withLock { (promises) throws(JobError) in try refuse(byteCount, promises) }
    }

    /// Promises room for a file that is to come, until `withdraw`.
    func announce(_ byteCount: Int) throws(JobError) {
        try promises.withLock { (promises) throws(JobError) in
            try refuse(byteCount, promises)
            promises.announced += byteCount
        }
    }

    /// A file that was announced came, or will not come any more.
    func withdraw(_ byteCount: Int) { promises.withLock { $0.announced -= byteCount } }

    /// Promises room for the files of a dataset that is being made, until `release`.
    ///
    /// - Throws: `DataError.noRoom`.
    func claim(_ byteCount: Int, for id: String) throws(DataError) {
        try promises.withLock { (promises) throws(DataError) in
            let reason: String?
            do throws(FileError) { reason = try shortage(for: byteCount, promises) } catch {
                throw .file(error)
            }
            if let reason { throw .noRoom("The dataset has no room: \(reason)") }
            promises.claimed[id] = byteCount
        }
    }

    /// The files of a dataset are written, or will not be.
    func release(_ id: String) { promises.withLock { $0.claimed[id] = nil } }

    private func refuse(_ byteCount: Int, _ promises: Promises) throws(JobError) {
        let reason = try JobError.translating { () throws(FileError) -> String? in
            try shortage(for: byteCount, promises)
        }
        if let reason { throw .noRoom(reason) }
    }

    private func shortage(for byteCount: Int, _ promises: Promises) throws(FileError) -> String? {
        var awaited = [byteCount, promises.announced]
        for (id, claimed) in promises.claimed {
            // What of it is written counts as used below, or as both: what it has grown by meanwhile.
            awaited.append(max(0, claimed - (try catalogue.stagedByteCount(of: id))))
        }
        let sum = awaited.reduce(0) { sum, next in
            let (total, overflow) = sum.addingReportingOverflow(next)
            return overflow ? .max : total
        }
        return try limits.shortage(
            for: sum, limits.datasetsQuota,
            used: { () throws(FileError) in
                try Folder.byteCount(of: folder.datasets) + Folder.byteCount(of: folder.uploads)
            }, in: folder.path)
    }
}
