import CZlib
import Testing

@testable import Files

@Suite("Deflate data within a file are inflated, or refused") struct InflaterTests {
    /// `zlib.compress(b"to be or not to be " * 3)` of Python 3.11: two bytes and four bytes frame the data.
    static let zlib: [UInt8] = [
        0x78, 0x9c, 0x2b, 0xc9, 0x57, 0x48, 0x4a, 0x55, 0xc8, 0x2f, 0x52, 0xc8,
        0xcb, 0x2f, 0x51, 0x28, 0x01, 0x73, 0x4a, 0x88, 0x12, 0x02, 0x00, 0x28,
        0x6f, 0x12, 0xd3,
    ]
    static let text = Array(String(repeating: "to be or not to be ", count: 3).utf8)

    private func inflate(
        _ bytes: [UInt8], _ framing: Inflater.Framing, pieces: Int = 5
    ) throws(FileError) -> [UInt8] {
        var rest = bytes[...]
        let inflater = try Inflater(of: "x", framing) { () throws(FileError) in
            defer { rest = rest.dropFirst(pieces) }
            return Array(rest.prefix(pieces))
        }
        return try inflater.readFully(1000)
    }

    @Test("both framings, in pieces of any size", arguments: [1, 3, 1000])
    func inflates(pieces: Int) throws {
        #expect(try inflate(Self.zlib, .zlib, pieces: pieces) == Self.text)
        #expect(try inflate(Array(Self.zlib[2...].dropLast(4)), .raw, pieces: pieces) == Self.text)
    }

    /// Raw deflate data by zlib's own compressor.
    private func deflated(_ bytes: [UInt8]) -> [UInt8] {
        var stream = unsafe z_stream()
        let status = unsafe deflateInit2_(
            &stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        precondition(status == Z_OK, "zlib did not start")
        defer { _ = unsafe deflateEnd(&stream) }
        var input = bytes
        return unsafe [UInt8](unsafeUninitializedCapacity: bytes.count + 1024) { output, count in
            unsafe input.withUnsafeMutableBufferPointer { buffer in
                unsafe (stream.next_in, stream.avail_in) = (buffer.baseAddress, UInt32(buffer.count))
                unsafe (stream.next_out, stream.avail_out) = (output.baseAddress, UInt32(output.count))
                let end = unsafe deflate(&stream, Z_FINISH)
                precondition(end == Z_STREAM_END, "zlib did not finish")
            }
            count = unsafe Int(stream.total_out)
        }
    }

    @Test("what zlib still owes when it has taken all bytes is asked for, in reads of any size")
    func owes() throws {
        func read(_ data: [UInt8], by count: Int) throws(FileError) -> [UInt8] {
            var rest = data
            let inflater = try Inflater(of: "y_train.npy", .raw) { () throws(FileError) in
                defer { rest = [] }
                return rest
            }
            var found: [UInt8] = []
            while true {
                let part = try inflater.read(upTo: count)
                if part.isEmpty { return found }
                found += part
            }
        }
        for tail in 1...400 {
            // Labels whose last class is long: the last match may straddle the end of a read.
            let labels = (0..<200).map { UInt8(truncatingIfNeeded: ($0 * $0 * 31 + $0 * tail) >> 3) % 10 }
            let bytes = labels + [UInt8](repeating: 7, count: tail * 3)
            let data = deflated(bytes)
            for count in [1, 64, 200 + tail, 65_536] {
                let isWhole = try read(data, by: count) == bytes
                #expect(isWhole, "a tail of \(tail * 3), \(count) bytes at a time")
            }
            // Without its last byte it still ends early.
            let error = #expect(throws: FileError.self) { _ = try read(data.dropLast(), by: 65_536) }
            #expect(error == .corrupt(path: "y_train.npy", reason: "the compressed data end early"))
        }
    }

    @Test("an early end, a wrong checksum and other bytes are refused")
    func refuses() throws {
        for length in Self.zlib.indices {
            #expect(throws: FileError.self) { try inflate(Array(Self.zlib.prefix(length)), .zlib) }
        }
        var wrong = Self.zlib
        wrong[wrong.count - 1] ^= 1
        #expect(throws: FileError.self) { try inflate(wrong, .zlib) }
        #expect(throws: FileError.self) { try inflate([7, 7, 7, 7], .zlib) }
    }

    @Test("the checksum is that of ZIP, in one piece and in several")
    func sums() {
        var sum = CRC32()
        sum.update(Array("1234".utf8))
        sum.update(Array("56789".utf8))
        // The check value that every description of CRC-32 gives.
        #expect(sum.value == 0xCBF4_3926 && CRC32().value == 0)
    }
}
