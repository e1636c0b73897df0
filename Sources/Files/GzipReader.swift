import CZlib

/// Inflates a gzip file piece by piece, with a limit on what comes out.
///
/// Reads all members of a file, as `gzip -d` does, and checks each one's CRC-32 and length; anything
/// after the last member is an error. Belongs to the thread that made it.
@safe public final class GzipReader {
    /// What was opened.
    public let path: String
    /// The most bytes that `read(upTo:)` gives out in total.
    public let outputLimit: Int
    private let source: FileReader
    private let stream: UnsafeMutablePointer<z_stream>
    private var input: [UInt8] = []
    private var inputOffset = 0
    private var outputCount = 0
    private var isInsideMember = false
    private var hasMember = false
    private static let inputChunk = 1 << 16

    /// Opens `path`.
    ///
    /// - Parameters:
    ///   - path: A gzip file (RFC 1952).
    ///   - outputLimit: The most inflated bytes to accept; a file that holds more is refused when it
    ///     is reached, however small it is on disk.
    /// - Throws: `FileError.system` when the file cannot be opened.
    public init(_ path: String, outputLimit: Int) throws(FileError) {
        self.path = path
        self.outputLimit = outputLimit
        source = try FileReader(path)
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        guard unsafe czlib_begin_gzip(stream) == Z_OK else {
            unsafe stream.deallocate()
            throw .corrupt(path: path, reason: "zlib could not start")
        }
    }

    deinit {
        _ = unsafe inflateEnd(stream)
        unsafe stream.deallocate()
    }

    /// The next inflated bytes, at most `count`; empty only at the end of the last member.
    ///
    /// - Throws: `FileError.corrupt` for bytes that are not gzip, end early or fail their check;
    ///   `FileError.tooLarge` past `outputLimit`.
    public func read(upTo count: Int) throws(FileError) -> [UInt8] {
        while true {
            if inputOffset == input.count {
                input = try source.read(upTo: Self.inputChunk)
                inputOffset = 0
            }
            if input.isEmpty {
                guard !isInsideMember && hasMember else {
                    throw .corrupt(path: path, reason: "the gzip data ends early")
                }
                return []
            }
            let output = try inflateStep(upTo: count)
            guard outputCount <= outputLimit else { throw .tooLarge(path: path, limit: outputLimit) }
            if !output.isEmpty { return output }
        }
    }

    /// The next `count` inflated bytes, fewer only where the last member ends.
    public func readFully(_ count: Int) throws(FileError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let chunk = try read(upTo: min(count - bytes.count, 1 << 20))
            if chunk.isEmpty { break }
            bytes.append(contentsOf: chunk)
        }
        return bytes
    }

    /// Whether the file at `path` starts with gzip's two magic bytes.
    public static func isGzip(_ path: String) throws(FileError) -> Bool {
        try FileReader(path).readFully(2) == [0x1f, 0x8b]
    }

    /// Runs zlib once over the input at hand.
    private func inflateStep(upTo count: Int) throws(FileError) -> [UInt8] {
        if !isInsideMember {
            _ = unsafe inflateReset(stream)
            isInsideMember = true
        }
        var status = Z_OK
        let available = input.count - inputOffset
        let output = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            unsafe input.withUnsafeMutableBufferPointer { bytes in
                unsafe stream.pointee.next_in = bytes.baseAddress.map { unsafe $0 + inputOffset }
                unsafe stream.pointee.avail_in = UInt32(available)
                unsafe stream.pointee.next_out = buffer.baseAddress
                unsafe stream.pointee.avail_out = UInt32(clamping: buffer.count)
                unsafe status = inflate(stream, Z_NO_FLUSH)
                let limit = UInt32(clamping: buffer.count)
                unsafe initialized = Int(limit - stream.pointee.avail_out)
            }
        }
        unsafe inputOffset += available - Int(stream.pointee.avail_in)
        outputCount += output.count
        switch status {
        case Z_STREAM_END:
            isInsideMember = false
            hasMember = true
        case Z_OK, Z_BUF_ERROR: break
        default:
            let reason = unsafe stream.pointee.msg.map { unsafe String(cString: $0) }
            throw .corrupt(path: path, reason: "gzip says \(reason ?? "error \(status)")")
        }
        return output
    }
}
