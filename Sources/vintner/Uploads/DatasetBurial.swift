import Data
import Jobs
import Store

/// The deletion of a dataset, which is a folder and a row.
///
/// The folder goes first, into a grave: without it no look at the folders brings the row back. The grave goes
/// last: where the process ends in between, it tells the next start that the row is to go.
struct DatasetBurial {
    let catalogue: DatasetCatalogue
    let repository: SQLiteDatasetRepository

    /// Ends a deletion whose folder lies in its grave.
    ///
    /// A job that was stored before the burial keeps its dataset: everything is put back.
    ///
    /// - Returns: Whether the row is gone; the grave may then be removed.
    /// - Throws: What kept the store or the disk from it; nothing is lost by trying again.
    func end(_ id: String) throws -> Bool {
        guard let record = try known(id) else { return true }
        do throws(JobError) { try repository.deleteUnneeded(record) } catch {
            guard case .inUse = error else { throw error }
            try catalogue.exhume(id)
            return false
        }
        return true
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
}
