import Glibc

/// Reads one file from start to end.
///
/// Belongs to the thread that made it.
public final class FileReader {
    /// What was opened.
    public let path: String
    private let descriptor: Descriptor

    /// Opens `path` for reading.
    public init(_ path: String) throws(FileError) {
        self.path = path
        descriptor = try Descriptor(path, O_RDONLY)
    }

    /// Size of the file in bytes, as the kernel reports it now.
    public func byteCount() throws(FileError) -> Int { try descriptor.byteCount() }

    /// The next bytes, at most `count`; empty only at the end of the file.
    public func read(upTo count: Int) throws(FileError) -> [UInt8] {
        var bytes: [UInt8] = []
        _ = try descriptor.read(upTo: count, onto: &bytes)
        return bytes
    }

    /// The `count` bytes that start at `offset`, fewer only where the file ends.
    ///
    /// Where `read(upTo:)` stands does not change.
    ///
    /// - Throws: `FileError.system`, also for what has no offsets, such as a pipe.
    public func read(_ count: Int, at offset: Int) throws(FileError) -> [UInt8] {
        try descriptor.read(count, at: offset)
    }

    /// The next `count` bytes, fewer only where the file ends.
    public func readFully(_ count: Int) throws(FileError) -> [UInt8] {
        var bytes: [UInt8] = []
        // Growing step by step it would take up to three times as much.
        bytes.reserveCapacity(min(count, max(try byteCount(), 0)))
        while bytes.count < count {
            if try descriptor.read(upTo: min(count - bytes.count, 1 << 20), onto: &bytes) == 0 { break }
        }
        return bytes
    }
}

/// The whole content of the file at `path`.
///
/// - Parameters:
///   - path: A regular file, or anything else that ends, such as a pipe.
///   - limit: The most bytes to accept; they are counted while reading, so growing files are safe.
/// - Returns: All bytes up to the end.
/// - Throws: `FileError.tooLarge` when there is more.
public func readFile(_ path: String, limit: Int) throws(FileError) -> [UInt8] {
    let reader = try FileReader(path)
    guard try reader.byteCount() <= limit else { throw .tooLarge(path: path, limit: limit) }
    let bytes = try reader.readFully(limit)
    if bytes.count == limit, !(try reader.read(upTo: 1)).isEmpty {
        throw .tooLarge(path: path, limit: limit)
    }
    return bytes
}
