import Files

/// Reads one IDX file (the format of MNIST), plain or gzip, from start to end.
///
/// The header is: two zero bytes, the element type (0x08 = unsigned byte, the only one accepted), the
/// number of dimensions, then each extent as a big-endian 32-bit number. The sizes are checked against
/// the actual file before anything is allocated. Belongs to the thread that made it.
final class IDXReader {
    /// The most content one file may announce.
    static let byteCountMax = 1 << 31
    /// Deflate cannot shrink data by more than this factor (1032 in zlib's own analysis).
    private static let deflateRatioMax = 1032
    private static let rankMax = 4

    private enum Source {
        case plain(FileReader)
        case gzip(GzipReader)

        func readFully(_ count: Int) throws(DataError) -> [UInt8] {
            try DataError.translating { () throws(FileError) in
                switch self {
                case .plain(let reader): try reader.readFully(count)
                case .gzip(let reader): try reader.readFully(count)
                }
            }
        }
    }

    /// What was opened.
    let path: String
    /// Extents, outermost first; for images `[count, height, width]` or `[count, height, width, channels]`.
    let dimensions: [Int]
    /// The product of the extents.
    let byteCount: Int
    private let source: Source
    private var consumed = 0

    /// Opens `path` and reads its header.
    ///
    /// - Parameters:
    ///   - path: The file; gzip is recognised by its content, not by its name.
    ///   - rank: How many dimensions the file must have.
    /// - Throws: `DataError` when it cannot be opened or its header does not fit the file.
    init(_ path: String, rank: ClosedRange<Int>) throws(DataError) {
        precondition(rank.upperBound <= Self.rankMax, "IDX files of rank \(rank)")
        self.path = path
        let fileByteCount: Int
        do {
            fileByteCount = try FileReader(path).byteCount()
            if try GzipReader.isGzip(path) {
                let headerMax = 4 + 4 * Self.rankMax
                source = .gzip(try GzipReader(path, outputLimit: Self.byteCountMax + headerMax + 1))
            } else {
                source = .plain(try FileReader(path))
            }
        } catch { throw .file(error) }
        dimensions = try Self.header(of: source, path, rank)
        byteCount = try Self.product(dimensions, path)
        let headerByteCount = 4 + 4 * dimensions.count
        switch source {
        case .plain:
            guard fileByteCount == headerByteCount + byteCount else {
                throw .malformed(
                    file: path, expected: "\(headerByteCount + byteCount) bytes for \(dimensions)",
                    found: "\(fileByteCount)")
            }
        case .gzip:
            guard byteCount / Self.deflateRatioMax <= fileByteCount else {
                throw .malformed(
                    file: path, expected: "\(byteCount) bytes of content for \(dimensions)",
                    found: "a gzip file of \(fileByteCount) bytes, which cannot hold them")
            }
        }
    }

    /// The next bytes of the content, exactly `count` or all that is left.
    ///
    /// - Throws: `DataError.malformed` when the file ends before its content or goes on behind it.
    func read(upTo count: Int) throws(DataError) -> [UInt8] {
        let wanted = min(count, byteCount - consumed)
        let bytes = try source.readFully(wanted)
        consumed += bytes.count
        guard bytes.count == wanted else {
            throw .malformed(
                file: path, expected: "\(byteCount) bytes of content for \(dimensions)",
                found: "only \(consumed)")
        }
        if consumed == byteCount, !(try source.readFully(1)).isEmpty {
            throw .malformed(
                file: path, expected: "\(byteCount) bytes of content for \(dimensions)", found: "more")
        }
        return bytes
    }

    private static func header(
        of source: Source, _ path: String, _ rank: ClosedRange<Int>
    ) throws(DataError) -> [Int] {
        let magic = try source.readFully(4)
        guard magic.count == 4, magic[0] == 0, magic[1] == 0 else {
            throw .malformed(
                file: path, expected: "an IDX header (two zero bytes first)",
                found: magic.isEmpty ? "an empty file" : "the bytes \(SHA256.Digest.hex(magic))")
        }
        guard magic[2] == 0x08 else {
            throw .malformed(
                file: path, expected: "IDX elements of type 08 (unsigned byte)",
                found: "type \(SHA256.Digest.hex([magic[2]]))")
        }
        guard rank.contains(Int(magic[3])) else {
            throw .malformed(
                file: path, expected: rank.count == 1 ? "rank \(rank.lowerBound)" : "rank \(rank)",
                found: "\(magic[3])")
        }
        let extents = try source.readFully(4 * Int(magic[3]))
        guard extents.count == 4 * Int(magic[3]) else {
            throw .malformed(
                file: path, expected: "\(magic[3]) extents", found: "the end of the file")
        }
        return stride(from: 0, to: extents.count, by: 4).map { start in
            extents[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
        }
    }

    private static func product(_ dimensions: [Int], _ path: String) throws(DataError) -> Int {
        var product = 1
        for extent in dimensions {
            let (next, overflow) = product.multipliedReportingOverflow(by: extent)
            guard extent > 0, !overflow, next <= byteCountMax else {
                throw .malformed(
                    file: path, expected: "extents of 1 and more with a product of at most \(byteCountMax)",
                    found: "\(dimensions)")
            }
            product = next
        }
        return product
    }
}
