/// Walks over the central directory of a ZIP archive.
struct ZipDirectory {
    private let bytes: [UInt8]
    private let path: String
    private var index = 0

    private static let headerByteCount = 46
    private static let linkMode = 0xA000
    private static let kindMask = 0xF000

    init(_ bytes: [UInt8], of path: String) { (self.bytes, self.path) = (bytes, path) }

    /// The next entry.
    ///
    /// - Throws: `DataError.malformed` for an entry that is encrypted, packed in a way of its own, a link, or
    ///   whose name leads elsewhere, and where it would inflate beyond all measure.
    mutating func next() throws(DataError) -> ZipArchive.Entry {
        guard index + Self.headerByteCount <= bytes.count, bytes[index...].starts(with: [0x50, 0x4b, 1, 2])
        else { throw broken }
        func field(_ offset: Int, _ count: Int) -> Int {
            LittleEndian.number(bytes, at: index + offset, count)
        }
        let (flags, method) = (field(8, 2), field(10, 2))
        let nameEnd = index + Self.headerByteCount + field(28, 2)
        let extraEnd = nameEnd + field(30, 2)
        let end = extraEnd + field(32, 2)
        guard end <= bytes.count else { throw broken }
        let name = String(
            validating: bytes[(index + Self.headerByteCount)..<nameEnd], as: UTF8.self)
        guard let name, Self.isPlain(name) else {
            throw .malformed(
                file: path, expected: "plain relative names",
                found: "\"\((name ?? "bytes that are no text").prefix(100))\"")
        }
        var sizes = [field(24, 4), field(20, 4), field(42, 4)]
        try Self.readLarge(Array(bytes[nameEnd..<extraEnd]), into: &sizes, broken)
        guard flags & 1 == 0, method == 0 || method == 8 else {
            throw .malformed(
                file: path, expected: "\"\(name)\" stored or deflated",
                found: flags & 1 == 0 ? "method \(method)" : "it encrypted")
        }
        guard (field(38, 4) >> 16) & Self.kindMask != Self.linkMode else {
            throw .malformed(file: path, expected: "files", found: "\"\(name)\", a link")
        }
        let (limit, overflow) = sizes[1].multipliedReportingOverflow(by: ZipArchive.ratioMax)
        guard sizes.allSatisfy({ $0 >= 0 }), overflow || sizes[0] <= limit,
            method == 8 || sizes[0] == sizes[1]
        else {
            throw .malformed(
                file: path, expected: "\"\(name)\" of at most \(ZipArchive.ratioMax) times its packed size",
                found: "\(sizes[0]) bytes out of \(sizes[1])")
        }
        let entry = ZipArchive.Entry(
            name: name, isDeflated: method == 8, storedByteCount: sizes[1], byteCount: sizes[0],
            checksum: UInt32(field(16, 4)), offset: sizes[2])
        index = end
        return entry
    }

    private var broken: DataError {
        .malformed(file: path, expected: "a directory of entries", found: "something else in it")
    }

    /// Sizes that do not fit 32 bits stand in an extra field, in this order.
    private static func readLarge(
        _ extra: [UInt8], into sizes: inout [Int], _ broken: DataError
    ) throws(DataError) {
        var index = 0
        while index + 4 <= extra.count {
            let kind = LittleEndian.number(extra, at: index, 2)
            let end = index + 4 + LittleEndian.number(extra, at: index + 2, 2)
            guard end <= extra.count else { throw broken }
            if kind == 1 {
                var place = index + 4
                for field in sizes.indices where sizes[field] == 0xFFFF_FFFF {
                    guard place + 8 <= end else { throw broken }
                    sizes[field] = LittleEndian.number(extra, at: place, 8)
                    place += 8
                }
            }
            index = end
        }
        guard !sizes.contains(0xFFFF_FFFF) else { throw broken }
    }

    /// Whether a name stays where it is unpacked.
    static func isPlain(_ name: String) -> Bool {
        guard !name.isEmpty, name.utf8.count <= 1024, !name.utf8.contains(UInt8(ascii: "\\")),
            name.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }), !name.hasPrefix("/")
        else { return false }
        let first = name.utf8.prefix(2)
        guard !(first.count == 2 && first.last == UInt8(ascii: ":")) else { return false }
        return !name.split(separator: "/", omittingEmptySubsequences: false).contains("..")
    }
}
