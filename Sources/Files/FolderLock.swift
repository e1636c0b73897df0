import Glibc

/// Keeps a folder to one process; released when the lock is dropped or the process ends.
///
/// A `flock` on a file in the folder: it does not survive its process, so a crash never leaves a
/// folder locked. It holds on local disks only.
public final class FolderLock: Sendable {
    /// The file that carries the lock.
    public let path: String
    private let descriptor: Descriptor

    /// Takes the lock at once or fails.
    ///
    /// - Throws: `FileError.locked` when another process (or another lock of this one) has it.
    public init(folder: String, name: String = "LOCK") throws(FileError) {
        path = "\(folder)/\(name)"
        descriptor = try Descriptor(path, O_RDWR | O_CREAT | O_NOFOLLOW)
        try Ownership.inherit(descriptor)
        var result: Int32
        repeat { result = flock(descriptor.number, LOCK_EX | LOCK_NB) } while result != 0 && errno == EINTR
        guard result == 0 else {
            if errno == EWOULDBLOCK { throw .locked(path: path) }
            throw .system(action: "lock", path: path, errno: errno)
        }
    }
}
