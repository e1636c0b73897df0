import Glibc

/// What the service does with folders and the names in them.
public enum Folder {
    /// Makes `path` and its missing parents, durably; does nothing where it exists.
    ///
    /// - Parameters:
    ///   - path: Where; a link to a folder is one where links are followed.
    ///   - mode: Who may enter it.
    ///   - followingLinks: Whether they are. It belongs to its maker then; else, where root makes it, to the
    ///     owner of its parent.
    /// - Throws: `FileError`.
    public static func make(
        _ path: String, mode: UInt32 = 0o700, followingLinks: Bool = false
    ) throws(FileError) {
        if unsafe mkdir(path, mode) == 0 {
            if !followingLinks { try Ownership.inheritFolder(path) }
            return try synchronize(split(path).folder)
        }
        let code = errno
        switch code {
        case EEXIST where status(of: path, followingLinks: followingLinks)?.isFolder == true: return
        case ENOENT where split(path).folder != path:
            try make(split(path).folder, mode: mode)
            guard unsafe mkdir(path, mode) == 0 || errno == EEXIST else {
                throw .system(action: "make the folder", path: path, errno: errno)
            }
            if !followingLinks { try Ownership.inheritFolder(path) }
            try synchronize(split(path).folder)
        default: throw .system(action: "make the folder", path: path, errno: code)
        }
    }

    /// The same, where another thread may have made it and not have synced its name yet.
    public static func makeDurably(_ path: String) throws(FileError) {
        try make(path)
        try synchronize(split(path).folder)
    }

    /// The names in `path`, sorted by their bytes, without `.` and `..`.
    public static func names(in path: String) throws(FileError) -> [String] {
        guard let stream = unsafe opendir(path) else {
            throw .system(action: "list", path: path, errno: errno)
        }
        defer { _ = unsafe closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = unsafe readdir(stream) else { break }
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { tuple in
                let count = MemoryLayout.size(ofValue: unsafe tuple.pointee)
                return unsafe tuple.withMemoryRebound(to: CChar.self, capacity: count) {
                    unsafe String(cString: $0)
                }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        guard errno == 0 else { throw .system(action: "list", path: path, errno: errno) }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Makes an empty file where there is none, without waiting for the disk.
    public static func touch(_ path: String) throws(FileError) {
        _ = try Descriptor(path, O_WRONLY | O_CREAT | O_NOFOLLOW)
    }

    /// Deletes one file; a missing file is no error.
    public static func removeFile(_ path: String) throws(FileError) {
        guard unsafe unlink(path) == 0 || errno == ENOENT else {
            throw .system(action: "remove", path: path, errno: errno)
        }
    }

    /// Bytes of a file, or of all files below a folder; what goes meanwhile does not count.
    public static func byteCount(of path: String) throws(FileError) -> Int {
        guard let status = status(of: path) else { return 0 }
        guard status.isFolder else { return status.byteCount }
        let names: [String]
        do throws(FileError) { names = try Folder.names(in: path) } catch {
            if error.isMissing { return 0 }
            throw error
        }
        var sum = 0
        for name in names { sum += try byteCount(of: "\(path)/\(name)") }
        return sum
    }

    /// Deletes a folder and all it holds without following links; a missing one is no error.
    public static func removeTree(_ path: String) throws(FileError) {
        guard let status = status(of: path) else { return }
        guard status.isFolder else { return try removeFile(path) }
        for name in try names(in: path) { try removeTree("\(path)/\(name)") }
        guard unsafe rmdir(path) == 0 || errno == ENOENT else {
            throw .system(action: "remove the folder", path: path, errno: errno)
        }
    }

    /// Gives a file or folder another name on the same disk and syncs both parents.
    public static func move(_ path: String, to target: String) throws(FileError) {
        guard unsafe rename(path, target) == 0 else {
            throw .system(action: "rename \(path) to", path: target, errno: errno)
        }
        try synchronize(split(target).folder)
        if split(path).folder != split(target).folder { try synchronize(split(path).folder) }
    }

    /// Gives a file a second name on the same disk; for files that nobody writes into.
    public static func link(_ path: String, as name: String) throws(FileError) {
        guard unsafe Glibc.link(path, name) == 0 else {
            throw .system(action: "link \(path) to", path: name, errno: errno)
        }
    }

    /// Makes the names in `path` survive a power cut.
    public static func synchronize(_ path: String) throws(FileError) {
        try Descriptor(path, O_RDONLY | O_DIRECTORY).synchronize()
    }

    /// Bytes an unprivileged process may still write on the disk that holds `path`, and its size.
    public static func space(at path: String) throws(FileError) -> (free: Int, total: Int) {
        var status = statvfs()
        guard unsafe statvfs(path, &status) == 0 else {
            throw .system(action: "measure the disk of", path: path, errno: errno)
        }
        let block = Int(clamping: status.f_frsize)
        let free = Int(clamping: status.f_bavail).multipliedReportingOverflow(by: block)
        let total = Int(clamping: status.f_blocks).multipliedReportingOverflow(by: block)
        return (free.overflow ? .max : free.partialValue, total.overflow ? .max : total.partialValue)
    }

    /// What a name stands for, or `nil` when there is nothing.
    public static func status(of path: String, followingLinks: Bool = false) -> Status? {
        var status = stat()
        let result = unsafe followingLinks ? stat(path, &status) : lstat(path, &status)
        guard result == 0 else { return nil }
        let kind = status.st_mode & S_IFMT
        let modified = status.st_mtim
        return Status(
            byteCount: Int(status.st_size), isFolder: kind == S_IFDIR, isRegularFile: kind == S_IFREG,
            permissions: status.st_mode & 0o7777,
            modifiedNanoseconds: Int64(modified.tv_sec) * 1_000_000_000 + Int64(modified.tv_nsec))
    }

    /// Says who may read, write and enter; links are followed.
    public static func setPermissions(of path: String, to mode: UInt32) throws(FileError) {
        guard unsafe chmod(path, mode) == 0 else {
            throw .system(action: "change the permissions of", path: path, errno: errno)
        }
    }

    /// A name's kind, size and age.
    public struct Status: Sendable, Equatable {
        /// Size in bytes.
        public let byteCount: Int
        /// Whether it is a folder.
        public let isFolder: Bool
        /// Whether it is a plain file.
        public let isRegularFile: Bool
        /// Who may read, write and enter: the bits that `chmod` sets.
        public let permissions: UInt32
        /// Last change of the content, in nanoseconds since 1970.
        public let modifiedNanoseconds: Int64
    }

    /// A text that names paths in `folder`, as seen from there: for those who need not know where it lies.
    public static func naming(_ text: String, within folder: String) -> String {
        text.split(separator: "\(folder)/", omittingEmptySubsequences: false).joined()
    }

    /// The folder a path lies in (`.` when it names none) and the last component.
    public static func split(_ path: String) -> (folder: String, name: String) {
        let trimmed = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        guard let slash = trimmed.lastIndex(of: "/") else { return (".", trimmed) }
        let folder = slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
        return (folder, String(trimmed[trimmed.index(after: slash)...]))
    }
}
