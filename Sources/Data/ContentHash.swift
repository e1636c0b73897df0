import Files

/// The hash of what a dataset of tokens decodes to: changes when the files or the way of reading them do.
struct ContentHash {
    private var hash = SHA256()

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
        let little = numbers.map(\.littleEndian)
        unsafe hash.update(little.span.bytes)
    }

    /// Adds numbers with their count, each as eight bytes.
    mutating func add(_ numbers: [Int]) {
        add(numbers.count)
        let little = numbers.map(\.littleEndian)
        unsafe hash.update(little.span.bytes)
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
