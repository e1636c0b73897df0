import Glibc

/// Reads one file at any place, from any thread.
public final class RandomReader: Sendable {
    /// What was opened.
    public let path: String
    /// Size of the file when it was opened.
    public let byteCount: Int
    private let descriptor: Descriptor

    /// Opens `path` for reading; a link at its end is refused.
    public init(_ path: String) throws(FileError) {
        self.path = path
        descriptor = try Descriptor(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        byteCount = try descriptor.byteCount()
    }

    /// The `count` bytes that start at `offset`, fewer only where the file ends.
    ///
    /// - Throws: `FileError.system`, also for what has no offsets, such as a pipe.
    public func read(_ count: Int, at offset: Int) throws(FileError) -> [UInt8] {
        try descriptor.read(count, at: offset)
    }
}
