extension SequenceInfo {
    /// Drawing the rows that validate: their numbers, and as much again to sort them.
    private static let drawByteCount = 2 * MemoryLayout<UInt32>.stride
    /// The longest record, cut out and as numbers, and what small things take.
    private static let fixedByteCount = 8 << 20

    /// Bytes of a CSV file's rows while they are decoded, besides their text; an upper bound.
    func decodingByteCount(_ counts: SplitCounts) -> Int {
        let rows = counts.train + counts.validation + counts.test
        let tokens = tokenCounts.train + tokenCounts.validation + tokenCounts.test
        let table =
            labelling == .tokens
            ? tokens * SequenceTable.textByteCount + rows * SequenceTable.sentenceByteCount
            : rows * SequenceTable.textByteCount
        // Each training word may be a new one.
        let words = settings.unit == .word ? tokenCounts.train * WordCounts.wordByteCountMax : 0
        // The characters that occur, and their numbers.
        let characters = UTF8Text.scalarRange * (1 + MemoryLayout<UInt16>.stride)
        return table + rows * Self.drawByteCount + words + characters + Self.fixedByteCount
    }
}
