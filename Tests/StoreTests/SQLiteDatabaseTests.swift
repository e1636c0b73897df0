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
        let (later, _) = try Self.later(than: store)
        try SQLiteDatabase(path: store.path, migrations: known + [later]).close()
        let (found, newest) = (known.count + 1, known.count)
        let expected = StoreError.newerSchema(path: store.path, found: found, newest: newest)
        #expect(throws: expected) { try SQLiteDatabase(path: store.path, migrations: known) }
        #expect(
            expected.description.contains(
                "has schema \(found), but this version knows schemas up to \(newest) only."))
    }

    @Test("is copied before its schema changes, and keeps its rows")
    func copiesBeforeMigrating() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        try store.database.close()
        let (later, copy) = try Self.later(than: store, "ALTER TABLE job ADD COLUMN colour TEXT")
        let database = try SQLiteDatabase(path: store.path, migrations: TemporaryStore.migrations() + [later])
        #expect(try SQLiteJobRepository(database).job(job.id) == job)
        try database.close()
        let old = try SQLiteDatabase(path: copy, migrations: TemporaryStore.migrations())
        #expect(try SQLiteJobRepository(old).job(job.id) == job)
        try old.close()
    }

    /// A step behind all that are released, and where the copy before it lies.
    private static func later(
        than store: TemporaryStore, by steps: Int = 1, _ sql: String = "CREATE TABLE later(id INTEGER)"
    ) throws -> (step: Migration, copy: String) {
        let schema = try TemporaryStore.migrations().count
        let number = String("000\(schema + steps)".suffix(4))
        let step = Migration(name: "\(number)_later.sql", sql: sql)
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
        let (broken, _) = try Self.later(
            than: store, "CREATE TABLE half(id INTEGER); SELECT nothing;")
        let error = #expect(throws: StoreError.self) {
            try SQLiteDatabase(path: store.path, migrations: TemporaryStore.migrations() + [broken])
        }
        #expect(error?.description.hasPrefix("The migration \(broken.name) failed:") == true)
        try store.reopen()
        #expect(try store.jobs.job(job.id) == job)
    }

    @Test("is looked through later where it is large, and at once where that did not end well")
    func checksLargeFilesLater() throws {
        let store = try TemporaryStore()
        try store.database.close()
        let rows = """
            CREATE TABLE later(id INTEGER PRIMARY KEY, text TEXT);
            WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 1000)
                INSERT INTO later SELECT n, hex(zeroblob(200)) FROM number;
            """
        let (later, _) = try Self.later(than: store, rows)
        func open() throws -> SQLiteDatabase {
            try SQLiteDatabase(
                path: store.path, migrations: TemporaryStore.migrations() + [later], checkedAtOnceMax: 0)
        }
        // A schema that changes is one to be sure of first.
        let changed = try open()
        #expect(!changed.isUnchecked)
        try changed.close()
        let sound = try open()
        #expect(sound.isUnchecked)
        try sound.checkContent()
        try sound.cancelCheck()
        let mark = SQLiteDatabase.checkMark(of: store.path)
        #expect(!FileManager.default.fileExists(atPath: mark))
        try sound.close()

        let file = try FileHandle(forUpdating: URL(filePath: store.path))
        let end = try file.seekToEnd()
        // Within the rows that came last.
        for page in stride(from: end - 10 * 4096, to: end, by: 4096) {
            try file.seek(toOffset: page + 40)
            try file.write(contentsOf: Array(repeating: 0xA5, count: 900))
        }
        try file.close()
        let broken = try open()
        let isDamaged = { (error: any Error) in
            if case .damaged? = error as? StoreError { true } else { false }
        }
        #expect(FileManager.default.fileExists(atPath: mark), "until it has ended well")
        #expect { try broken.checkContent() } throws: { isDamaged($0) }
        #expect(FileManager.default.fileExists(atPath: mark))
        try? broken.close()
        for _ in 0..<2 { #expect { try open() } throws: { isDamaged($0) } }
    }

    @Test("wants its migrations numbered without gaps")
    func refusesMisnamedMigrations() throws {
        let store = try TemporaryStore()
        let (late, _) = try Self.later(than: store, by: 2)
        #expect(throws: StoreError.migrationMisnamed(late.name)) {
            try SQLiteDatabase(path: store.path, migrations: TemporaryStore.migrations() + [late])
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
