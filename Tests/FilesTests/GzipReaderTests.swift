import Foundation
import Testing

@testable import Files

@Suite("A gzip file is read whole or refused") struct GzipReaderTests {
    let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    /// One gzip member with stored blocks, made without zlib (RFC 1951 §3.2.4, RFC 1952).
    static func member(_ bytes: [UInt8], crc: UInt32? = nil) -> [UInt8] {
        var member: [UInt8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]
        var rest = bytes[...]
        repeat {
            let block = rest.prefix(65_535)
            rest = rest.dropFirst(block.count)
            let count = UInt16(block.count)
            member.append(rest.isEmpty ? 1 : 0)
            for value in [count, ~count] { member += [UInt8(value & 255), UInt8(value >> 8)] }
            member += block
        } while !rest.isEmpty
        for word in [crc ?? crc32(bytes), UInt32(bytes.count)] {
            for shift in stride(from: 0, to: 32, by: 8) { member.append(UInt8(word >> UInt32(shift) & 255)) }
        }
        return member
    }

    /// The bit-by-bit CRC-32 of RFC 1952, as an oracle.
    static func crc32(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~UInt32(0)) { crc, byte in
            (0..<8).reduce(crc ^ UInt32(byte)) { value, _ in value >> 1 ^ (value & 1) * 0xedb8_8320 }
        }
    }

    static let bytes = (0..<150_001).map { UInt8(truncatingIfNeeded: $0 &* $0 &* 13) }

    private func read(_ file: [UInt8], limit: Int = 1 << 20, chunk: Int = 4096) throws -> [UInt8] {
        let reader = try GzipReader(try folder.put(file, as: "f.gz"), outputLimit: limit)
        var all: [UInt8] = []
        while true {
            let bytes = try reader.read(upTo: chunk)
            if bytes.isEmpty { return all }
            all += bytes
        }
    }

    @Test("in pieces of any size", arguments: [1000, 65_536, 1 << 20])
    func pieces(chunk: Int) throws {
        #expect(try read(Self.member(Self.bytes), chunk: chunk) == Self.bytes)
    }

    @Test("members follow each other, empty ones included")
    func concatenated() throws {
        let file = Self.member(Self.bytes) + Self.member([]) + Self.member([1, 2, 3])
        #expect(try read(file) == Self.bytes + [1, 2, 3])
    }

    @Test("a file cut anywhere is refused", arguments: [0, 1, 9, 10, 14, 15, 100, 60_000, 150_020])
    func truncated(count: Int) throws {
        let file = Array(Self.member(Self.bytes).prefix(count))
        let error = try #require(throws: FileError.self) { try read(file) }
        #expect(error.description.contains("the gzip data ends early"))
    }

    @Test("a wrong checksum is refused")
    func wrongChecksum() throws {
        let error = try #require(throws: FileError.self) { try read(Self.member([1, 2, 3], crc: 1)) }
        #expect(error.description.contains("incorrect data check"))
    }

    @Test("bytes after the last member are refused")
    func trailingBytes() throws {
        let error = try #require(throws: FileError.self) { try read(Self.member([1, 2, 3]) + [9, 9, 9]) }
        #expect(error.description.contains("incorrect header check"))
    }

    @Test("text is refused")
    func notGzip() throws {
        #expect(throws: FileError.self) { try read(Array("hello, world".utf8)) }
        #expect(try !GzipReader.isGzip(folder.put(Array("hello".utf8), as: "t")))
        #expect(try GzipReader.isGzip(folder.put(Self.member([]), as: "g")))
        #expect(try !GzipReader.isGzip(folder.put([0x1f], as: "s")))
    }

    @Test("the limit is exact, and a bomb stops at it")
    func bomb() throws {
        #expect(try read(Self.member(Self.bytes), limit: Self.bytes.count) == Self.bytes)
        let path = folder.file("f.gz")
        let error = #expect(throws: FileError.self) {
            try read(Self.member(Self.bytes), limit: Self.bytes.count - 1)
        }
        #expect(error == .tooLarge(path: path, limit: Self.bytes.count - 1))
        // A fixed Huffman block: a zero, 40 matches of 258 bytes at distance 1, end (RFC 1951 §3.2.6).
        var bits = "110" + "00110000"
        for _ in 0..<40 { bits += "11000101" + "00000" }
        bits += "0000000"
        var packed: [UInt8] = []
        for start in stride(from: 0, to: bits.count, by: 8) {
            let group = Array(bits)[start..<min(start + 8, bits.count)]
            packed.append(group.reversed().reduce(0) { $0 << 1 | ($1 == "1" ? 1 : 0) })
        }
        let file: [UInt8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255] + packed
        #expect(throws: FileError.tooLarge(path: path, limit: 1000)) { try read(file, limit: 1000) }
    }
}
