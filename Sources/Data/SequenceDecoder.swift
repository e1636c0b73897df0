/// Cuts the rows of CSV files into tokens and numbers their labels.
struct SequenceDecoder {
    private let settings: TextSettings
    private let labelling: SequenceInfo.Labelling
    private let vocabulary: Vocabulary
    private let classNames: [[UInt8]]

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
        vocabulary = Self.vocabulary(of: rows, table.labelling, settings)
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
        var counts: [[UInt8]: Int] = [:]
        for row in rows {
            for piece in pieces(of: row, labelling, settings.unit) { counts[piece, default: 0] += 1 }
        }
        let limit = (settings.unit == .word ? settings.vocabularyLimit : TextSettings.vocabularyMax) - 2
        let frequent = counts.sorted { left, right in
            left.value != right.value
                ? left.value > right.value : left.key.lexicographicallyPrecedes(right.key)
        }.prefix(limit).map(\.key)
        // The bytes of UTF-8 are in the order of the scalars.
        let entries =
            settings.unit == .word ? frequent : frequent.sorted { $0.lexicographicallyPrecedes($1) }
        return Vocabulary(
            unit: settings.unit, reservedCount: 2,
            entries: entries.map { String(decoding: $0, as: UTF8.self) })
    }

    private static func pieces(
        of row: Row, _ labelling: SequenceInfo.Labelling, _ unit: TokenUnit
    ) -> [[UInt8]] {
        if labelling == .tokens { return row.texts }
        let text = String(decoding: row.texts[0], as: UTF8.self)
        return unit == .word ? Words.split(text) : text.unicodeScalars.map { Array(String($0).utf8) }
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
            if settings.unit == .byte {
                tokens += row.texts[0].map { UInt16($0) + 1 }
            } else {
                tokens += Self.pieces(of: row, labelling, settings.unit).map {
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
