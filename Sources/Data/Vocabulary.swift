public import JSON

/// What token numbers mean.
///
/// Numbers that stand for no text come first: none for running text; for sequences 0 is padding and, unless
/// tokens are bytes, 1 is what the vocabulary does not know. Then come the bytes, the characters in the order
/// of their scalars, or the words by falling frequency.
public struct Vocabulary: Sendable, Equatable {
    /// What a token is.
    public let unit: TokenUnit
    /// Numbers in front that stand for no text.
    public let reservedCount: Int
    /// The text of each further token; none where tokens are bytes.
    public let entries: [String]
    /// By UTF-8, because strings that look the same compare as equal whatever their scalars are.
    private let numbers: [[UInt8]: UInt16]

    /// Pads sequences to the model's length.
    public static let padding: Int32 = 0
    /// Stands for what the vocabulary does not know.
    public static let unknown: UInt16 = 1

    init(unit: TokenUnit, reservedCount: Int, entries: [String]) {
        (self.unit, self.reservedCount, self.entries) = (unit, reservedCount, entries)
        var numbers: [[UInt8]: UInt16] = [:]
        numbers.reserveCapacity(entries.count)
        for (index, entry) in entries.enumerated() {
            numbers[Array(entry.utf8)] = UInt16(index + reservedCount)
        }
        self.numbers = numbers
    }

    /// Number of different tokens.
    public var count: Int { reservedCount + (unit == .byte ? 256 : entries.count) }

    /// Whether there is a token for what is not known.
    var knowsUnknown: Bool { reservedCount > Int(Self.unknown) }

    /// The token of a character or word.
    func number(of entry: [UInt8]) -> UInt16? { numbers[entry] ?? (knowsUnknown ? Self.unknown : nil) }

    /// Cuts `text` into tokens.
    ///
    /// - Returns: `nil` when a character is not in the vocabulary and there is no token for such.
    public func encode(_ text: String) -> [Int32]? {
        var tokens: [Int32] = []
        switch unit {
        case .byte: return text.utf8.map { Int32($0) + Int32(reservedCount) }
        case .char:
            for scalar in text.unicodeScalars {
                guard let number = number(of: Array(String(scalar).utf8)) else { return nil }
                tokens.append(Int32(number))
            }
        case .word:
            for word in Words.split(text) {
                guard let number = number(of: word) else { return nil }
                tokens.append(Int32(number))
            }
        }
        return tokens
    }

    /// The text of tokens: words with spaces between, nothing for padding, `<unk>` for the unknown one.
    public func decode(_ tokens: [Int32]) -> String {
        switch unit {
        case .byte:
            let first = Int32(reservedCount)
            return String(decoding: tokens.compactMap { UInt8(exactly: $0 - first) }, as: UTF8.self)
        case .char, .word:
            let parts = tokens.compactMap { token -> String? in
                let index = Int(token) - reservedCount
                if entries.indices.contains(index) { return entries[index] }
                return knowsUnknown && token == Int32(Self.unknown) ? "<unk>" : nil
            }
            return parts.joined(separator: unit == .word ? " " : "")
        }
    }

    /// As it is kept with a model.
    public var json: JSONValue {
        [
            "tokens": .string(unit.rawValue), "reserved": JSONValue(reservedCount),
            "entries": .array(entries.map { .string($0) }),
        ]
    }

    /// Reads what `json` wrote; `nil` when it is anything else.
    public init?(_ json: JSONValue) {
        guard let unit = json["tokens"]?.stringValue.flatMap(TokenUnit.init),
            let reserved = json["reserved"]?.intValue, (0...2).contains(reserved),
            let values = json["entries"]?.arrayValue, values.count <= TextSettings.vocabularyMax - reserved
        else { return nil }
        let entries = values.compactMap(\.stringValue)
        guard entries.count == values.count, (unit == .byte) == entries.isEmpty else { return nil }
        self.init(unit: unit, reservedCount: reserved, entries: entries)
        guard numbers.count == entries.count else { return nil }
    }
}
