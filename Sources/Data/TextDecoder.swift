import Files

/// Cuts text files into tokens, for language modelling.
enum TextDecoder {
    /// The largest text accepted: its tokens take twice as much memory.
    static let byteCountMax = 1 << 30

    /// Reads, checks and cuts all files.
    ///
    /// The vocabulary is that of all splits together, as every character has to have a number. Without a file
    /// for validation that split is the end of the training file; without one for testing it is the same.
    ///
    /// - Throws: `DataError` naming the first fault.
    static func decode(_ files: TokenFiles, _ settings: TextSettings) throws(DataError) -> DecodedDataset {
        try settings.check()
        let train = try read(files.train)
        var (validation, test): (UTF8Text?, UTF8Text?) = (nil, nil)
        if let path = files.validation { validation = try read(path) }
        if let path = files.test { test = try read(path) }
        let coder = try Coder([train, validation, test].compactMap(\.self), settings.unit, files.train)
        let preview = SamplePreview(String(decoding: train.bytes.prefix(1024), as: UTF8.self), label: nil)
        let whole = coder.encode(train)
        let parts = try split(whole, settings, files, validation.map { coder.encode($0) })
        let tested = test.map { coder.encode($0)[...] }
        let held = TextSplit(tokens: parts.validation)
        let splits = (
            train: TextSplit(tokens: parts.train), validation: held,
            test: tested.map(TextSplit.init) ?? held
        )
        if let path = files.test { try check(splits.test, "testing", path) }
        let vocabulary = coder.vocabulary
        var hash = ContentHash("vintner-text-1")
        hash.add(vocabulary)
        for split in [splits.train, splits.validation, splits.test] { hash.add(split.tokens) }
        let distinct = [whole.count, files.validation == nil ? 0 : held.count, tested?.count ?? 0]
        return DecodedDataset(
            kind: .text(
                TextInfo(settings: settings, vocabularySize: vocabulary.count, preview: [preview])),
            counts: SplitCounts(
                train: splits.train.count, validation: splits.validation.count, test: splits.test.count),
            train: .text(splits.train), validation: .text(splits.validation), test: .text(splits.test),
            vocabulary: vocabulary, sha256: hash.hex, byteCount: 2 * distinct.reduce(0, +))
    }

    /// The whole of a file as text.
    static func read(_ path: String) throws(DataError) -> UTF8Text {
        let bytes = try DataError.translating { () throws(FileError) in
            try readFile(path, limit: byteCountMax)
        }
        return try UTF8Text(bytes, of: path)
    }

    private static func split(
        _ tokens: [UInt16], _ settings: TextSettings, _ files: TokenFiles, _ validation: [UInt16]?
    ) throws(DataError) -> (train: ArraySlice<UInt16>, validation: ArraySlice<UInt16>) {
        // As nanoGPT cuts: the first 90 % are int(n * 0.9) tokens.
        let cut =
            validation == nil ? Int(Double(tokens.count) * (1 - settings.validationFraction)) : tokens.count
        let parts = (train: tokens[..<cut], validation: validation?[...] ?? tokens[cut...])
        try check(TextSplit(tokens: parts.train), "training", files.train)
        try check(
            TextSplit(tokens: parts.validation), "validation", files.validation ?? files.train)
        return parts
    }

    private static func check(_ split: TextSplit, _ name: String, _ file: String) throws(DataError) {
        guard split.count >= 2 else {
            throw .malformed(
                file: file, expected: "text of at least 2 tokens for \(name)", found: "\(split.count)")
        }
    }

    /// Numbers the tokens of some texts.
    private struct Coder {
        let vocabulary: Vocabulary
        /// `[scalarRange]`; empty where tokens are bytes.
        private var table: [UInt16] = []

        init(_ texts: [UTF8Text], _ unit: TokenUnit, _ file: String) throws(DataError) {
            switch unit {
            case .byte: vocabulary = Vocabulary(unit: .byte, reservedCount: 0, entries: [])
            case .char:
                var seen = [UInt8](repeating: 0, count: UTF8Text.scalarRange)
                for text in texts { _ = text.markScalars(in: &seen) }
                let characters = seen.indices.filter { seen[$0] != 0 }
                guard characters.count <= TextSettings.vocabularyMax else {
                    throw .malformed(
                        file: file, expected: "at most \(TextSettings.vocabularyMax) different characters",
                        found: "\(characters.count)")
                }
                table = [UInt16](repeating: 0, count: UTF8Text.scalarRange)
                for (number, scalar) in characters.enumerated() { table[scalar] = UInt16(number) }
                vocabulary = Vocabulary(
                    unit: .char, reservedCount: 0,
                    entries: characters.compactMap { Unicode.Scalar($0).map { String($0) } })
            case .word:
                throw .badSetting("tokens of byte or char for running text", found: "word")
            }
        }

        func encode(_ text: UTF8Text) -> [UInt16] {
            table.isEmpty ? text.byteTokens(from: 0) : text.tokens(from: table)
        }
    }
}
