/// Reads the records of a CSV file (RFC 4180) from start to end: fields between commas, in quotes where they
/// hold commas, quotes (doubled) or line ends; lines end with LF or CR LF.
///
/// Fields are ranges of the file's own bytes, so that a table of millions of rows holds nothing twice.
struct CSVReader {
    /// One record.
    struct Record {
        /// The line it starts in, counted from 1.
        let line: Int
        /// Whether the line is empty.
        let isBlank: Bool
    }

    /// The longest record and the most fields accepted.
    static let recordByteCountMax = 1 << 20
    static let fieldCountMax = 256

    private static let comma = UInt8(ascii: ",")
    private static let quote = UInt8(ascii: "\"")
    private static let lineFeed = UInt8(ascii: "\n")
    private static let carriageReturn = UInt8(ascii: "\r")

    let path: String
    /// The file; a field that held doubled quotes is written over itself, with single ones.
    private(set) var bytes: [UInt8]
    /// The fields of the last record, as places in `bytes` without their quotes.
    private(set) var fields: [Range<Int>] = []
    private var index = 0
    private var line = 1

    /// Reads `bytes`, the content of the file `path`; a byte-order mark in front is skipped.
    ///
    /// - Throws: `DataError` for an empty file, and for bytes that are not UTF-8, with their line.
    init(_ bytes: consuming [UInt8], of path: String) throws(DataError) {
        (self.bytes, self.path) = (bytes, path)
        guard !self.bytes.isEmpty else {
            throw .malformed(file: path, expected: "a line with the columns' names", found: "an empty file")
        }
        if let fault = UTF8Text.fault(in: self.bytes) {
            let line = self.bytes[..<fault].count { $0 == Self.lineFeed } + 1
            let byte = String(self.bytes[fault], radix: 16)
            throw .malformedLine(
                file: path, line: line, expected: "UTF-8", found: "the byte 0x\(byte) at offset \(fault)")
        }
        if self.bytes.starts(with: [0xEF, 0xBB, 0xBF]) { index = 3 }
    }

    /// The next record; `nil` at the end of the file.
    mutating func next() throws(DataError) -> Record? {
        guard index < bytes.count else { return nil }
        let (start, firstLine) = (index, line)
        fields.removeAll(keepingCapacity: true)
        while true {
            fields.append(try readField(recordStart: start, line: firstLine))
            guard fields.count <= Self.fieldCountMax else {
                throw fault(
                    firstLine, "at most \(Self.fieldCountMax) fields", "more")
            }
            guard index < bytes.count, bytes[index] == Self.comma else { break }
            index += 1
        }
        // What stopped the field is a line's end or the file's.
        if index < bytes.count, bytes[index] == Self.carriageReturn { index += 1 }
        if index < bytes.count {
            index += 1
            line += 1
        }
        return Record(line: firstLine, isBlank: fields.count == 1 && fields[0].isEmpty)
    }

    /// Lines of the whole file, which are at least as many as its records.
    var lineCount: Int { bytes.count { $0 == Self.lineFeed } + 1 }

    /// Reads up to a comma, a line's end or the end of the file.
    private mutating func readField(recordStart: Int, line firstLine: Int) throws(DataError) -> Range<Int> {
        if index < bytes.count, bytes[index] == Self.quote {
            return try readQuotedField(recordStart: recordStart)
        }
        let start = index
        while index < bytes.count, bytes[index] != Self.comma, !isLineEnd {
            guard bytes[index] != Self.quote else {
                throw fault(
                    line, "quotes around a field that holds a quote, and the quote doubled",
                    "a quote inside a field without")
            }
            try checkLength(recordStart, firstLine)
            index += 1
        }
        return start..<index
    }

    private mutating func readQuotedField(recordStart: Int) throws(DataError) -> Range<Int> {
        let opening = line
        index += 1
        let start = index
        var end = index
        while true {
            guard index < bytes.count else {
                throw fault(opening, "a quote that ends the field", "the end of the file")
            }
            try checkLength(recordStart, opening)
            let byte = bytes[index]
            index += 1
            if byte == Self.quote {
                guard index < bytes.count, bytes[index] == Self.quote else { break }
                index += 1
            }
            if byte == Self.lineFeed { line += 1 }
            if end < index - 1 { bytes[end] = byte }
            end += 1
        }
        guard index == bytes.count || bytes[index] == Self.comma || isLineEnd else {
            throw fault(line, "a comma or the line's end behind a closing quote", "something else")
        }
        return start..<end
    }

    private var isLineEnd: Bool {
        bytes[index] == Self.lineFeed
            || (bytes[index] == Self.carriageReturn && index + 1 < bytes.count
                && bytes[index + 1] == Self.lineFeed)
    }

    private func checkLength(_ start: Int, _ line: Int) throws(DataError) {
        guard index - start < Self.recordByteCountMax else {
            throw fault(line, "a record of at most \(Self.recordByteCountMax) bytes", "a longer one")
        }
    }

    /// What is wrong with a line of this file.
    func fault(_ line: Int, _ expected: String, _ found: String) -> DataError {
        .malformedLine(file: path, line: line, expected: expected, found: found)
    }
}
