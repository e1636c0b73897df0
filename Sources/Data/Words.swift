/// Cuts text into words.
///
/// A word is a run of letters, digits and underscores, with apostrophes inside it; every other character
/// that is not white space is a word of its own. Case is kept.
enum Words {
    /// The words of `text` in their order, as UTF-8.
    static func split(_ text: String) -> [[UInt8]] {
        let scalars = Array(text.unicodeScalars)
        var words: [[UInt8]] = []
        var word: [UInt8] = []
        func isInside(_ index: Int) -> Bool {
            isApostrophe(scalars[index]) && index + 1 < scalars.count && isPart(scalars[index + 1])
        }
        for (index, scalar) in scalars.enumerated() {
            if isPart(scalar) || (!word.isEmpty && isInside(index)) {
                word += Array(String(scalar).utf8)
                continue
            }
            if !word.isEmpty { words.append(word) }
            word = []
            if !scalar.properties.isWhitespace { words.append(Array(String(scalar).utf8)) }
        }
        if !word.isEmpty { words.append(word) }
        return words
    }

    private static func isApostrophe(_ scalar: Unicode.Scalar) -> Bool {
        scalar == "'" || scalar == "\u{2019}"
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
