extension SequenceInfo {
    /// Bytes of an array of its own, with its header and what the heap rounds up to, besides its elements.
    private static let arrayByteCount = 64
    /// An element of an array that grows: the array doubles, and the old one is still there.
    private static let growth = 3

    /// Bytes of a CSV file's rows while they are decoded, besides their text; an upper bound.
    ///
    /// A row of a few characters takes up to a hundred times its own length: texts and labels of each row are
    /// arrays, of which each text is another one.
    func decodingByteCount(_ counts: SplitCounts) -> Int {
        let rows = counts.train + counts.validation + counts.test
        let tokens = tokenCounts.train + tokenCounts.validation + tokenCounts.test
        let texts = labelling == .tokens ? tokens : rows
        let row = Self.growth * MemoryLayout<SequenceTable.Row>.stride + 2 * Self.arrayByteCount
        // A reference to the text, and a label's number.
        let text = Self.arrayByteCount + Self.growth * 2 * MemoryLayout<Int>.stride
        // Each training word may be a new one: an array, its entry in the table of counts, which is at least
        // three eighths full, and in the sorted copy.
        let entry = Self.arrayByteCount + 4 * 2 * MemoryLayout<Int>.stride
        let words = settings.unit == .word ? tokenCounts.train * entry : 0
        let numbers = Self.growth * MemoryLayout<UInt16>.stride * tokens
        // The characters that occur, and their numbers.
        let characters = UTF8Text.scalarRange * (1 + MemoryLayout<UInt16>.stride)
        return rows * row + texts * text + words + numbers + characters
    }
}
