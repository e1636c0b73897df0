import Files

/// Reads a ZIP archive, as NumPy's `.npz` is one: entries that are stored or deflated.
///
/// Only the central directory is believed, and checked before any entry is opened: names, sizes, and that no
/// two entries share bytes. Belongs to the thread that made it.
final class ZipArchive {
    /// One file in it.
    struct Entry {
        let name: String
        let isDeflated: Bool
        /// Bytes as they are stored.
        let storedByteCount: Int
        /// Bytes of the content.
        let byteCount: Int
        let checksum: UInt32
        /// Where its local header starts.
        let offset: Int
    }

    static let entryCountMax = 10_000
    /// What entries may inflate to, as a multiple of their size.
    static let ratioMax = FileSource.ratioMax
    private static let headerByteCount = 30
    private static let directoryByteCountMax = 4 << 20

    let path: String
    private let file: FileReader
    private let fileByteCount: Int
    private let entries: [String: Entry]

    /// Opens an archive and reads its directory.
    init(_ path: String) throws(DataError) {
        self.path = path
        do {
            file = try FileReader(path)
            fileByteCount = try file.byteCount()
        } catch { throw .file(error) }
        let end = try Self.end(of: file, fileByteCount, path)
        guard end.count <= Self.entryCountMax, end.byteCount <= Self.directoryByteCountMax else {
            throw .malformed(
                file: path, expected: "at most \(Self.entryCountMax) entries", found: "\(end.count)")
        }
        let (directoryEnd, overflow) = end.offset.addingReportingOverflow(end.byteCount)
        guard !overflow, end.offset >= 0, directoryEnd <= fileByteCount else {
            throw .malformed(file: path, expected: "a directory within the archive", found: "one beyond it")
        }
        let bytes = try Self.read(file, end.byteCount, at: end.offset)
        var directory = ZipDirectory(bytes, of: path)
        var entries: [String: Entry] = [:]
        for _ in 0..<end.count {
            let entry = try directory.next()
            guard entries.updateValue(entry, forKey: entry.name) == nil else {
                throw .malformed(file: path, expected: "each name once", found: "\"\(entry.name)\" twice")
            }
        }
        self.entries = entries
        try checkPlaces(before: end.offset)
    }

    /// The entry of a name.
    subscript(name: String) -> Entry? { entries[name] }

    /// Begins to read an entry; its size and checksum are checked at its end.
    func open(_ entry: Entry) throws(DataError) -> any ByteSource {
        let start = try contentStart(of: entry)
        return try ZipEntrySource(entry, of: file, at: start, in: path)
    }

    /// Where an entry's content starts, by its local header.
    private func contentStart(of entry: Entry) throws(DataError) -> Int {
        let header = try Self.read(file, Self.headerByteCount, at: entry.offset)
        guard header.count == Self.headerByteCount, header.starts(with: [0x50, 0x4b, 3, 4]) else {
            throw .malformed(
                file: path, expected: "a local header of \"\(entry.name)\"", found: "something else")
        }
        let nameCount = LittleEndian.number(header, at: 26, 2)
        return entry.offset + Self.headerByteCount + nameCount + LittleEndian.number(header, at: 28, 2)
    }

    /// Refuses entries that share bytes with another one or with the directory.
    private func checkPlaces(before directory: Int) throws(DataError) {
        let sorted = entries.values.sorted { ($0.offset, $0.name) < ($1.offset, $1.name) }
        for (index, entry) in sorted.enumerated() {
            let limit = index + 1 < sorted.count ? sorted[index + 1].offset : directory
            let (end, overflow) = try contentStart(of: entry).addingReportingOverflow(entry.storedByteCount)
            guard !overflow, end <= limit, limit <= directory else {
                throw .malformed(
                    file: path, expected: "entries side by side",
                    found: "\"\(entry.name)\" reaching into what follows it")
            }
        }
    }

    private struct End {
        var count: Int
        var byteCount: Int
        var offset: Int
    }

    /// Finds the record that ends the archive, and the directory by it.
    private static func end(of file: FileReader, _ byteCount: Int, _ path: String) throws(DataError) -> End {
        let none = DataError.malformed(
            file: path, expected: "a ZIP archive", found: "no directory at its end")
        let tailCount = min(byteCount, 22 + 65_535)
        let tailStart = byteCount - tailCount
        let tail = try read(file, tailCount, at: tailStart)
        let signature: [UInt8] = [0x50, 0x4b, 5, 6]
        // The comment behind the record must reach exactly to the end.
        let candidates = stride(from: tail.count - 22, through: 0, by: -1)
        guard tail.count >= 22,
            let start = candidates.first(where: { start in
                tail[start...].starts(with: signature)
                    && start + 22 + LittleEndian.number(tail, at: start + 20, 2) == tail.count
            })
        else { throw none }
        guard LittleEndian.number(tail, at: start + 4, 4) == 0 else {
            throw .malformed(file: path, expected: "an archive in one part", found: "one of several")
        }
        let end = End(
            count: LittleEndian.number(tail, at: start + 10, 2),
            byteCount: LittleEndian.number(tail, at: start + 12, 4),
            offset: LittleEndian.number(tail, at: start + 16, 4))
        guard end.count == 0xFFFF || end.byteCount == 0xFFFF_FFFF || end.offset == 0xFFFF_FFFF else {
            return end
        }
        return try largeEnd(of: file, byteCount, locatorAt: tailStart + start - 20, none)
    }

    /// The same for an archive with more or larger entries than 32 bits can count.
    private static func largeEnd(
        of file: FileReader, _ byteCount: Int, locatorAt place: Int, _ none: DataError
    ) throws(DataError) -> End {
        guard place >= 0 else { throw none }
        let locator = try read(file, 20, at: place)
        guard locator.starts(with: [0x50, 0x4b, 6, 7]) else { throw none }
        let start = LittleEndian.number(locator, at: 8, 8)
        guard start >= 0, start <= byteCount - 56 else { throw none }
        let record = try read(file, 56, at: start)
        guard record.starts(with: [0x50, 0x4b, 6, 6]) else { throw none }
        let end = End(
            count: LittleEndian.number(record, at: 32, 8), byteCount: LittleEndian.number(record, at: 40, 8),
            offset: LittleEndian.number(record, at: 48, 8))
        guard end.count >= 0, end.byteCount >= 0, end.offset >= 0 else { throw none }
        return end
    }

    private static func read(_ file: FileReader, _ count: Int, at offset: Int) throws(DataError) -> [UInt8] {
        try DataError.translating { () throws(FileError) in try file.read(count, at: offset) }
    }
}

/// Numbers as ZIP stores them.
enum LittleEndian {
    /// The number of `count` bytes that starts at `offset`, which must lie within; negative beyond 63 bits.
    static func number(_ bytes: [UInt8], at offset: Int, _ count: Int) -> Int {
        bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | Int($1) }
    }
}

/// The content of an entry.
private final class ZipEntrySource: ByteSource {
    let path: String
    private let entry: ZipArchive.Entry
    private let inflater: Inflater?
    private let stored: StoredPart
    private var checksum = CRC32()
    private var count = 0

    /// The bytes of an entry as they lie in the file.
    private final class StoredPart {
        let file: FileReader
        var offset: Int
        var rest: Int

        init(_ file: FileReader, _ offset: Int, _ count: Int) {
            (self.file, self.offset, rest) = (file, offset, count)
        }

        func read(upTo count: Int) throws(FileError) -> [UInt8] {
            let bytes = try file.read(min(count, rest), at: offset)
            offset += bytes.count
            rest -= bytes.count
            return bytes
        }
    }

    init(_ entry: ZipArchive.Entry, of file: FileReader, at start: Int, in archive: String) throws(DataError)
    {
        (self.entry, path) = (entry, entry.name)
        let stored = StoredPart(file, start, entry.storedByteCount)
        self.stored = stored
        do {
            inflater =
                entry.isDeflated
                ? try Inflater(of: entry.name, .raw) { () throws(FileError) in
                    try stored.read(upTo: 1 << 16)
                } : nil
        } catch { throw .file(error) }
    }

    func read(upTo wanted: Int) throws(DataError) -> [UInt8] {
        let bytes = try DataError.translating { () throws(FileError) -> [UInt8] in
            if let inflater { return try inflater.read(upTo: wanted) }
            return try stored.read(upTo: wanted)
        }
        count += bytes.count
        checksum.update(bytes)
        guard count <= entry.byteCount else { throw wrong("more") }
        guard bytes.isEmpty else { return bytes }
        guard count == entry.byteCount else { throw wrong("\(count)") }
        guard checksum.value == entry.checksum else {
            throw .malformed(file: path, expected: "the checksum of the directory", found: "another one")
        }
        return []
    }

    private func wrong(_ found: String) -> DataError {
        .malformed(file: path, expected: "\(entry.byteCount) bytes, as the directory says", found: found)
    }
}
