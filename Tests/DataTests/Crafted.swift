/// Files of other formats, made byte by byte without the readers' code.
enum Crafted {
    static func little(_ value: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    static func big(_ value: Int, _ count: Int) -> [UInt8] { little(value, count).reversed() }

    /// The bit-by-bit CRC-32 of RFC 1952.
    static func crc32(_ bytes: [UInt8]) -> Int {
        let crc = ~bytes.reduce(~UInt32(0)) { crc, byte in
            (0..<8).reduce(crc ^ UInt32(byte)) { value, _ in value >> 1 ^ (value & 1) * 0xedb8_8320 }
        }
        return Int(crc)
    }

    // MARK: NumPy

    /// An array as `numpy.save` writes it.
    static func npy(
        _ shape: [Int], _ content: [UInt8], descr: String = "'|u1'", fortran: Bool = false,
        version: UInt8 = 1,
        header: String? = nil
    ) -> [UInt8] {
        let extents = shape.map { "\($0)," }.joined(separator: " ")
        var text =
            header
            ?? "{'descr': \(descr), 'fortran_order': \(fortran ? "True" : "False"), 'shape': (\(extents)), }"
        let start = version == 1 ? 10 : 12
        text += String(repeating: " ", count: (64 - (start + text.utf8.count + 1) % 64) % 64) + "\n"
        return [0x93] + Array("NUMPY".utf8) + [version, 0] + little(text.utf8.count, version == 1 ? 2 : 4)
            + Array(text.utf8) + content
    }

    // MARK: ZIP

    /// An entry of an archive; what is not given is as it should be.
    struct Entry {
        var name: String
        var content: [UInt8]
        var method = 0
        var stored: [UInt8]?
        var byteCount: Int?
        var checksum: Int?
        var flags = 0
        var mode = 0
        /// Where the directory says that it starts.
        var offset: Int?
    }

    static func zip(_ entries: [Entry], comment: [UInt8] = [], count: Int? = nil) -> [UInt8] {
        var (file, directory): ([UInt8], [UInt8]) = ([], [])
        for entry in entries {
            let stored = entry.stored ?? entry.content
            let fields =
                little(20, 2) + little(entry.flags, 2) + little(entry.method, 2) + little(0, 4)
                + little(entry.checksum ?? crc32(entry.content), 4) + little(stored.count, 4)
                + little(entry.byteCount ?? entry.content.count, 4) + little(entry.name.utf8.count, 2)
                + little(0, 2)
            directory +=
                [0x50, 0x4b, 1, 2, 20, 3] + fields + little(0, 6) + little(entry.mode << 16, 4)
                + little(entry.offset ?? file.count, 4) + Array(entry.name.utf8)
            file += [0x50, 0x4b, 3, 4] + fields + Array(entry.name.utf8) + stored
        }
        let number = little(count ?? entries.count, 2)
        return file + directory + [0x50, 0x4b, 5, 6] + little(0, 4) + number + number
            + little(directory.count, 4) + little(file.count, 4) + little(comment.count, 2) + comment
    }

    // MARK: tar

    /// A header block and its content, filled up to whole blocks.
    static func tar(
        _ name: String, _ content: [UInt8], type: Character = "0", prefix: String = "", size: Int? = nil,
        link: String = ""
    ) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ bytes: [UInt8], _ offset: Int) {
            block.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        }
        func octal(_ number: Int, _ count: Int) -> [UInt8] {
            let digits = String(number, radix: 8)
            return Array((String(repeating: "0", count: count - digits.count) + digits).utf8)
        }
        put(Array(name.utf8.prefix(100)), 0)
        put(octal(0o644, 7), 100)
        put(octal(size ?? content.count, 11), 124)
        put(Array(repeating: 32, count: 8), 148)
        put(Array(String(type).utf8), 156)
        put(Array(link.utf8), 157)
        put(Array("ustar\0".utf8) + Array("00".utf8), 257)
        put(Array(prefix.utf8), 345)
        put(octal(block.reduce(0) { $0 + Int($1) }, 6) + [0, 32], 148)
        return block + content + Array(repeating: 0, count: (512 - content.count % 512) % 512)
    }

    static let tarEnd = [UInt8](repeating: 0, count: 1024)

    /// Records of pax in front of a file.
    static func pax(_ records: [String: String]) -> [UInt8] {
        let text = records.map { key, value in
            let rest = " \(key)=\(value)\n"
            var length = rest.utf8.count + 1
            while "\(length)".utf8.count + rest.utf8.count != length { length += 1 }
            return "\(length)\(rest)"
        }.joined()
        return tar("pax", Array(text.utf8), type: "x")
    }

    // MARK: PNG

    static func chunk(_ type: String, _ content: [UInt8]) -> [UInt8] {
        let body = Array(type.utf8) + content
        return big(content.count, 4) + body + big(crc32(body), 4)
    }

    /// A zlib stream of stored blocks.
    static func zlib(_ bytes: [UInt8]) -> [UInt8] {
        var stream: [UInt8] = [0x78, 0x01]
        var rest = bytes[...]
        repeat {
            let block = rest.prefix(65_535)
            rest = rest.dropFirst(block.count)
            stream += [rest.isEmpty ? 1 : 0] + little(block.count, 2) + little(~block.count, 2) + block
        } while !rest.isEmpty
        var (low, high) = (1, 0)
        for byte in bytes {
            low = (low + Int(byte)) % 65_521
            high = (high + low) % 65_521
        }
        return stream + big(high << 16 | low, 4)
    }

    static func header(_ width: Int, _ height: Int, depth: UInt8 = 8, color: UInt8 = 0, interlaced: UInt8 = 0)
        -> [UInt8]
    {
        chunk("IHDR", big(width, 4) + big(height, 4) + [depth, color, 0, 0, interlaced])
    }

    static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    /// An image of rows that carry their filters.
    static func png(
        _ width: Int, _ height: Int, depth: UInt8 = 8, color: UInt8 = 0, rows: [UInt8], before: [UInt8] = []
    ) -> [UInt8] {
        signature + header(width, height, depth: depth, color: color) + before + chunk("IDAT", zlib(rows))
            + chunk("IEND", [])
    }

    /// A grey image of one value.
    static func grey(_ value: UInt8, _ width: Int = 3, _ height: Int = 2) -> [UInt8] {
        let row = [0] + [UInt8](repeating: value, count: width)
        return png(width, height, rows: Array((0..<height).map { _ in row }.joined()))
    }
}
