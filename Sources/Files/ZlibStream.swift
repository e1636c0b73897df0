import CZlib

/// zlib's state, and the compressed bytes that it has not taken yet.
///
/// Belongs to the thread that made it.
@safe final class ZlibStream {
    /// What is around the deflate data.
    enum Framing {
        case raw, zlib, gzip
    }

    private let path: String
    private let stream: UnsafeMutablePointer<z_stream>
    private var input: [UInt8] = []
    private var inputOffset = 0
    /// Whether the last step filled its output: zlib may hold more, though it has taken all that it was fed.
    private var mayOwe = false

    /// Whether it gives nothing more before it is fed.
    var isHungry: Bool { inputOffset == input.count && !mayOwe }

    /// Prepares to inflate; errors name `path`.
    init(of path: String, _ framing: Framing) throws(FileError) {
        self.path = path
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        let status =
            switch framing {
            case .raw: unsafe czlib_begin_raw(stream)
            case .zlib: unsafe czlib_begin_zlib(stream)
            case .gzip: unsafe czlib_begin_gzip(stream)
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

    /// Hands over the next compressed bytes, once those before are taken.
    func feed(_ bytes: [UInt8]) { (input, inputOffset) = (bytes, 0) }

    /// Begins another stream behind the one that ended.
    func restart() {
        mayOwe = false
        _ = unsafe inflateReset(stream)
    }

    /// Inflates what it was fed, once.
    ///
    /// - Parameter count: The most bytes to give out.
    /// - Returns: The bytes, and whether the stream is over.
    /// - Throws: `FileError.corrupt` for bytes that are no deflate data or fail their check.
    func step(upTo count: Int) throws(FileError) -> (output: [UInt8], isAtEnd: Bool) {
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
        mayOwe = unsafe stream.pointee.avail_out == 0 && status != Z_STREAM_END
        switch status {
        case Z_STREAM_END: return (output, true)
        case Z_OK, Z_BUF_ERROR: return (output, false)
        default:
            let reason = unsafe stream.pointee.msg.map { unsafe String(cString: $0) }
            throw .corrupt(path: path, reason: "zlib says \(reason ?? "error \(status)")")
        }
    }
}

/// Reads until there are `count` bytes or no more.
///
/// - Parameters:
///   - count: How many are wanted.
///   - read: Gives at most as many bytes as it is asked for; none only at the end.
/// - Returns: Fewer than `count` bytes only at the end.
/// - Throws: What `read` throws.
public func readFully<Failure>(
    _ count: Int, by read: (Int) throws(Failure) -> [UInt8]
) throws(Failure) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
        let chunk = try read(min(count - bytes.count, 1 << 20))
        if chunk.isEmpty { break }
        if bytes.isEmpty { bytes = chunk } else { bytes.append(contentsOf: chunk) }
    }
    return bytes
}
