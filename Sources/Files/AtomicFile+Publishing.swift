import Glibc

extension AtomicFile {
    /// A name beside `path` that `removeLeftovers(in:)` finds, for a file that others write.
    public static func temporaryPath(for path: String) throws(FileError) -> String {
        let (folder, name) = Folder.split(path)
        let random = SHA256.Digest.hex(try secureRandomBytes(8))
        return "\(folder)/.\(name).\(random)\(temporarySuffix)"
    }

    /// Syncs a file that was written under a temporary name, gives it its own and syncs the folder.
    ///
    /// - Throws: `FileError`; before the rename what was at `path` is untouched.
    public static func publish(_ temporaryPath: String, as path: String) throws(FileError) {
        try synchronize(temporaryPath)
        try Folder.move(temporaryPath, to: path)
    }

    /// Makes the content of a file survive a power cut.
    public static func synchronize(_ path: String) throws(FileError) {
        try Descriptor(path, O_RDONLY | O_NOFOLLOW).synchronize()
    }

    /// Gives the regular file at `source` a second name, or copies it where the disk gives it none.
    ///
    /// - Returns: Whether both names are of one file.
    /// - Throws: `FileError`, also where `path` is there already.
    public static func share(_ source: String, as path: String) throws(FileError) -> Bool {
        if try link(source, as: path) { return true }
        _ = try copy(source, to: path)
        return false
    }

    /// Gives the regular file at `source` a second name.
    ///
    /// Only for files that nobody writes into, such as those of this type. A second name survives a power
    /// cut once its folder is synced.
    ///
    /// - Returns: Whether the disk gave it one.
    /// - Throws: `FileError`, also where `path` is there already.
    public static func link(_ source: String, as path: String) throws(FileError) -> Bool {
        guard let status = Folder.status(of: source) else {
            throw .system(action: "share", path: source, errno: ENOENT)
        }
        guard status.isRegularFile else { throw .corrupt(path: source, reason: "it is no regular file") }
        do throws(FileError) {
            try Folder.link(source, as: path)
            return true
        } catch {
            // Another disk, one without links, one file with too many, or somebody else's file.
            guard [EXDEV, EPERM, EOPNOTSUPP, EMLINK].contains(error.errnoCode) else { throw error }
            return false
        }
    }
}
