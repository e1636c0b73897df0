import Data
import FailPoints
import Jobs
import Store
import Synchronization

/// The deletion of datasets, each of which is a folder and a row.
///
/// The folder is laid into a grave within the transaction that finds no job in need of it and takes the row:
/// jobs are stored by such transactions too, which look whether their folder is there, so that a job either
/// keeps its dataset or is refused. The grave goes last: where the process ends in between, it tells the next
/// start that the row is to go.
final class DatasetBurial: Sendable {
    private let catalogue: DatasetCatalogue
    private let repository: SQLiteDatasetRepository
    /// One deletion at a time: two of one dataset would undo what the other did.
    private let turn = Mutex(())

    init(_ catalogue: DatasetCatalogue, _ repository: SQLiteDatasetRepository) {
        (self.catalogue, self.repository) = (catalogue, repository)
    }

    /// Deletes a dataset, but for its grave.
    ///
    /// - Throws: `inUse` while a job needs it; after any other failure it is still there, or its grave is and
    ///   trying again ends it.
    func delete(_ record: DatasetRecord) throws(JobError) {
        try turn.withLock { (_) throws(JobError) in
            do throws(JobError) {
                try repository.deleteUnneeded(record) { [catalogue] () throws(JobError) in
                    try Self.storing { () throws(DataError) in try catalogue.bury(record.id.rawValue) }
                    FailPoint.afterBurial.pass()
                }
            } catch {
                if catalogue.isBuried(record.id.rawValue) {
                    try Self.storing { () throws(DataError) in try catalogue.exhume(record.id.rawValue) }
                }
                throw error
            }
        }
    }

    /// Ends a deletion that an earlier process began; a dataset that a job needs is put back, and one that
    /// somebody put back stays.
    ///
    /// - Returns: Whether the dataset is gone.
    /// - Throws: What kept the store or the disk from it; nothing is lost by trying again.
    func end(_ id: String) throws(JobError) -> Bool {
        var isGone = !catalogue.has(id)
        do throws(JobError) {
            if isGone, let record = try known(id) { try delete(record) }
        } catch {
            guard case .inUse = error else { throw error }
            isGone = false
        }
        try Self.storing { () throws(DataError) in try catalogue.removeGrave(of: id) }
        return isGone
    }

    private func known(_ id: String) throws(JobError) -> DatasetRecord? {
        do throws(JobError) {
            let found = try repository.dataset(id)
            return found.id.rawValue == id ? found : nil
        } catch {
            guard case .datasetNotFound = error else { throw error }
            return nil
        }
    }

    private static func storing(_ body: () throws(DataError) -> Void) throws(JobError) {
        do throws(DataError) { try body() } catch { throw .storeUnavailable(cause: "\(error)") }
    }
}
