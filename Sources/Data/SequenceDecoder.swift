/// Cuts the rows of CSV files into tokens and numbers their labels.
struct SequenceDecoder {
    private let settings: TextSettings
    private let labelling: SequenceInfo.Labelling
    private let vocabulary: Vocabulary
    private let classNames: [[UInt8]]
    /// The number of each scalar, `[scalarRange]`; empty where tokens are no characters.
    private let table: [UInt16]

    private typealias Row = SequenceTable.Row

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
        let parts = try split(table, settings, hasValidation: held != nil)
        let decoder = try SequenceDecoder(table, rows: parts.train, settings)
        let ranks = try decoder.ranks(of: table)
        let train = decoder.encode(parts.train, ranks)
        let validation =
            if let held { decoder.encode(held.rows, try decoder.ranks(of: held)) } else {
                decoder.encode(parts.validation, ranks)
            }
        let test = try tested.map { (other) throws(DataError) in
            decoder.encode(other.rows, try decoder.ranks(of: other))
        }
        return decoder.content(
            train, validation, test ?? validation, hasTest: test != nil, preview: table.preview(parts.train))
    }

    private static func split(
        _ table: SequenceTable, _ settings: TextSettings, hasValidation: Bool
    ) throws(DataError) -> (train: [Row], validation: [Row]) {
        guard !hasValidation else { return (table.rows, []) }
        guard table.rows.count > 1 else {
            throw .malformed(
                file: table.path, expected: "at least 2 samples, one of them for validation", found: "1")
        }
        let parts = Batcher.setAside(settings.validationFraction, of: table.rows.count, seed: 0)
        return (parts.train.map { table.rows[Int($0)] }, parts.validation.map { table.rows[Int($0)] })
    }

    private init(_ table: SequenceTable, rows: [Row], _ settings: TextSettings) throws(DataError) {
        (self.settings, labelling) = (settings, table.labelling)
        guard table.labelling == .sequences || settings.unit == .word else {
            throw .badSetting(
                "tokens of word where each line of a file is one token", found: settings.unit.rawValue)
        }
        guard table.labels.count > 1 else {
            throw .malformed(file: table.path, expected: "at least 2 different labels", found: "1")
        }
        classNames = Self.ordered(table.labels)
        let vocabulary = Self.vocabulary(of: rows, table.labelling, settings)
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
        of rows: [Row], _ labelling: SequenceInfo.Labelling, _ settings: TextSettings
    ) -> Vocabulary {
        if settings.unit == .byte { return Vocabulary(unit: .byte, reservedCount: 1, entries: []) }
        if settings.unit == .char { return characters(of: rows) }
        var counts: [[UInt8]: Int] = [:]
        for row in rows {
            for word in words(of: row, labelling) { counts[word, default: 0] += 1 }
        }
        let frequent = counts.sorted { left, right in
            left.value != right.value
                ? left.value > right.value : left.key.lexicographicallyPrecedes(right.key)
        }.prefix(settings.vocabularyLimit - 2).map(\.key)
        return Vocabulary(
            unit: .word, reservedCount: 2, entries: frequent.map { String(decoding: $0, as: UTF8.self) })
    }

    /// The characters that occur; beyond what numbers there are, the last ones stay unknown.
    private static func characters(of rows: [Row]) -> Vocabulary {
        var seen = [UInt8](repeating: 0, count: UTF8Text.scalarRange)
        for row in rows { _ = UTF8Text(checked: row.texts[0]).markScalars(in: &seen) }
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

    private static func words(of row: Row, _ labelling: SequenceInfo.Labelling) -> [[UInt8]] {
        labelling == .tokens ? row.texts : Words.split(String(decoding: row.texts[0], as: UTF8.self))
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

    private func encode(_ rows: [Row], _ ranks: [UInt16]) -> SequenceSplit {
        var (tokens, starts, labels): ([UInt16], [Int], [UInt16]) = ([], [0], [])
        for row in rows {
            switch settings.unit {
            case .byte: tokens += UTF8Text(checked: row.texts[0]).byteTokens(from: 1)
            case .char: tokens += UTF8Text(checked: row.texts[0]).tokens(from: table)
            case .word:
                tokens += Self.words(of: row, labelling).map {
                    vocabulary.number(of: $0) ?? Vocabulary.unknown
                }
            }
            starts.append(tokens.count)
            labels += row.labels.map { ranks[$0] }
        }
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
        let longest = splits.flatMap { split in (0..<split.count).map { split.range(of: $0).count } }.max()
        let info = SequenceInfo(
            labelling: labelling, settings: settings, vocabularySize: vocabulary.count,
            classNames: classNames.map { String(decoding: $0, as: UTF8.self) },
            tokenCounts: SplitCounts(
                train: train.tokens.count, validation: validation.tokens.count, test: test.tokens.count),
            longest: longest ?? 0, preview: preview)
        return DecodedDataset(
            kind: .sequences(info),
            counts: SplitCounts(train: train.count, validation: validation.count, test: test.count),
            train: .sequences(train), validation: .sequences(validation), test: .sequences(test),
            vocabulary: vocabulary, sha256: hash.hex,
            byteCount: train.byteCount + validation.byteCount + (hasTest ? test.byteCount : 0))
    }
}
