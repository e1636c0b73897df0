import Files

/// The rows of one CSV file: texts with a label each, or sentences of tokens with a label per token.
struct SequenceTable {
    /// One sample before it is cut into tokens.
    struct Row {
        /// The text, or the tokens of a sentence.
        var texts: [[UInt8]]
        /// One label, or one per token, as numbers of `labels`.
        var labels: [Int]
        /// The line that it starts in.
        let line: Int
    }

    /// The largest file accepted.
    static let byteCountMax = 1 << 28
    /// The most different labels.
    static let labelCountMax = 1 << 16
    /// The longest label in bytes.
    static let labelByteCountMax = 256

    let path: String
    let labelling: SequenceInfo.Labelling
    private(set) var rows: [Row] = []
    /// The labels as they came up.
    private(set) var labels: [[UInt8]] = []
    /// The line that each label came up in first.
    private(set) var labelLines: [Int] = []
    private var numbers: [[UInt8]: Int] = [:]

    private struct Columns {
        let count: Int
        let text: Int
        let label: Int
        let sentence: Int?
    }

    /// Reads a whole file.
    ///
    /// - Throws: `DataError` with the line of the first fault.
    init(_ path: String) throws(DataError) {
        let bytes = try DataError.translating { () throws(FileError) in
            try readFile(path, limit: Self.byteCountMax)
        }
        var reader = try CSVReader(bytes, of: path)
        self.path = path
        let (columns, labelling) = try Self.header(of: &reader)
        self.labelling = labelling
        // A sentence begins after a blank line, and where its column names another one.
        var isOpen = false
        var sentence: [UInt8] = []
        while let record = try reader.next() {
            if record.isBlank {
                isOpen = false
                continue
            }
            guard record.fields.count == columns.count else {
                throw reader.fault(
                    record.line, "\(columns.count) fields, as in the first line", "\(record.fields.count)")
            }
            let label = try number(of: record.fields[columns.label], reader, record.line)
            let text = record.fields[columns.text]
            guard !text.isEmpty else { throw reader.fault(record.line, "a text or token", "an empty field") }
            if let column = columns.sentence, !record.fields[column].isEmpty {
                if record.fields[column] != sentence { isOpen = false }
                sentence = record.fields[column]
            }
            if isOpen, labelling == .tokens {
                rows[rows.count - 1].texts.append(text)
                rows[rows.count - 1].labels.append(label)
            } else {
                rows.append(Row(texts: [text], labels: [label], line: record.line))
                isOpen = true
            }
        }
        guard !rows.isEmpty else {
            throw .malformed(file: path, expected: "rows behind the columns' names", found: "none")
        }
    }

    private static func header(
        of reader: inout CSVReader
    ) throws(DataError) -> (Columns, SequenceInfo.Labelling) {
        guard let header = try reader.next() else {
            throw .malformed(file: reader.path, expected: "the columns' names", found: "none")
        }
        let names = header.fields.map { String(decoding: $0, as: UTF8.self) }
        guard let label = names.firstIndex(of: "label"),
            let text = names.firstIndex(of: "text") ?? names.firstIndex(of: "token")
        else {
            let found = names.map { "\"\($0.prefix(64))\"" }.joined(separator: ", ")
            throw reader.fault(
                header.line, "a column \"label\" and a column \"text\" or \"token\"",
                String(found.prefix(400)))
        }
        let columns = Columns(
            count: names.count, text: text, label: label, sentence: names.firstIndex(of: "sentence"))
        return (columns, names[text] == "text" ? .sequences : .tokens)
    }

    private mutating func number(
        of label: [UInt8], _ reader: CSVReader, _ line: Int
    ) throws(DataError) -> Int {
        if let known = numbers[label] { return known }
        guard !label.isEmpty, label.count <= Self.labelByteCountMax else {
            throw reader.fault(
                line, "a label of 1 to \(Self.labelByteCountMax) bytes", "\(label.count)")
        }
        guard labels.count < Self.labelCountMax else {
            throw reader.fault(line, "at most \(Self.labelCountMax) different labels", "one more")
        }
        numbers[label] = labels.count
        labels.append(label)
        labelLines.append(line)
        return labels.count - 1
    }

    /// The beginning of some rows, for people.
    func preview(_ rows: [Row]) -> [SamplePreview] {
        func joined(_ parts: some Sequence<[UInt8]>) -> String {
            // More than is shown, without joining a text of a megabyte.
            parts.prefix(200).map { String(decoding: $0.prefix(1024), as: UTF8.self) }.joined(separator: " ")
        }
        return rows.prefix(3).map { row in
            SamplePreview(joined(row.texts), label: joined(row.labels.lazy.map { labels[$0] }))
        }
    }
}
