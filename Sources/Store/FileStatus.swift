import Files

/// What the store asks of the file system.
enum FileStatus {
    /// Whether something lies at `path`.
    static func exists(_ path: String) -> Bool { Folder.status(of: path) != nil }
}
