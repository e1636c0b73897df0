import Files
import GRDB

/// One step of the schema; once released, never changed.
public struct Migration: Sendable {
    /// `NNNN_name.sql`.
    public let name: String
    /// Its statements.
    public let sql: String

    /// Pairs a name with its statements.
    public init(name: String, sql: String) { (self.name, self.sql) = (name, sql) }
}

/// Brings a database's schema up to date; `user_version` counts the steps taken.
struct Migrator {
    private let migrations: [Migration]

    init(_ migrations: [Migration]) throws(StoreError) {
        for (index, migration) in migrations.enumerated() {
            guard let number = Int(migration.name.prefix(4)), number == index + 1 else {
                throw .migrationMisnamed(migration.name)
            }
        }
        self.migrations = migrations
    }

    /// Whether no step is missing.
    func isUpToDate(_ db: Database) throws -> Bool {
        try Int.fetchOne(db, sql: "PRAGMA user_version") == migrations.count
    }

    /// Takes the missing steps, all or none, after a copy was made of a database that has a schema already.
    ///
    /// There is one copy of each schema that was left behind, the newest; nobody deletes it but a person.
    /// With `trace`, what only a database names, a new one is refused.
    func migrate(_ db: Database, _ path: String, trace: String?) throws {
        let found = try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0
        if found == 0, let trace { throw StoreError.lost(path: path, trace: trace) }
        guard found <= migrations.count else {
            throw StoreError.newerSchema(path: path, found: found, newest: migrations.count)
        }
        guard found < migrations.count else { return }
        if found > 0 { try backUp(db, path, to: "\(path).schema-\(found).backup") }
        try db.inTransaction(.immediate) {
            for migration in migrations[found...] {
                do { try db.execute(sql: migration.sql) } catch {
                    throw StoreError.migrationFailed(name: migration.name, cause: "\(error)")
                }
            }
            try db.execute(sql: "PRAGMA user_version = \(migrations.count)")
            return .commit
        }
    }

    /// Replaces an earlier copy: it may be of a time long before somebody went back to it.
    private func backUp(_ db: Database, _ path: String, to copy: String) throws {
        do {
            let temporary = try AtomicFile.temporaryPath(for: copy)
            do {
                try db.execute(sql: "VACUUM INTO ?", arguments: [temporary])
                try AtomicFile.publish(temporary, as: copy)
            } catch {
                try Folder.removeFile(temporary)
                throw error
            }
        } catch { throw StoreError.backupFailed(path: path, cause: "\(error)") }
    }
}
