import Files
import GRDB
public import Jobs
import Synchronization
import Threads

/// The one SQLite file of the service: a single writer that alone checkpoints, and a few readers.
///
/// Not to be opened twice; the lock on the data folder sees to that.
public final class SQLiteDatabase: Sendable {
    /// Where the file is.
    public let path: String
    /// Makes the identifiers of this database; later than every stored one.
    public let identifiers: IdentifierGenerator
    /// What webhooks are told as jobs change.
    let outlet: WebhookOutlet
    /// Struck when something was deleted of which much is left.
    let discards = Bell()
    /// What is known of the queue.
    let tally = Mutex(QueueTally())
    /// Whether its content was not looked through yet, since it is large; see `checkContent()`.
    public let isUnchecked: Bool
    let pool: DatabasePool
    private let onFailure: @Sendable (JobError) -> Void
    /// Who is at it: GRDB hands closed connections to those who asked for one while it closed.
    private let users = Monitor((count: 0, isClosed: false))
    /// The look through its content that is under way; see `checkContent()`.
    let check = Monitor((inspection: SQLiteInspection?.none, isCancelled: false))
    private let clock = Mutex(CheckpointClock())
    private let commits = CommitGroup()
    private let writeCount = Atomic<UInt64>(0)

    /// Opens or creates the file, checks it and brings its schema up to date.
    ///
    /// - Parameters:
    ///   - path: The file; its folder exists.
    ///   - migrations: All of them, in order.
    ///   - identifiers: Makes new identifiers.
    ///   - outlet: What webhooks are told as jobs change.
    ///   - trace: What only a database names, if that lies beside it: it is not created then.
    ///   - checkedAtOnceMax: Bytes up to which the file is looked through before this returns.
    ///   - onFailure: Called when the disk or the file fails while in use: stop acknowledging and exit.
    /// - Throws: `StoreError`; the file is then unchanged.
    public init(
        path: String, migrations: [Migration], identifiers: IdentifierGenerator = IdentifierGenerator(),
        outlet: WebhookOutlet = .silent, trace: String? = nil,
        checkedAtOnceMax: Int = 64 << 20,
        onFailure: @escaping @Sendable (JobError) -> Void = { _ in }
    ) throws(StoreError) {
        (self.path, self.identifiers, self.outlet) = (path, identifiers, outlet)
        self.onFailure = onFailure
        let migrator = try Migrator(migrations)
        if let trace, Folder.status(of: path) == nil { throw .lost(path: path, trace: trace) }
        do {
            let mayWait = Self.mayBeCheckedLater(path, checkedAtOnceMax)
            pool = try DatabasePool(path: path, configuration: Self.configuration)
            isUnchecked = try pool.writeWithoutTransaction { db in
                try Pragmas.secure(db)
                let isLater = try mayWait && migrator.isUpToDate(db)
                if isLater {
                    // Should what follows fail, the next start looks first.
                    try Folder.touch(Self.checkMark(of: path))
                } else {
                    try Pragmas.check(db, path)
                }
                try migrator.migrate(db, path, trace: trace)
                return isLater
            }
            if !isUnchecked { try Self.forgetCheck(of: path) }
            try Self.observeNewest(pool, identifiers)
        } catch let error as StoreError {
            throw error
        } catch {
            throw .cannotOpen(path: path, cause: "\(error)")
        }
    }

    /// Empties the log into the file and closes every connection; doing it again changes nothing.
    ///
    /// GRDB closes its writer before its readers, and a reader cannot empty the log any more.
    public func close() throws(JobError) {
        let wasClosed = users.update { users in
            defer { users.isClosed = true }
            return users.isClosed
        }
        if wasClosed { return }
        guard users.wait(seconds: 5, until: { $0.count == 0 }) else {
            throw .storeUnavailable(cause: "somebody reads or writes and does not end")
        }
        let emptied = Result { () throws(JobError) in try checkpoint() }
        do { try pool.close() } catch { throw translate(error) }
        try emptied.get()
    }

    /// Shrinks the write-ahead log to nothing; to be called while little happens.
    public func checkpoint() throws(JobError) {
        do {
            let isBusy = try pool.writeWithoutTransaction { db in
                try Bool.fetchOne(db, sql: "PRAGMA wal_checkpoint(TRUNCATE)") ?? true
            }
            guard !isBusy else { throw JobError.storeUnavailable(cause: "a reader holds the log") }
        } catch { throw translate(error) }
    }

    /// Grows after each change, before whoever made it knows that it is durable.
    ///
    /// What was read while it stands is still so.
    var generation: UInt64 { writeCount.load(ordering: .acquiring) }

    /// Runs `body` in one transaction, perhaps with others', that is durable when this returns.
    ///
    /// It may run on another thread, whose own work waits for it.
    func write<Value>(_ body: (Database) throws -> Value) throws(JobError) -> Value {
        try submit { db in
            tally.withLock { $0.ready = nil }
            return try body(db)
        }
    }

    /// The same for what changes nothing of the queue but by a job that joins it.
    func submit<Value>(_ body: (Database) throws -> Value) throws(JobError) -> Value {
        do {
            return try commits.write(
                { db in
                    do { return try body(db) } catch {
                        tally.withLock { $0.ready = nil }
                        throw error
                    }
                }, in: transact)
        } catch { throw translate(error) }
    }

    /// Runs `body` unless the database is closed, which waits for its end.
    private func using<Value>(_ body: () throws -> Value) throws -> Value {
        let isOpen = users.update { users in
            if !users.isClosed { users.count += 1 }
            return !users.isClosed
        }
        guard isOpen else { throw JobError.storeUnavailable(cause: "the database is closed") }
        defer { users.update { $0.count -= 1 } }
        return try body()
    }

    private func transact(_ body: (Database) throws -> Void) throws {
        defer { writeCount.add(1, ordering: .releasing) }
        let changes: Int
        do {
            changes = try using {
                try pool.write { db in
                    try body(db)
                    return db.totalChangesCount
                }
            }
        } catch {
            tally.withLock { $0.forget() }
            throw error
        }
        if clock.withLock({ $0.isDue(afterChanges: changes) }) { try shrinkLog() }
    }

    /// Brings what readers let go of from the log into the file.
    ///
    /// What is in the log is durable already: without room the file waits. A sync that fails must not be
    /// repeated, because the kernel forgets what it could not write; it ends the process.
    private func shrinkLog() throws(JobError) {
        do {
            try pool.writeWithoutTransaction { db in
                _ = try Row.fetchOne(db, sql: "PRAGMA wal_checkpoint(PASSIVE)")
            }
        } catch {
            let failure = translate(error)
            if case .storeBroken = failure { throw failure }
        }
    }

    /// Runs `body` on one snapshot; keep it short, since a reader stops the log from being emptied.
    func read<Value>(_ body: (Database) throws -> Value) throws(JobError) -> Value {
        do { return try using { try pool.read(body) } } catch { throw translate(error) }
    }

    /// Whether it can be read; neither disk nor lock is waited for.
    public var answers: Bool { (try? read { db in try Int.fetchOne(db, sql: "SELECT 1") }) == 1 }

    private func translate(_ error: any Error) -> JobError {
        if let error = error as? JobError { return error }
        guard let error = error as? DatabaseError else { return .storeUnavailable(cause: "\(error)") }
        // The log's index lies in memory that the file system backs: a full one cannot extend it.
        if error.extendedResultCode == .SQLITE_IOERR_SHMSIZE { return .storeFull(cause: error.description) }
        switch error.resultCode {
        case .SQLITE_FULL: return .storeFull(cause: error.description)
        case .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_IOERR:
            let failure = JobError.storeBroken(cause: error.description)
            onFailure(failure)
            return failure
        case .SQLITE_CONSTRAINT, .SQLITE_MISMATCH: return .storeRefused(cause: error.description)
        default: return .storeUnavailable(cause: error.description)
        }
    }

    private static var configuration: Configuration {
        var configuration = Configuration()
        configuration.maximumReaderCount = 3
        // Otherwise a moment's lock of the checkpointer is an error.
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { try Pragmas.prepare($0) }
        return configuration
    }

    private static func observeNewest(_ pool: DatabasePool, _ identifiers: IdentifierGenerator) throws {
        let newest = try pool.read { db in
            (
                try String.fetchOne(db, sql: "SELECT max(id) FROM job"),
                try String.fetchOne(db, sql: "SELECT max(id) FROM event")
            )
        }
        newest.0.flatMap { JobID($0) }.map { identifiers.observe($0) }
        newest.1.flatMap { EventID($0) }.map { identifiers.observe($0) }
    }
}
