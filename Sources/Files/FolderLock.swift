import Glibc

/// Keeps a folder to one process; released when the lock is dropped or the process ends.
///
/// A `flock` on a file in the folder, and on the folder itself, so that a second process has no use of
/// deleting the file: it does not survive its process, so a crash never leaves a folder locked. It holds on
/// local disks only.
public final class FolderLock: Sendable {
    /// The file that carries the lock.
    public let path: String
    private let folder: String
    private let file: Descriptor
    /// The folder itself, where it is locked too.
    private let place: Descriptor?
    private let placeNumber: Int32

    /// Takes the lock at once or fails.
    ///
    /// - Throws: `FileError.locked` when another process (or another lock of this one) has it.
    public init(folder: String) throws(FileError) {
        (path, self.folder) = ("\(folder)/LOCK", folder)
        file = try Self.open(path)
        try Self.lock(file.number, path)
        let place = try Descriptor(folder, O_RDONLY | O_DIRECTORY)
        try Self.lock(place.number, path, mayBeImpossible: true)
        placeNumber = place.number
        self.place = consume place
    }

    /// The same for one file in the folder, which guards something less than all of it.
    public init(folder: String, name: String) throws(FileError) {
        (path, self.folder) = ("\(folder)/\(name)", folder)
        place = nil
        placeNumber = -1
        file = try Self.open(path)
        try Self.lock(file.number, path)
    }

    /// Whether the folder that was locked is still the one at its path; not that of a lock on one file.
    public var isInPlace: Bool {
        var (held, found) = (stat(), stat())
        guard placeNumber >= 0, unsafe fstat(placeNumber, &held) == 0 else { return true }
        guard unsafe stat(folder, &found) == 0 else { return errno != ENOENT && errno != ENOTDIR }
        return held.st_dev == found.st_dev && held.st_ino == found.st_ino
    }

    /// On a disk that is read alone the file has to be there already.
    private static func open(_ path: String) throws(FileError) -> Descriptor {
        do throws(FileError) {
            let file = try Descriptor(path, O_RDWR | O_CREAT | O_NOFOLLOW)
            try Ownership.inherit(file)
            return file
        } catch {
            guard case .system(_, _, EROFS) = error else { throw error }
            return try Descriptor(path, O_RDONLY | O_NOFOLLOW)
        }
    }

    /// Network file systems lock no folders.
    private static func lock(
        _ number: Int32, _ path: String, mayBeImpossible: Bool = false
    ) throws(FileError) {
        var result: Int32
        repeat { result = flock(number, LOCK_EX | LOCK_NB) } while result != 0 && errno == EINTR
        guard result != 0 else { return }
        if errno == EWOULDBLOCK { throw .locked(path: path) }
        guard mayBeImpossible else { throw .system(action: "lock", path: path, errno: errno) }
    }
}
