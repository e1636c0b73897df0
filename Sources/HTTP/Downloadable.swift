import Glibc

/// What a download sends: all of it, or a part.
public protocol Downloadable: Sendable {
    /// Bytes of all of it.
    var byteCount: Int { get }
    /// All of it.
    var body: Response.Body { get }
    /// A part, which lies within it.
    func body(of range: Range<Int>) throws(HTTPError) -> Response.Body
}

/// An open file, or a part of one, that a response sends; closed when it was sent or dropped.
public final class FileBody: Downloadable {
    let descriptor: Int32
    /// Where the part begins in the file.
    public let offset: Int
    public let byteCount: Int

    /// Opens a regular file; a link at the end of its path is refused.
    ///
    /// - Parameter path: Where it is; made by the server, never by a client.
    /// - Throws: `HTTPError.cannotOpen` with the system's reason.
    public init(path: String) throws(HTTPError) {
        let descriptor = unsafe open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .cannotOpen(errno: errno) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            let error = status.st_mode == 0 ? errno : EINVAL
            close(descriptor)
            throw .cannotOpen(errno: error)
        }
        (self.descriptor, offset, byteCount) = (descriptor, 0, Int(status.st_size))
    }

    private init(_ descriptor: Int32, _ range: Range<Int>) {
        (self.descriptor, offset, byteCount) = (descriptor, range.lowerBound, range.count)
    }

    public var body: Response.Body { .file(self) }

    public func body(of range: Range<Int>) throws(HTTPError) -> Response.Body {
        precondition(offset == 0 && range.lowerBound >= 0 && range.upperBound <= byteCount, "no part")
        guard let copy = duplicate() else { throw .cannotOpen(errno: errno) }
        return .file(FileBody(copy, range))
    }

    deinit { close(descriptor) }

    /// A descriptor of its own for whoever sends the file; `nil` when the process has none left.
    func duplicate() -> Int32? {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        return copy >= 0 ? copy : nil
    }
}

/// Bytes that are made when a client takes them.
public protocol ByteSource: Sendable {
    /// Bytes of all of it.
    var byteCount: Int { get }
    /// Some of them, all that are asked for; called by threads that serve many connections, so it is quick.
    func read(_ range: Range<Int>) throws -> [UInt8]
}

/// A body, or a part of one, that is made while it is sent.
public struct MadeBody: Downloadable {
    /// Bytes that are made at once; each connection keeps room for so many.
    static let pieceByteCount = 16 << 10

    private let source: any ByteSource
    private let range: Range<Int>

    /// Makes the body of all that a source has.
    public init(_ source: any ByteSource) { (self.source, range) = (source, 0..<source.byteCount) }

    private init(_ source: any ByteSource, _ range: Range<Int>) {
        (self.source, self.range) = (source, range)
    }

    public var byteCount: Int { range.count }
    public var body: Response.Body { .made(self) }

    public func body(of part: Range<Int>) throws(HTTPError) -> Response.Body {
        .made(MadeBody(source, range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound))
    }

    /// The bytes from `position` on, at most `countMax`; where this throws, the client's answer ends early.
    public func bytes(at position: Int, upTo countMax: Int) throws -> [UInt8] {
        let start = range.lowerBound + position
        let wanted = start..<min(start + countMax, range.upperBound)
        let bytes = try source.read(wanted)
        guard bytes.count == wanted.count else {
            throw HTTPError.cutShort(expected: wanted.count, found: bytes.count)
        }
        return bytes
    }
}
