/// Cuts text into words, from left to right.
///
/// A word is a run of letters, digits and underscores, with apostrophes inside it; every other character
/// that is not white space is a word of its own. Case is kept. Words are places in the text's bytes.
struct Words {
    private var index: Int
    private let end: Int

    /// Cuts what lies at `place` of well-formed UTF-8.
    init(at place: Range<Int>) { (index, end) = (place.lowerBound, place.upperBound) }

    /// The words of `text` in their order, as UTF-8.
    static func split(_ text: String) -> [[UInt8]] {
        let bytes = Array(text.utf8)
        var cutter = Words(at: bytes.indices)
        var words: [[UInt8]] = []
        while let word = cutter.next(in: bytes) { words.append(Array(bytes[word])) }
        return words
    }

    /// Where the next word lies in `bytes`, which are those of the text; `nil` at its end.
    mutating func next(in bytes: [UInt8]) -> Range<Int>? {
        var start: Int?
        while index < end {
            let (scalar, next) = Self.scalar(at: index, in: bytes)
            let isInside = start != nil && Self.isApostrophe(scalar) && next < end
            if Self.isPart(scalar) || isInside && Self.isPart(Self.scalar(at: next, in: bytes).scalar) {
                start = start ?? index
                index = next
                continue
            }
            if let start { return start..<index }
            let place = index..<next
            index = next
            if !Self.isBlank(scalar) { return place }
        }
        return start.map { $0..<end }
    }

    /// The scalar that starts at `index` of well-formed UTF-8, and where the next one does.
    private static func scalar(at index: Int, in bytes: [UInt8]) -> (scalar: Unicode.Scalar, next: Int) {
        let first = bytes[index]
        if first < 0x80 { return (Unicode.Scalar(first), index + 1) }
        let count = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        var value = UInt32(first) & (0x7F >> UInt32(count))
        for place in index + 1..<index + count { value = value << 6 | UInt32(bytes[place] & 0x3F) }
        guard let scalar = Unicode.Scalar(value) else { preconditionFailure("malformed UTF-8") }
        return (scalar, index + count)
    }

    private static func isApostrophe(_ scalar: Unicode.Scalar) -> Bool {
        scalar == "'" || scalar == "\u{2019}"
    }

    private static func isBlank(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case " ", "\u{9}"..."\u{D}": true
        case "\u{0}"..."\u{7F}": false
        default: scalar.properties.isWhitespace
        }
    }

    private static func isPart(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "A"..."Z", "0"..."9", "_": return true
        case "\u{0}"..."\u{7F}": return false
        default: break
        }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark: return true
        default: return scalar.properties.isAlphabetic || scalar.properties.numericType != nil
        }
    }
}
