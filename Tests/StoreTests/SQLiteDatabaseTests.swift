import Foundation
import Jobs
import Store
import Testing

@Suite("The database file") struct SQLiteDatabaseTests {
    @Test("refuses a schema newer than it knows, and says which")
    func refusesNewerSchema() throws {
        let store = try TemporaryStore()
        let known = try TemporaryStore.migrations()
        try store.database.close()
        let later =
            known + [Migration(name: "0003_later.sql", sql: "CREATE TABLE later(id INTEGER PRIMARY KEY)")]
        try SQLiteDatabase(path: store.path, migrations: later).close()
        let expected = StoreError.newerSchema(path: store.path, found: 3, newest: 2)
        #expect(throws: expected) { try SQLiteDatabase(path: store.path, migrations: known) }
        #expect(expected.description.contains("has schema 3, but this version knows schemas up to 2 only."))
    }

    @Test("is copied before its schema changes, and keeps its rows")
    func copiesBeforeMigrating() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        try store.database.close()
        let later = Migration(name: "0003_later.sql", sql: "ALTER TABLE job ADD COLUMN colour TEXT")
        let database = try SQLiteDatabase(path: store.path, migrations: TemporaryStore.migrations() + [later])
        #expect(try SQLiteJobRepository(database).job(job.id) == job)
        try database.close()
        let copy = store.path + ".schema-2.backup"
        let old = try SQLiteDatabase(path: copy, migrations: TemporaryStore.migrations())
        #expect(try SQLiteJobRepository(old).job(job.id) == job)
        try old.close()
    }

    /// A step behind all that are released, and where the copy before it lies.
    private static func later(than store: TemporaryStore) throws -> (step: Migration, copy: String) {
        let schema = try TemporaryStore.migrations().count
        let number = schema < 9 ? "000\(schema + 1)" : "00\(schema + 1)"
        let step = Migration(name: "\(number)_later.sql", sql: "CREATE TABLE later(id INTEGER)")
        return (step, "\(store.path).schema-\(schema).backup")
    }

    @Test("is copied anew each time its schema changes, and half a copy is never taken for one")
    func replacesEarlierCopies() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        try store.database.close()
        let (later, copy) = try Self.later(than: store)
        try Data("half a copy".utf8).write(to: URL(filePath: copy))
        try SQLiteDatabase(path: store.path, migrations: TemporaryStore.migrations() + [later]).close()
        let old = try SQLiteDatabase(path: copy, migrations: TemporaryStore.migrations())
        #expect(try SQLiteJobRepository(old).job(job.id) == job)
        try old.close()
        let names = try FileManager.default.contentsOfDirectory(atPath: store.folder.path)
        #expect(names.filter { $0.hasPrefix(".") } == [])
    }

    @Test("keeps its schema when no copy can be made")
    func refusesToMigrateWithoutACopy() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        try store.database.close()
        let (later, copy) = try Self.later(than: store)
        // A folder cannot be replaced by a file.
        try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
        let error = #expect(throws: StoreError.self) {
            try SQLiteDatabase(path: store.path, migrations: TemporaryStore.migrations() + [later])
        }
        #expect(error?.description.contains("could not be copied, so its schema is left as it is") == true)
        try store.reopen()
        #expect(try store.jobs.job(job.id) == job)
    }

    @Test("is as it was when a migration fails half way")
    func keepsSchemaWhenMigrationFails() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        try store.database.close()
        let broken = Migration(name: "0003_broken.sql", sql: "CREATE TABLE half(id INTEGER); SELECT nothing;")
        let error = #expect(throws: StoreError.self) {
            try SQLiteDatabase(path: store.path, migrations: TemporaryStore.migrations() + [broken])
        }
        #expect(error?.description.hasPrefix("The migration 0003_broken.sql failed:") == true)
        try store.reopen()
        #expect(try store.jobs.job(job.id) == job)
    }

    @Test("wants its migrations numbered without gaps")
    func refusesMisnamedMigrations() throws {
        let store = try TemporaryStore()
        #expect(throws: StoreError.migrationMisnamed("0004_x.sql")) {
            try SQLiteDatabase(
                path: store.path,
                migrations: TemporaryStore.migrations() + [Migration(name: "0004_x.sql", sql: "")])
        }
    }

    @Test("refuses to open when it is damaged")
    func refusesDamage() throws {
        let store = try TemporaryStore()
        for _ in 0..<50 { try store.submit() }
        try store.database.close()
        let file = try FileHandle(forUpdating: URL(filePath: store.path))
        let end = try file.seekToEnd()
        for page in stride(from: UInt64(8192), to: end, by: 4096) {
            try file.seek(toOffset: page)
            try file.write(contentsOf: Data(repeating: 0xA5, count: 64))
        }
        try file.close()
        #expect(throws: StoreError.self) { try store.reopen() }
    }

    @Test("gives out identifiers greater than every stored one, even after the clock was set back")
    func identifiersGrowAcrossRuns() throws {
        let store = try TemporaryStore()
        let first = try store.submit(at: .start)
        try store.reopen()
        let second = try store.submit(at: .start + -86_400_000)
        #expect(second.id > first.id)
        let events =
            try
            (store.events.events(of: first.id, after: nil, limit: 9)
            + store.events.events(of: second.id, after: nil, limit: 9))
        #expect(events.map(\.id) == events.map(\.id).sorted())
    }
}
