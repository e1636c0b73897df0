import Testing

@testable import Data

@Suite("An IDX file is read whole or refused") struct IDXReaderTests {
    let folder: IDXFolder
    init() throws { folder = try IDXFolder() }

    static let content = (0..<24).map { UInt8($0 * 10) }

    private func error(_ bytes: [UInt8], rank: ClosedRange<Int> = 3...4) throws -> String {
        let path = try folder.put(bytes, as: "f")
        let error = try #require(throws: DataError.self) { try IDXReader(path, rank: rank).read(upTo: .max) }
        #expect(error.description.hasPrefix(path), "the message names the file")
        return String(error.description.dropFirst(path.count))
    }

    @Test("plain and compressed files hold the same")
    func bothForms() throws {
        let plain = try folder.put(IDXFolder.bytes([2, 4, 3], Self.content), as: "plain")
        try folder.put(IDXFolder.bytes([2, 4, 3], Self.content), as: "packed")
        try folder.gzip("packed")
        for path in [plain, "\(folder.path)/packed.gz"] {
            let reader = try IDXReader(path, rank: 3...3)
            #expect(reader.dimensions == [2, 4, 3])
            #expect(try reader.read(upTo: .max) == Self.content)
            #expect(try reader.read(upTo: 10).isEmpty)
        }
    }

    @Test("pieces of any size add up", arguments: [1, 5, 23, 24, 1000])
    func pieces(size: Int) throws {
        let path = try folder.put(IDXFolder.bytes([2, 4, 3], Self.content), as: "f")
        let reader = try IDXReader(path, rank: 3...3)
        var all: [UInt8] = []
        while true {
            let piece = try reader.read(upTo: size)
            if piece.isEmpty { break }
            #expect(piece.count <= size)
            all += piece
        }
        #expect(all == Self.content)
    }

    @Test("a truncated file is refused before it is read", arguments: [0, 1, 3])
    func truncatedHeader(count: Int) throws {
        let bytes = Array(IDXFolder.bytes([2, 4, 3], Self.content).prefix(count))
        #expect(try error(bytes).hasPrefix(": expected an IDX header (two zero bytes first), found "))
    }

    @Test("sizes are compared with the file's")
    func wrongSizes() throws {
        let bytes = IDXFolder.bytes([2, 4, 3], Self.content)
        #expect(try error(Array(bytes.dropLast())) == ": expected 40 bytes for [2, 4, 3], found 39.")
        #expect(try error(bytes + [0]) == ": expected 40 bytes for [2, 4, 3], found 41.")
        #expect(try error(Array(bytes.prefix(9))) == ": expected 3 extents, found the end of the file.")
    }

    @Test(
        "other contents are named",
        arguments: [
            (IDXFolder.bytes([24], content, type: 0x0D), "type 0d"),
            (IDXFolder.bytes([24], content), "found 1."),
            (Array("PK\u{3}\u{4}".utf8), "the bytes 504b0304"), ([], "an empty file"),
        ])
    func otherContents(bytes: [UInt8], found: String) throws {
        #expect(try error(bytes).contains(found))
    }

    @Test(
        "extents whose product overflows or is huge are refused without allocating",
        arguments: [
            [0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF], [65_536, 65_536, 1], [0, 4, 3],
            [4_194_305, 4_194_305, 7],
        ])
    func hugeExtents(extents: [Int]) throws {
        #expect(try error(IDXFolder.bytes(extents, Self.content)).contains("a product of at most 2147483648"))
    }

    @Test("a small gzip file cannot claim gigabytes")
    func smallGzipBigClaim() throws {
        try folder.put(IDXFolder.bytes([2000, 1000, 1000], Self.content), as: "f")
        try folder.gzip("f")
        let error = try #require(throws: DataError.self) {
            try IDXReader("\(folder.path)/f.gz", rank: 3...3)
        }
        #expect(error.description.contains("which cannot hold them"))
    }

    @Test("compressed content that is short or long is refused", arguments: [-1, 1])
    func gzipSizes(change: Int) throws {
        let content = Array((Self.content + [0]).prefix(24 + change))
        try folder.put(IDXFolder.bytes([2, 4, 3], content), as: "f")
        try folder.gzip("f")
        let error = try #require(throws: DataError.self) {
            try IDXReader("\(folder.path)/f.gz", rank: 3...3).read(upTo: .max)
        }
        #expect(error.description.hasSuffix(change < 0 ? "found only 23." : "found more."))
    }
}
