import GRDB
public import Jobs

/// Looks models up in a database that may be open elsewhere, by a server say; changes nothing.
public struct SQLiteModelReader: ModelSource {
    private let path: String

    /// Reads the database at `path`; without one there are no models.
    public init(path: String) { self.path = path }

    /// One model, as it is now.
    public func model(_ id: ModelID) throws(JobError) -> ModelRecord {
        guard FileStatus.exists(path) else { throw .modelNotFound(id) }
        var configuration = Configuration()
        configuration.readonly = true
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { try Pragmas.prepare($0) }
        do {
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            return try queue.read { try ModelRows.find($0, id) }
        } catch let error as JobError {
            throw error
        } catch { throw .storeUnavailable(cause: "\(error)") }
    }
}
