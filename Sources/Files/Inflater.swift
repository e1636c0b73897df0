import CZlib

/// Inflates one deflate stream that lies within a file, as in ZIP archives and PNG images.
///
/// Belongs to the thread that made it.
@safe public final class Inflater {
    /// What is around the deflate data.
    public enum Framing: Sendable {
        /// Nothing (ZIP).
        case raw
        /// Two bytes in front and a checksum behind, which is checked (PNG).
        case zlib
    }

    private let path: String
    private let source: () throws(FileError) -> [UInt8]
    private let stream: UnsafeMutablePointer<z_stream>
    private var input: [UInt8] = []
    private var inputOffset = 0
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
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        let status =
            switch framing {
            case .raw: unsafe czlib_begin_raw(stream)
            case .zlib: unsafe czlib_begin_zlib(stream)
            }
        guard status == Z_OK else {
            unsafe stream.deallocate()
            throw .corrupt(path: path, reason: "zlib could not start")
        }
    }

    deinit {
        _ = unsafe inflateEnd(stream)
        unsafe stream.deallocate()
    }

    /// The next inflated bytes, at most `count`; empty only at the end of the stream.
    ///
    /// - Throws: `FileError.corrupt` for bytes that are no deflate data, end early or fail their check.
    public func read(upTo count: Int) throws(FileError) -> [UInt8] {
        while !isAtEnd {
            if inputOffset == input.count {
                input = try source()
                inputOffset = 0
                guard !input.isEmpty else {
                    throw .corrupt(path: path, reason: "the compressed data end early")
                }
            }
            let output = try step(upTo: count)
            if !output.isEmpty { return output }
        }
        return []
    }

    /// The next `count` inflated bytes, fewer only where the stream ends.
    public func readFully(_ count: Int) throws(FileError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let chunk = try read(upTo: min(count - bytes.count, 1 << 20))
            if chunk.isEmpty { break }
            if bytes.isEmpty { bytes = chunk } else { bytes.append(contentsOf: chunk) }
        }
        return bytes
    }

    /// Runs zlib once over the input at hand.
    private func step(upTo count: Int) throws(FileError) -> [UInt8] {
        var status = Z_OK
        let available = input.count - inputOffset
        let output = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            unsafe input.withUnsafeMutableBufferPointer { bytes in
                let limit = UInt32(clamping: count)
                unsafe stream.pointee.next_in = bytes.baseAddress.map { unsafe $0 + inputOffset }
                unsafe stream.pointee.avail_in = UInt32(available)
                unsafe stream.pointee.next_out = buffer.baseAddress
                unsafe stream.pointee.avail_out = limit
                unsafe status = inflate(stream, Z_NO_FLUSH)
                unsafe initialized = Int(limit - stream.pointee.avail_out)
            }
        }
        unsafe inputOffset += available - Int(stream.pointee.avail_in)
        switch status {
        case Z_STREAM_END: isAtEnd = true
        case Z_OK, Z_BUF_ERROR: break
        default:
            let reason = unsafe stream.pointee.msg.map { unsafe String(cString: $0) }
            throw .corrupt(path: path, reason: "zlib says \(reason ?? "error \(status)")")
        }
        return output
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
