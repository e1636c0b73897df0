/// Why a database cannot be used at all; for the log and the person who starts the service.
public enum StoreError: Error, Equatable, CustomStringConvertible {
    /// SQLite refused.
    case cannotOpen(path: String, cause: String)
    /// The file was written by a later version of the service.
    case newerSchema(path: String, found: Int, newest: Int)
    /// The file is damaged; the text is what the check found first.
    case damaged(path: String, finding: String)
    /// There is no database, or an empty one, while `trace` lies beside it: what only a database names.
    case lost(path: String, trace: String)
    /// A setting that durability rests on did not take.
    case settingRefused(setting: String, expected: String, found: String)
    /// A migration's name does not start with a number, or the numbers have a gap.
    case migrationMisnamed(String)
    /// A migration failed; the database is as it was before.
    case migrationFailed(name: String, cause: String)
    /// No copy could be made before a migration; the database is as it was before.
    case backupFailed(path: String, cause: String)

    /// What was attempted, on what, and what was found instead.
    public var description: String {
        switch self {
        case .cannotOpen(let path, let cause): "The database \(path) cannot be opened: \(cause)"
        case .newerSchema(let path, let found, let newest):
            "The database \(path) has schema \(found), but this version knows schemas up to \(newest) only."
        case .damaged(let path, let finding):
            "The database \(path) is damaged (\(finding)); restore a backup."
        case .lost(let path, let trace):
            "The database \(path) is missing or has lost its content, while \(trace) is still there: restore "
                + "a backup. To begin anew instead, move the whole folder elsewhere."
        case .settingRefused(let setting, let expected, let found):
            "The database setting \(setting) should be \(expected) and is \(found)."
        case .migrationMisnamed(let name):
            "The migration \(name) should be named NNNN_name, numbered from 0001 without gaps."
        case .migrationFailed(let name, let cause): "The migration \(name) failed: \(cause)"
        case .backupFailed(let path, let cause):
            "The database \(path) could not be copied, so its schema is left as it is: \(cause)"
        }
    }
}
