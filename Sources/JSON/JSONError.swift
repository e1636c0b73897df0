/// How long and how deep a JSON text may be.
public struct JSONLimits: Sendable, Equatable {
    /// Nested arrays and objects, the outermost included.
    public let depthMax: Int
    /// The length of the whole text.
    public let byteCountMax: Int

    /// 32 deep, 16 MiB long: more than any body or file header of ours needs.
    public static let standard = JSONLimits(depthMax: 32, byteCountMax: 16 << 20)

    /// Makes limits.
    public init(depthMax: Int, byteCountMax: Int) {
        self.depthMax = depthMax
        self.byteCountMax = byteCountMax
    }
}

/// A text that is not the JSON we accept, with the place of the first fault.
public struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was wrong.
    public enum Reason: Error, Equatable, Sendable {
        case tooLong(byteCount: Int, limit: Int)
        case tooDeep(limit: Int)
        case unexpectedEnd
        case unexpected(byte: UInt8, wanted: String)
        case duplicateKey(String)
        case invalidUTF8
        case invalidEscape
        case loneSurrogate
        case controlCharacter
        case invalidNumber
        case numberOutOfRange
    }

    /// What was wrong.
    public let reason: Reason
    /// Bytes before the fault.
    public let offset: Int
    /// The fault's line, from 1.
    public let line: Int
    /// The fault's byte within its line, from 1.
    public let column: Int

    /// What was wrong and where, safe to show to whoever sent the text.
    public var description: String { "\(text) at line \(line), column \(column) (byte \(offset))" }

    private var text: String {
        switch reason {
        case .tooLong(let byteCount, let limit): "\(byteCount) bytes are more than the \(limit) allowed"
        case .tooDeep(let limit): "nested deeper than \(limit) levels"
        case .unexpectedEnd: "the text ends too early"
        case .unexpected(let byte, let wanted): "expected \(wanted), found \(Self.name(of: byte))"
        case .duplicateKey(let key): "the key \(JSONValue.string(key).summary) appears twice"
        case .invalidUTF8: "a string is not valid UTF-8"
        case .invalidEscape: "a string has an unknown escape"
        case .loneSurrogate: "a string has half of a surrogate pair"
        case .controlCharacter: "a string has an unescaped control character"
        case .invalidNumber: "a number is malformed"
        case .numberOutOfRange: "a number is too large for a double"
        }
    }

    private static func name(of byte: UInt8) -> String {
        (0x21...0x7E).contains(byte) ? "\"\(Character(UnicodeScalar(byte)))\"" : "byte \(byte)"
    }
}
