/// Walks over a tar archive: ustar with the long names of pax and of GNU.
///
/// Links, devices and names that lead elsewhere are refused. Belongs to the thread that made it.
struct TarReader {
    /// A file in the archive; its content is what the source gives next.
    struct Entry {
        let name: String
        let byteCount: Int
    }

    private static let blockByteCount = 512
    /// The most that a header for one name may hold.
    private static let extensionByteCountMax = 1 << 16

    private let source: any ByteSource
    /// What is left of the last entry, and the zeros that fill its last block.
    private var rest = 0
    private var padding = 0

    /// Reads an archive from its start.
    init(_ source: any ByteSource) { self.source = source }

    private var path: String { source.path }

    /// The next file, after what is left of the one before; `nil` at the end of the archive.
    mutating func next() throws(DataError) -> Entry? {
        var longName: String?
        var longSize: Int?
        while true {
            guard try source.skip(rest + padding) else { throw early }
            (rest, padding) = (0, 0)
            let block = try source.readFully(Self.blockByteCount)
            guard block.count == Self.blockByteCount, block.contains(where: { $0 != 0 }) else {
                // Two blocks of zeros end an archive; some writers leave them out.
                guard block.isEmpty || block.count == Self.blockByteCount else { throw early }
                return nil
            }
            let header = try TarHeader(block, of: path)
            try begin(longSize ?? header.byteCount)
            switch header.kind {
            case .file:
                let name = longName ?? header.name
                guard ZipDirectory.isPlain(name) else { throw badName(name) }
                return Entry(name: name, byteCount: rest)
            case .folder: (longName, longSize) = (nil, nil)
            case .longName: longName = Self.text(try readExtension())
            case .extended: try read(try readExtension(), &longName, &longSize)
            case .ignored: break
            case .refused(let what):
                throw .malformed(
                    file: path, expected: "files and folders",
                    found: "\"\((longName ?? header.name).prefix(100))\", \(what)")
            }
        }
    }

    /// The content of the entry that `next` returned.
    mutating func readContent() throws(DataError) -> [UInt8] {
        let bytes = try source.readFully(rest)
        guard bytes.count == rest else { throw early }
        rest = 0
        return bytes
    }

    private mutating func begin(_ byteCount: Int) throws(DataError) {
        // Far above any size, and small enough to add to.
        guard (0...1 << 50).contains(byteCount) else { throw broken("a size of \(byteCount)") }
        rest = byteCount
        padding = (Self.blockByteCount - byteCount % Self.blockByteCount) % Self.blockByteCount
    }

    private mutating func readExtension() throws(DataError) -> [UInt8] {
        guard rest <= Self.extensionByteCountMax else { throw broken("a name of \(rest) bytes") }
        return try readContent()
    }

    /// Records `length key=value\n` of pax, of which two matter.
    private func read(_ bytes: [UInt8], _ name: inout String?, _ size: inout Int?) throws(DataError) {
        var index = 0
        while index < bytes.count {
            guard let space = bytes[index...].firstIndex(of: 0x20), space - index <= 6,
                let length = Int(String(decoding: bytes[index..<space], as: UTF8.self)),
                length > space - index + 1, length <= bytes.count - index
            else { throw broken("a broken extended header") }
            let record = bytes[(space + 1)..<(index + length - 1)]
            if let equals = record.firstIndex(of: UInt8(ascii: "=")) {
                let key = String(decoding: record[..<equals], as: UTF8.self)
                let value = String(decoding: record[(equals + 1)...], as: UTF8.self)
                if key == "path" { name = value }
                if key == "size" {
                    guard let number = Int(value) else { throw broken("a broken size") }
                    size = number
                }
            }
            index += length
        }
    }

    /// The text in front of the first zero.
    static func text(_ bytes: some Sequence<UInt8>) -> String {
        String(decoding: Array(bytes.prefix { $0 != 0 }), as: UTF8.self)
    }

    private var early: DataError {
        .malformed(file: path, expected: "a whole tar archive", found: "an early end")
    }

    private func broken(_ found: String) -> DataError {
        .malformed(file: path, expected: "a tar archive", found: found)
    }

    private func badName(_ name: String) -> DataError {
        .malformed(file: path, expected: "plain relative names", found: "\"\(name.prefix(100))\"")
    }
}

/// One header block of a tar archive.
private struct TarHeader {
    enum Kind {
        case file, folder, longName, extended, ignored
        case refused(String)
    }

    let name: String
    let byteCount: Int
    let kind: Kind

    init(_ block: [UInt8], of path: String) throws(DataError) {
        // The sum takes the field of the sum itself as blanks.
        let sum = block.enumerated().reduce(0) {
            $0 + ((148..<156).contains($1.offset) ? 32 : Int($1.element))
        }
        guard Self.number(block[148..<156]) == sum else {
            throw .malformed(
                file: path, expected: "a tar archive", found: "a header whose checksum is wrong")
        }
        guard let size = Self.number(block[124..<136]) else {
            throw .malformed(file: path, expected: "a tar archive", found: "a size that is no number")
        }
        byteCount = size
        let prefix = block[257..<263].elementsEqual("ustar\0".utf8) ? TarReader.text(block[345..<500]) : ""
        let tail = TarReader.text(block[0..<100])
        name = prefix.isEmpty ? tail : "\(prefix)/\(tail)"
        switch block[156] {
        case 0, UInt8(ascii: "0"), UInt8(ascii: "7"): kind = tail.hasSuffix("/") ? .folder : .file
        case UInt8(ascii: "5"): kind = .folder
        case UInt8(ascii: "L"): kind = .longName
        case UInt8(ascii: "x"): kind = .extended
        case UInt8(ascii: "g"), UInt8(ascii: "K"): kind = .ignored
        case UInt8(ascii: "1"), UInt8(ascii: "2"): kind = .refused("a link")
        case UInt8(ascii: "3"), UInt8(ascii: "4"), UInt8(ascii: "6"): kind = .refused("a device")
        default: kind = .refused("an entry of a kind of its own")
        }
    }

    /// Octal digits between blanks and zeros, or GNU's binary numbers; `nil` for anything else.
    private static func number(_ field: ArraySlice<UInt8>) -> Int? {
        if let first = field.first, first & 0x80 != 0 {
            guard first == 0x80 else { return nil }
            let bytes = field.dropFirst()
            guard bytes.dropLast(7).allSatisfy({ $0 == 0 }) else { return nil }
            return bytes.suffix(7).reduce(0) { $0 << 8 | Int($1) }
        }
        let digits = field.drop { $0 == 0x20 }.prefix { $0 != 0x20 && $0 != 0 }
        guard digits.allSatisfy({ (0x30...0x37).contains($0) }) else { return nil }
        return digits.reduce(0) { $0 << 3 | Int($1 - 0x30) }
    }
}
