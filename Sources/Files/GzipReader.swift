/// Inflates a gzip file piece by piece, with a limit on what comes out.
///
/// Reads all members of a file, as `gzip -d` does, and checks each one's CRC-32 and length; anything
/// after the last member is an error. Belongs to the thread that made it.
public final class GzipReader {
    /// What was opened.
    public let path: String
    /// The most bytes that `read(upTo:)` gives out in total.
    public let outputLimit: Int
    private let source: FileReader
    private let stream: ZlibStream
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
        stream = try ZlibStream(of: path, .gzip)
    }

    /// The next inflated bytes, at most `count`; empty only at the end of the last member.
    ///
    /// - Throws: `FileError.corrupt` for bytes that are not gzip, end early or fail their check;
    ///   `FileError.tooLarge` past `outputLimit`.
    public func read(upTo count: Int) throws(FileError) -> [UInt8] {
        while true {
            if stream.isHungry {
                let input = try source.read(upTo: Self.inputChunk)
                guard !input.isEmpty else {
                    guard !isInsideMember && hasMember else {
                        throw .corrupt(path: path, reason: "the gzip data ends early")
                    }
                    return []
                }
                stream.feed(input)
            }
            let output = try inflateStep(upTo: count)
            guard outputCount <= outputLimit else { throw .tooLarge(path: path, limit: outputLimit) }
            if !output.isEmpty { return output }
        }
    }

    /// The next `count` inflated bytes, fewer only where the last member ends.
    public func readFully(_ count: Int) throws(FileError) -> [UInt8] {
        try Files.readFully(count) { (most) throws(FileError) in try read(upTo: most) }
    }

    /// Whether the file at `path` starts with gzip's two magic bytes.
    public static func isGzip(_ path: String) throws(FileError) -> Bool {
        try FileReader(path).readFully(2) == [0x1f, 0x8b]
    }

    /// Runs zlib once over the input at hand.
    private func inflateStep(upTo count: Int) throws(FileError) -> [UInt8] {
        if !isInsideMember {
            stream.restart()
            isInsideMember = true
        }
        let (output, isAtEnd) = try stream.step(upTo: count)
        outputCount += output.count
        if isAtEnd { (isInsideMember, hasMember) = (false, true) }
        return output
    }
}
