import Files

/// Bytes that are read once, from start to end.
///
/// Belongs to the thread that made it.
protocol ByteSource: AnyObject {
    /// What errors name.
    var path: String { get }
    /// The next bytes, at most `count`; empty only at the end.
    func read(upTo count: Int) throws(DataError) -> [UInt8]
}

extension ByteSource {
    /// The next `count` bytes, fewer only at the end.
    func readFully(_ count: Int) throws(DataError) -> [UInt8] {
        try Files.readFully(count) { (most) throws(DataError) in try read(upTo: most) }
    }

    /// Passes over `count` bytes; whether there were as many.
    func skip(_ count: Int) throws(DataError) -> Bool {
        var rest = count
        while rest > 0 {
            let chunk = try read(upTo: min(rest, 1 << 18))
            if chunk.isEmpty { return false }
            rest -= chunk.count
        }
        return true
    }
}

/// A file, inflated where it is gzip.
final class FileSource: ByteSource {
    /// What a compressed file may inflate to, as a multiple of its size: ordinary data stay far below.
    static let ratioMax = 100

    private enum Content {
        case plain(FileReader)
        case gzip(GzipReader)
    }

    let path: String
    /// Size of the file as it is stored.
    let byteCount: Int
    private let content: Content

    /// Opens a file; gzip is recognised by its content, not by its name.
    init(_ path: String) throws(DataError) {
        self.path = path
        do {
            byteCount = try FileReader(path).byteCount()
            if try GzipReader.isGzip(path) {
                let limit = byteCount.multipliedReportingOverflow(by: Self.ratioMax)
                content = .gzip(try GzipReader(path, outputLimit: limit.overflow ? .max : limit.partialValue))
            } else {
                content = .plain(try FileReader(path))
            }
        } catch { throw .file(error) }
    }

    func read(upTo count: Int) throws(DataError) -> [UInt8] {
        try DataError.translating { () throws(FileError) in
            switch content {
            case .plain(let reader): try reader.read(upTo: count)
            case .gzip(let reader): try reader.read(upTo: count)
            }
        }
    }
}
