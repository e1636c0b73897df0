/// What an identifier names; decides its prefix.
public protocol IdentifierSubject: Sendable {
    /// The letters in front of the underscore, such as `job`.
    static var prefix: String { get }
}

/// The subject of a `JobID`.
public enum JobSubject: IdentifierSubject {
    /// The letters in front of the underscore.
    public static let prefix = "job"
}

/// The subject of a `ModelID`.
public enum ModelSubject: IdentifierSubject {
    /// The letters in front of the underscore.
    public static let prefix = "mdl"
}

/// The subject of a `DatasetID`.
public enum DatasetSubject: IdentifierSubject {
    /// The letters in front of the underscore.
    public static let prefix = "dst"
}

/// The subject of an `EventID`.
public enum EventSubject: IdentifierSubject {
    /// The letters in front of the underscore.
    public static let prefix = "evt"
}

/// The name of one job, such as `job_01jd8q0v6h3m6f2k9x4r7t5w1z`.
public typealias JobID = Identifier<JobSubject>
/// The name of one stored model.
public typealias ModelID = Identifier<ModelSubject>
/// The name of one dataset.
public typealias DatasetID = Identifier<DatasetSubject>
/// The name of one event; later events of a job sort after earlier ones.
public typealias EventID = Identifier<EventSubject>

/// A prefixed ULID: 48 bits of milliseconds, then 80 random bits, in lower-case Crockford base 32.
///
/// Sorting the texts sorts by creation. Only the canonical spelling is accepted, so equal
/// identifiers have equal texts and a text is safe as a file name.
public struct Identifier<Subject: IdentifierSubject>: Hashable, Comparable, Sendable, CustomStringConvertible
{
    /// The whole text, prefix included.
    public let rawValue: String

    /// Parses the canonical text; `nil` for anything else.
    public init?(_ text: String) {
        guard Base32.isCanonical(text.utf8, prefix: Subject.prefix) else { return nil }
        rawValue = text
    }

    /// Writes 128 bits as a canonical text.
    init(milliseconds: UInt64, high: UInt16, low: UInt64) {
        rawValue = Subject.prefix + "_" + Base32.text(milliseconds: milliseconds, high: high, low: low)
    }

    /// The same as `rawValue`.
    public var description: String { rawValue }

    /// When the identifier was made, to the millisecond.
    public var createdAt: Timestamp {
        let digits = rawValue.utf8.dropFirst(Subject.prefix.utf8.count + 1).prefix(Base32.timeDigitCount)
        return Timestamp(milliseconds: digits.reduce(0) { $0 << 5 | Int64(Base32.value(of: $1) ?? 0) })
    }

    /// Orders by creation, then by the random part.
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// Crockford's base 32: no `i`, `l`, `o`, `u`.
enum Base32 {
    static let digits = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)
    static let timeDigitCount = 10
    static let digitCount = 26

    static func value(of digit: UInt8) -> Int? { digits.firstIndex(of: digit) }

    static func isCanonical(_ text: String.UTF8View, prefix: String) -> Bool {
        let head = Array((prefix + "_").utf8)
        guard text.count == head.count + digitCount, text.starts(with: head) else { return false }
        let body = Array(text.dropFirst(head.count))
        // 26 digits hold 130 bits: the first may not exceed 7.
        return (value(of: body[0]) ?? 32) < 8 && body.allSatisfy { value(of: $0) != nil }
    }

    static func text(milliseconds: UInt64, high: UInt16, low: UInt64) -> String {
        var bytes = [UInt8](repeating: 0, count: digitCount)
        for index in 0..<timeDigitCount {
            bytes[index] = digits[Int(milliseconds >> UInt64(45 - 5 * index) & 31)]
        }
        // 80 bits = 16 digits, taken from the low end.
        var (rest, carry) = (low, UInt64(high))
        for index in stride(from: digitCount - 1, through: timeDigitCount, by: -1) {
            bytes[index] = digits[Int(rest & 31)]
            rest = rest >> 5 | carry << 59
            carry >>= 5
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
