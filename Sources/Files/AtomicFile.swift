import FailPoints
import Glibc

/// Files that appear whole or not at all, also after a power cut.
///
/// The bytes go to a temporary file in the same folder, are synced, the file is renamed over the
/// target and the folder is synced. Readers see the old file or the new one, never a mixture.
public enum AtomicFile {
    /// What is known about a file that was written.
    public struct Receipt: Sendable, Equatable {
        /// Size in bytes.
        public let byteCount: Int
        /// Hash of the whole content.
        public let sha256: SHA256.Digest
    }

    /// Ends the names of unfinished files; see `removeLeftovers(in:)`.
    static let temporarySuffix = ".tmp"

    /// Writes `bytes` to `path`, replacing what was there.
    ///
    /// - Throws: `FileError`; then the old content, if any, is untouched.
    @discardableResult
    public static func write(
        _ bytes: [UInt8], to path: String, mode: UInt32 = 0o600
    ) throws(FileError) -> Receipt {
        let writer = try Writer(path, mode: mode)
        try writer.write(bytes)
        return try writer.commit()
    }

    /// Writes the UTF-8 bytes of `text` to `path`, replacing what was there.
    ///
    /// - Throws: `FileError`; then the old content, if any, is untouched.
    @discardableResult
    public static func write(
        _ text: String, to path: String, mode: UInt32 = 0o600
    ) throws(FileError) -> Receipt {
        try write([UInt8](text.utf8), to: path, mode: mode)
    }

    /// Copies the file at `source` to `path`, replacing what was there.
    ///
    /// - Throws: `FileError`; then the old content, if any, is untouched.
    @discardableResult
    public static func copy(
        _ source: String, to path: String, mode: UInt32 = 0o600
    ) throws(FileError) -> Receipt {
        let reader = try FileReader(source)
        let writer = try Writer(path, mode: mode)
        while true {
            let chunk = try reader.read(upTo: 1 << 18)
            if chunk.isEmpty { return try writer.commit() }
            try writer.write(chunk)
        }
    }

    /// Deletes what interrupted writers left in `folder`; call it only while nobody writes there.
    ///
    /// - Returns: The names removed, sorted.
    @discardableResult
    public static func removeLeftovers(in folder: String) throws(FileError) -> [String] {
        let leftovers = try Folder.names(in: folder).filter(isLeftover)
        for name in leftovers { try Folder.removeFile("\(folder)/\(name)") }
        return leftovers
    }

    /// Whether a name is one that interrupted writers leave.
    public static func isLeftover(_ name: String) -> Bool {
        name.hasPrefix(".") && name.hasSuffix(temporarySuffix)
    }

    /// Writes one file piece by piece; nothing is visible before `commit()`.
    ///
    /// A writer that is dropped without `commit()` removes its temporary file. Belongs to the thread
    /// that made it.
    public final class Writer {
        /// Where the file will appear.
        public let path: String
        private let temporaryPath: String
        private let descriptor: Descriptor
        private var hash = SHA256()
        private var byteCount = 0
        private var isFinished = false

        /// Opens a temporary file beside `path`, readable by `mode` alone.
        public init(_ path: String, mode: UInt32 = 0o600) throws(FileError) {
            self.path = path
            temporaryPath = try AtomicFile.temporaryPath(for: path)
            descriptor = try Descriptor(temporaryPath, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: mode)
            do { try Ownership.inherit(descriptor) } catch {
                _ = unsafe unlink(temporaryPath)
                throw error
            }
        }

        deinit { if !isFinished { _ = unsafe unlink(temporaryPath) } }

        /// Appends raw bytes, such as `floats.span.bytes`.
        public func write(_ bytes: RawSpan) throws(FileError) {
            precondition(!isFinished, "a committed file cannot be written to")
            try descriptor.writeAll(bytes)
            hash.update(bytes)
            byteCount += bytes.byteCount
        }

        /// Appends `bytes`.
        public func write(_ bytes: [UInt8]) throws(FileError) { try unsafe write(bytes.span.bytes) }

        /// Syncs the file, gives it its name and syncs the folder.
        ///
        /// - Throws: `FileError`. Before the rename the target is untouched; if only the folder's sync
        ///   fails the file is visible but may vanish in a power cut.
        public func commit() throws(FileError) -> Receipt {
            precondition(!isFinished, "a file is committed once")
            FailPoint.afterFileWrite.pass()
            try descriptor.synchronize()
            FailPoint.beforeFileRename.pass()
            guard unsafe rename(temporaryPath, path) == 0 else {
                throw .system(action: "rename a temporary file to", path: path, errno: errno)
            }
            isFinished = true
            FailPoint.afterFileRename.pass()
            try Folder.synchronize(Folder.split(path).folder)
            return Receipt(byteCount: byteCount, sha256: hash.digest())
        }
    }
}
