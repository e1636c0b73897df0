/// How often each word of a text occurs.
///
/// Words are places in the text's bytes, which every call is given; nothing of them is copied. A hash table
/// with open addressing whose seed nobody knows, so that no text makes it slow.
struct WordCounts {
    private struct Word {
        let start: UInt32
        let byteCount: UInt32
        var count: UInt32

        var place: Range<Int> { Int(start)..<Int(start) + Int(byteCount) }
    }

    /// Bytes that a word takes at most: itself, and its slots when the table has just grown.
    static let wordByteCountMax = MemoryLayout<Word>.stride + 3 * MemoryLayout<UInt32>.stride

    /// Parts of a fixed size: one array would lie there twice whenever it grew.
    private var parts: [[Word]] = []
    /// The number of a word and 1, or 0; a power of two of them, of which three quarters are taken at most.
    private var slots = [UInt32](repeating: 0, count: 1 << 10)
    private(set) var count = 0

    private static let partCount = 1 << 14

    /// Counts the word at `place` of `bytes`.
    mutating func add(_ place: Range<Int>, in bytes: [UInt8]) {
        var slot = hash(place, in: bytes)
        while slots[slot] != 0 {
            let number = Int(slots[slot]) - 1
            let known = self[number]
            if known.place.count == place.count, bytes[known.place].elementsEqual(bytes[place]) {
                parts[number / Self.partCount][number % Self.partCount].count += 1
                return
            }
            slot = (slot + 1) & (slots.count - 1)
        }
        if count % Self.partCount == 0 {
            parts.append([])
            parts[parts.count - 1].reserveCapacity(Self.partCount)
        }
        parts[parts.count - 1].append(
            Word(start: UInt32(place.lowerBound), byteCount: UInt32(place.count), count: 1))
        count += 1
        slots[slot] = UInt32(count)
        if 4 * count > 3 * slots.count { grow(bytes) }
    }

    /// The places of the most frequent words, at most `limit`; those that are equally frequent in the order
    /// of their bytes.
    func mostFrequent(_ limit: Int, in bytes: [UInt8]) -> [Range<Int>] {
        func isBefore(_ left: Word, _ right: Word) -> Bool {
            left.count != right.count
                ? left.count > right.count
                : bytes[left.place].lexicographicallyPrecedes(bytes[right.place])
        }
        guard limit > 0 else { return [] }
        // The best so far, cut back whenever they are twice as many as wanted.
        var best: [Word] = []
        var last: Word?
        for word in parts.joined() {
            if let last, !isBefore(word, last) { continue }
            best.append(word)
            guard best.count >= 2 * limit else { continue }
            best.sort(by: isBefore)
            best.removeSubrange(limit...)
            last = best.last
        }
        best.sort(by: isBefore)
        return best.prefix(limit).map(\.place)
    }

    private subscript(number: Int) -> Word { parts[number / Self.partCount][number % Self.partCount] }

    private func hash(_ place: Range<Int>, in bytes: [UInt8]) -> Int {
        var hasher = Hasher()
        unsafe bytes[place].withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
        return hasher.finalize() & (slots.count - 1)
    }

    private mutating func grow(_ bytes: [UInt8]) {
        let slotCount = 2 * slots.count
        // Not beside the new ones.
        slots = []
        slots = [UInt32](repeating: 0, count: slotCount)
        for number in 0..<count {
            var slot = hash(self[number].place, in: bytes)
            while slots[slot] != 0 { slot = (slot + 1) & (slotCount - 1) }
            slots[slot] = UInt32(number + 1)
        }
    }
}
