public import Files
import Threads

/// Looking through what a database holds.
///
/// Takes a second for 120 MiB and more: of a large file it is done while the service runs already, and the
/// next start waits for it where that did not end, or found damage.
extension SQLiteDatabase {
    /// The file that says that a check began and has not ended well.
    public static func checkMark(of path: String) -> String { path + ".checking" }

    /// Looks through a database that was opened unchecked.
    ///
    /// - Throws: `StoreError.damaged`; the next start checks before it does anything else.
    public func checkContent() throws {
        let inspection = try SQLiteInspection(path: path, newestSchema: .max)
        let isWanted = check.update { check in
            if !check.isCancelled { check.inspection = inspection }
            return !check.isCancelled
        }
        guard isWanted else { return }
        defer { check.update { $0.inspection = nil } }
        do { try inspection.check() } catch {
            if check.read({ $0.isCancelled }) { return }
            throw error
        }
        try Self.forgetCheck(of: path)
    }

    /// Ends a check that is under way, since the process ends well: the next start may begin it anew.
    public func cancelCheck() throws(FileError) {
        guard isUnchecked else { return }
        check.update { check in
            check.isCancelled = true
            check.inspection?.interrupt()
        }
        check.wait(seconds: 5) { $0.inspection == nil }
        try Self.forgetCheck(of: path)
    }

    static func forgetCheck(of path: String) throws(FileError) {
        try Folder.removeFile(checkMark(of: path))
    }

    static func mayBeCheckedLater(_ path: String, _ byteCountMax: Int) -> Bool {
        guard Folder.status(of: checkMark(of: path)) == nil else { return false }
        let sizes = ["", "-wal"].map { Folder.status(of: path + $0)?.byteCount ?? 0 }
        return sizes.reduce(0, +) > byteCountMax
    }
}
