import Files

/// The rows of one CSV file: texts with a label each, or sentences of tokens with a label per token.
///
/// Texts are places in the file's bytes: a text with its label takes ten bytes beside them, a sentence four.
struct SequenceTable {
    /// Where a text lies in `bytes`.
    private struct Place {
        let start: UInt32
        let byteCount: UInt32
    }

    /// The largest file accepted.
    static let byteCountMax = 1 << 28
    /// The most different labels.
    static let labelCountMax = 1 << 16
    /// The longest label in bytes.
    static let labelByteCountMax = 256
    /// Bytes of a text, a sentence's token or a label in memory, beside the file's.
    static let textByteCount = MemoryLayout<Place>.stride + MemoryLayout<UInt16>.stride
    /// Bytes of a sentence beside its tokens'.
    static let sentenceByteCount = MemoryLayout<UInt32>.stride

    let path: String
    let labelling: SequenceInfo.Labelling
    /// The file, in which the texts lie.
    private(set) var bytes: [UInt8] = []
    /// The texts, or the tokens of all sentences.
    private var places: [Place] = []
    /// A label for each, as numbers of `labels`.
    private(set) var textLabels: [UInt16] = []
    /// The first token of each sentence; empty where each text is a row.
    private var firsts: [UInt32] = []
    /// The labels as they came up.
    private(set) var labels: [[UInt8]] = []
    /// The line that each label came up in first.
    private(set) var labelLines: [Int] = []
    private var numbers: [[UInt8]: UInt16] = [:]

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
        var reader = try CSVReader(
            try DataError.translating { () throws(FileError) in
                try readFile(path, limit: Self.byteCountMax)
            }, of: path)
        self.path = path
        let (columns, labelling) = try Self.header(of: &reader)
        self.labelling = labelling
        // Memory that is never written to is none.
        places.reserveCapacity(reader.lineCount)
        textLabels.reserveCapacity(places.capacity)
        if labelling == .tokens { firsts.reserveCapacity(places.capacity) }
        // A sentence begins after a blank line, and where its column names another one.
        var isOpen = false
        var sentence: [UInt8] = []
        while let record = try reader.next() {
            if record.isBlank {
                isOpen = false
                continue
            }
            let fields = reader.fields
            guard fields.count == columns.count else {
                throw reader.fault(
                    record.line, "\(columns.count) fields, as in the first line", "\(fields.count)")
            }
            let label = try number(of: Array(reader.bytes[fields[columns.label]]), reader, record.line)
            let text = fields[columns.text]
            guard !text.isEmpty else { throw reader.fault(record.line, "a text or token", "an empty field") }
            if let column = columns.sentence, !fields[column].isEmpty {
                let name = reader.bytes[fields[column]]
                if !name.elementsEqual(sentence) {
                    isOpen = false
                    sentence = Array(name)
                }
            }
            if !isOpen, labelling == .tokens {
                firsts.append(UInt32(places.count))
                isOpen = true
            }
            places.append(Place(start: UInt32(text.lowerBound), byteCount: UInt32(text.count)))
            textLabels.append(label)
        }
        guard !places.isEmpty else {
            throw .malformed(file: path, expected: "rows behind the columns' names", found: "none")
        }
        bytes = reader.bytes
    }

    /// Number of samples.
    var rowCount: Int { labelling == .tokens ? firsts.count : places.count }

    /// Which texts a row has: its one, or the tokens of its sentence.
    func texts(of row: UInt32) -> Range<Int> {
        let row = Int(row)
        guard labelling == .tokens else { return row..<row + 1 }
        return Int(firsts[row])..<(row + 1 < firsts.count ? Int(firsts[row + 1]) : places.count)
    }

    /// Where a text lies in `bytes`.
    func place(of text: Int) -> Range<Int> {
        let start = Int(places[text].start)
        return start..<start + Int(places[text].byteCount)
    }

    private static func header(
        of reader: inout CSVReader
    ) throws(DataError) -> (Columns, SequenceInfo.Labelling) {
        guard let header = try reader.next() else {
            throw .malformed(file: reader.path, expected: "the columns' names", found: "none")
        }
        let names = reader.fields.map { String(decoding: reader.bytes[$0], as: UTF8.self) }
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
    ) throws(DataError) -> UInt16 {
        if let known = numbers[label] { return known }
        guard !label.isEmpty, label.count <= Self.labelByteCountMax else {
            throw reader.fault(
                line, "a label of 1 to \(Self.labelByteCountMax) bytes", "\(label.count)")
        }
        guard let number = UInt16(exactly: labels.count) else {
            throw reader.fault(line, "at most \(Self.labelCountMax) different labels", "one more")
        }
        numbers[label] = number
        labels.append(label)
        labelLines.append(line)
        return number
    }

    /// The beginning of the first of some rows, for people.
    func preview(_ rows: some Sequence<UInt32>) -> [SamplePreview] {
        func joined(_ parts: some Sequence<ArraySlice<UInt8>>) -> String {
            // More than is shown, without joining a text of a megabyte.
            parts.prefix(200).map { String(decoding: $0.prefix(1024), as: UTF8.self) }.joined(separator: " ")
        }
        return rows.prefix(3).map { row in
            SamplePreview(
                joined(texts(of: row).lazy.map { bytes[place(of: $0)] }),
                label: joined(texts(of: row).lazy.map { labels[Int(textLabels[$0])][...] }))
        }
    }
}
