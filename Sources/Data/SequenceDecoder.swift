/// Cuts the rows of CSV files into tokens and numbers their labels.
struct SequenceDecoder {
    private let settings: TextSettings
    private let labelling: SequenceInfo.Labelling
    private let vocabulary: Vocabulary
    private let classNames: [[UInt8]]
    /// The number of each scalar, `[scalarRange]`; empty where tokens are no characters.
    private let table: [UInt16]

    /// Reads, checks and cuts all files.
    ///
    /// The vocabulary is that of the training rows, the classes are those of the training file. Which of its
    /// rows validate, where there is no file for that, follows from their number alone.
    ///
    /// - Throws: `DataError` with the first fault's line.
    static func decode(_ files: TokenFiles, _ settings: TextSettings) throws(DataError) -> DecodedDataset {
        try settings.check()
        let table = try SequenceTable(files.train)
        let held = try files.validation.map(SequenceTable.init)
        let tested = try files.test.map(SequenceTable.init)
        for other in [held, tested].compactMap(\.self) where other.labelling != table.labelling {
            throw .malformed(
                file: other.path, expected: "the columns of the training file",
                found: other.labelling == .tokens ? "a column \"token\"" : "a column \"text\"")
        }
        let parts = try split(table, settings, held)
        let decoder = try SequenceDecoder(table, rows: parts.train, settings)
        let train = try decoder.encode(parts.train, of: table)
        let validation = try decoder.encode(parts.validation, of: held ?? table)
        let test = try tested.map { (other) throws(DataError) in
            try decoder.encode(all(of: other), of: other)
        }
        return decoder.content(
            train, validation, test ?? validation, hasTest: test != nil, preview: table.preview(parts.train))
    }

    private static func all(of table: SequenceTable) -> [UInt32] { Array(0..<UInt32(table.rowCount)) }

    private static func split(
        _ table: SequenceTable, _ settings: TextSettings, _ held: SequenceTable?
    ) throws(DataError) -> (train: [UInt32], validation: [UInt32]) {
        if let held { return (all(of: table), all(of: held)) }
        guard table.rowCount > 1 else {
            throw .malformed(
                file: table.path, expected: "at least 2 samples, one of them for validation", found: "1")
        }
        return Batcher.setAside(settings.validationFraction, of: table.rowCount, seed: 0)
    }

    private init(_ table: SequenceTable, rows: [UInt32], _ settings: TextSettings) throws(DataError) {
        (self.settings, labelling) = (settings, table.labelling)
        guard table.labelling == .sequences || settings.unit == .word else {
            throw .badSetting(
                "tokens of word where each line of a file is one token", found: settings.unit.rawValue)
        }
        guard table.labels.count > 1 else {
            throw .malformed(file: table.path, expected: "at least 2 different labels", found: "1")
        }
        classNames = Self.ordered(table.labels)
        let vocabulary = Self.vocabulary(of: rows, table, settings)
        self.vocabulary = vocabulary
        self.table = settings.unit == .char ? Self.scalarTable(vocabulary) : []
    }

    /// By number where all labels are numbers, else by their bytes.
    private static func ordered(_ labels: [[UInt8]]) -> [[UInt8]] {
        let numbers = labels.map { Int(String(decoding: $0, as: UTF8.self)) }
        let named = zip(labels, numbers)
        guard numbers.contains(nil) else {
            return named.sorted { ($0.1 ?? 0, $0.0.count) < ($1.1 ?? 0, $1.0.count) }.map(\.0)
        }
        return labels.sorted { $0.lexicographicallyPrecedes($1) }
    }

    private static func vocabulary(
        of rows: [UInt32], _ table: SequenceTable, _ settings: TextSettings
    ) -> Vocabulary {
        if settings.unit == .byte { return Vocabulary(unit: .byte, reservedCount: 1, entries: []) }
        if settings.unit == .char { return characters(of: rows, table) }
        var counts = WordCounts()
        for row in rows { forEachWord(of: row, table) { counts.add($0, in: table.bytes) } }
        let frequent = counts.mostFrequent(settings.vocabularyLimit - 2, in: table.bytes)
        return Vocabulary(
            unit: .word, reservedCount: 2,
            entries: frequent.map { String(decoding: table.bytes[$0], as: UTF8.self) })
    }

    /// The characters that occur; beyond what numbers there are, the last ones stay unknown.
    private static func characters(of rows: [UInt32], _ table: SequenceTable) -> Vocabulary {
        var seen = [UInt8](repeating: 0, count: UTF8Text.scalarRange)
        for row in rows { _ = text(of: row, table).markScalars(in: &seen) }
        let found = seen.indices.lazy.filter { seen[$0] != 0 }.prefix(TextSettings.vocabularyMax - 2)
        return Vocabulary(
            unit: .char, reservedCount: 2,
            entries: found.compactMap { Unicode.Scalar($0).map { String($0) } })
    }

    private static func scalarTable(_ vocabulary: Vocabulary) -> [UInt16] {
        var table = [UInt16](repeating: Vocabulary.unknown, count: UTF8Text.scalarRange)
        for (index, entry) in vocabulary.entries.enumerated() {
            for scalar in entry.unicodeScalars {
                table[Int(scalar.value)] = UInt16(vocabulary.reservedCount + index)
            }
        }
        return table
    }

    /// The one text of a row.
    private static func text(of row: UInt32, _ table: SequenceTable) -> UTF8Text {
        UTF8Text(checked: Array(table.bytes[table.place(of: table.texts(of: row).lowerBound)]))
    }

    /// The words of a row's text, or its tokens as they are; as places in the table's bytes.
    private static func forEachWord(
        of row: UInt32, _ table: SequenceTable, _ body: (Range<Int>) -> Void
    ) {
        for text in table.texts(of: row) {
            let place = table.place(of: text)
            guard table.labelling == .sequences else {
                body(place)
                continue
            }
            var words = Words(at: place)
            while let word = words.next(in: table.bytes) { body(word) }
        }
    }

    /// The class of each label of a table.
    private func ranks(of table: SequenceTable) throws(DataError) -> [UInt16] {
        var known: [[UInt8]: UInt16] = [:]
        for (rank, name) in classNames.enumerated() { known[name] = UInt16(rank) }
        var ranks: [UInt16] = []
        for (label, line) in zip(table.labels, table.labelLines) {
            guard let rank = known[label] else {
                throw .malformedLine(
                    file: table.path, line: line, expected: "a label of the training file",
                    found: "\"\(String(decoding: label, as: UTF8.self))\"")
            }
            ranks.append(rank)
        }
        return ranks
    }

    private func encode(_ rows: [UInt32], of table: SequenceTable) throws(DataError) -> SequenceSplit {
        let ranks = try ranks(of: table)
        var (tokens, starts, labels): ([UInt16], [UInt32], [UInt16]) = ([], [0], [])
        var (textCount, byteCount) = (0, 0)
        for row in rows {
            let texts = table.texts(of: row)
            textCount += texts.count
            for text in texts { byteCount += table.place(of: text).count }
        }
        // No text has more tokens than bytes.
        tokens.reserveCapacity(labelling == .tokens ? textCount : byteCount)
        starts.reserveCapacity(rows.count + 1)
        labels.reserveCapacity(textCount)
        for row in rows {
            switch settings.unit {
            case .byte: tokens += Self.text(of: row, table).byteTokens(from: 1)
            case .char: tokens += Self.text(of: row, table).tokens(from: self.table)
            case .word:
                Self.forEachWord(of: row, table) { word in
                    tokens.append(
                        vocabulary.number(of: Array(table.bytes[word])) ?? Vocabulary.unknown)
                }
            }
            starts.append(UInt32(tokens.count))
            for text in table.texts(of: row) { labels.append(ranks[Int(table.textLabels[text])]) }
        }
        // Words are fewer than bytes, and the split is kept; an array of the same would share the memory.
        if tokens.capacity > 2 * tokens.count { tokens = tokens.map { $0 } }
        return SequenceSplit(tokens: tokens, starts: starts, labels: labels)
    }

    private func content(
        _ train: SequenceSplit, _ validation: SequenceSplit, _ test: SequenceSplit, hasTest: Bool,
        preview: [SamplePreview]
    ) -> DecodedDataset {
        let splits = [train, validation, test]
        var hash = ContentHash("vintner-sequences-1")
        hash.add(labelling.rawValue)
        hash.add(vocabulary)
        for name in classNames { hash.add(String(decoding: name, as: UTF8.self)) }
        for split in splits {
            hash.add(split.starts)
            hash.add(split.tokens[...])
            hash.add(split.labels[...])
        }
        var longest = 0
        for split in splits {
            for sequence in 0..<split.count { longest = max(longest, split.range(of: sequence).count) }
        }
        let info = SequenceInfo(
            labelling: labelling, settings: settings, vocabularySize: vocabulary.count,
            classNames: classNames.map { String(decoding: $0, as: UTF8.self) },
            tokenCounts: SplitCounts(
                train: train.tokens.count, validation: validation.tokens.count, test: test.tokens.count),
            longest: longest, preview: preview)
        return DecodedDataset(
            kind: .sequences(info),
            counts: SplitCounts(train: train.count, validation: validation.count, test: test.count),
            train: .sequences(train), validation: .sequences(validation), test: .sequences(test),
            vocabulary: vocabulary, sha256: hash.hex,
            byteCount: train.byteCount + validation.byteCount + (hasTest ? test.byteCount : 0))
    }
}
