import CZlib

/// Inflates one deflate stream that lies within a file, as in ZIP archives and PNG images.
///
/// Belongs to the thread that made it.
public final class Inflater {
    /// What is around the deflate data.
    public enum Framing: Sendable {
        /// Nothing (ZIP).
        case raw
        /// Two bytes in front and a checksum behind, which is checked (PNG).
        case zlib
    }

    private let path: String
    private let source: () throws(FileError) -> [UInt8]
    private let stream: ZlibStream
    private var isAtEnd = false

    /// Prepares to inflate.
    ///
    /// - Parameters:
    ///   - path: What errors name.
    ///   - framing: What is around the data.
    ///   - source: Gives the next compressed bytes; none at their end.
    /// - Throws: `FileError.corrupt` where zlib cannot start.
    public init(
        of path: String, _ framing: Framing, source: @escaping () throws(FileError) -> [UInt8]
    ) throws(FileError) {
        (self.path, self.source) = (path, source)
        stream = try ZlibStream(of: path, framing == .raw ? .raw : .zlib)
    }

    /// The next inflated bytes, at most `count`; empty only at the end of the stream.
    ///
    /// - Throws: `FileError.corrupt` for bytes that are no deflate data, end early or fail their check.
    public func read(upTo count: Int) throws(FileError) -> [UInt8] {
        while !isAtEnd {
            if stream.isHungry {
                let input = try source()
                guard !input.isEmpty else {
                    throw .corrupt(path: path, reason: "the compressed data end early")
                }
                stream.feed(input)
            }
            let output: [UInt8]
            (output, isAtEnd) = try stream.step(upTo: count)
            if !output.isEmpty { return output }
        }
        return []
    }

    /// The next `count` inflated bytes, fewer only where the stream ends.
    public func readFully(_ count: Int) throws(FileError) -> [UInt8] {
        try Files.readFully(count) { (most) throws(FileError) in try read(upTo: most) }
    }
}

/// The checksum of ZIP and PNG, computed by zlib.
public struct CRC32: Sendable {
    /// Of everything added so far.
    public private(set) var value: UInt32 = 0

    /// Starts with no bytes.
    public init() {}

    /// Adds `bytes` at the end.
    public mutating func update(_ bytes: [UInt8]) {
        unsafe value = UInt32(truncatingIfNeeded: crc32_z(UInt(value), bytes, bytes.count))
    }
}

/// The checksum at the end of a zlib stream, computed by zlib.
public struct Adler32: Sendable {
    /// Of all the bytes.
    public let value: UInt32

    /// Sums up `bytes`.
    public init(of bytes: [UInt8]) {
        unsafe value = UInt32(truncatingIfNeeded: adler32_z(1, bytes, bytes.count))
    }
}
