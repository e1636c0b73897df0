import GRDB

/// The settings of the connections.
enum Pragmas {
    /// What each connection needs, the readers included.
    static func prepare(_ db: Database) throws {
        try db.execute(
            sql: """
                PRAGMA trusted_schema = OFF;
                PRAGMA cell_size_check = ON;
                PRAGMA temp_store = MEMORY;
                PRAGMA mmap_size = 0;
                PRAGMA cache_size = -1000;
                PRAGMA wal_autocheckpoint = 0;
                """)
        // SQLite 3.40 can corrupt a log that two connections checkpoint at once: the writer alone does. It
        // does so by itself (`CheckpointClock`), because SQLite would keep a failure of its own
        // checkpoints secret, and sync again what a failed sync has lost.
    }

    /// What the writer needs besides; GRDB has just set `synchronous` to NORMAL, which may lose commits.
    static func secure(_ db: Database) throws {
        try db.execute(
            sql: """
                PRAGMA synchronous = FULL;
                PRAGMA journal_size_limit = 67108864;
                """)
        try expect(db, "journal_mode", "wal")
        try expect(db, "synchronous", "2")
        try expect(db, "foreign_keys", "1")
        try expect(db, "trusted_schema", "0")
        try expect(db, "cell_size_check", "1")
        try expect(db, "wal_autocheckpoint", "0")
    }

    /// Refuses a file that is damaged.
    static func check(_ db: Database, _ path: String) throws {
        let finding = try String.fetchOne(db, sql: "PRAGMA quick_check(1)") ?? "no answer"
        guard finding == "ok" else { throw StoreError.damaged(path: path, finding: finding) }
        if let row = try Row.fetchOne(db, sql: "PRAGMA foreign_key_check") {
            throw StoreError.damaged(path: path, finding: "a row of \(row[0] as String) refers to nothing")
        }
    }

    private static func expect(_ db: Database, _ setting: String, _ expected: String) throws {
        let found =
            try Row.fetchOne(db, sql: "PRAGMA \(setting)").map { "\($0[0] as DatabaseValue)" } ?? "absent"
        let text = found.trimmingQuotes
        guard text == expected else {
            throw StoreError.settingRefused(setting: setting, expected: expected, found: text)
        }
    }
}

extension String {
    /// The text without the quotes that a description of a database value adds.
    fileprivate var trimmingQuotes: String {
        hasPrefix("\"") && hasSuffix("\"") && count >= 2 ? String(dropFirst().dropLast()) : self
    }
}
