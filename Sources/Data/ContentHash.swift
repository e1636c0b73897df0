import Files

/// The hash of what a dataset of tokens decodes to: changes when the files or the way of reading them do.
struct ContentHash {
    private var hash = SHA256()
    private static let pieceCount = 1 << 14

    /// Begins with the name of the layout that is hashed.
    init(_ layout: String) { hash.update(Array("\(layout)\n".utf8)) }

    /// Adds a number.
    mutating func add(_ number: Int) {
        hash.update((0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) })
    }

    /// Adds a text with its length.
    mutating func add(_ text: String) {
        let bytes = Array(text.utf8)
        add(bytes.count)
        hash.update(bytes)
    }

    /// Adds numbers with their count, each as two bytes, the lower one first.
    mutating func add(_ numbers: ArraySlice<UInt16>) {
        add(numbers.count)
        inPieces(numbers) { $0.littleEndian }
    }

    /// Adds numbers with their count, each as eight bytes.
    mutating func add(_ numbers: [UInt32]) {
        add(numbers.count)
        inPieces(numbers[...]) { UInt64($0).littleEndian }
    }

    /// As a whole they would lie there twice.
    private mutating func inPieces<Number, Wide: FixedWidthInteger & BitwiseCopyable>(
        _ numbers: ArraySlice<Number>, _ widen: (Number) -> Wide
    ) {
        var rest = numbers
        while !rest.isEmpty {
            let little = rest.prefix(Self.pieceCount).map(widen)
            unsafe hash.update(little.span.bytes)
            rest = rest.dropFirst(Self.pieceCount)
        }
    }

    /// Adds what tokens mean.
    mutating func add(_ vocabulary: Vocabulary) {
        add(vocabulary.unit.rawValue)
        add(vocabulary.reservedCount)
        add(vocabulary.entries.count)
        for entry in vocabulary.entries { add(entry) }
    }

    /// Hex digits of the hash so far.
    var hex: String { hash.digest().hex }
}
