/// Any JSON value, with integers kept exact and members kept in order.
///
/// The literal `nil` is JSON's `null`. Where a `JSONValue?` is wanted, `return nil` means "none", but the
/// `nil` of `condition ? value : nil` is read as `null`: use `if` there.
public enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// A number written without fraction or exponent that fits 64 bits.
    case integer(Int64)
    /// Any other number; NaN and infinities are encoded as `null`.
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)
}

extension JSONValue {
    /// Wraps a string, or makes `null`.
    public init(_ value: String?) { self = value.map(JSONValue.string) ?? .null }
    /// Wraps a double, or makes `null`.
    public init(_ value: Double?) { self = value.map(JSONValue.number) ?? .null }
    /// Wraps an integer, or makes `null`.
    public init(_ value: Int?) { self = value.map { .integer(Int64($0)) } ?? .null }
    /// Wraps an integer, or makes `null`.
    public init(_ value: Int64?) { self = value.map(JSONValue.integer) ?? .null }
    /// Wraps a boolean, or makes `null`.
    public init(_ value: Bool?) { self = value.map(JSONValue.bool) ?? .null }

    /// The text, when this is a string.
    public var stringValue: String? {
        if case .string(let value) = self { value } else { nil }
    }

    /// The integer, also when it was written as `3.0` or `3e2`; never rounded.
    public var intValue: Int? {
        switch self {
        case .integer(let value): Int(exactly: value)
        case .number(let value): Int(exactly: value)
        case .null, .bool, .string, .array, .object: nil
        }
    }

    /// The number as a double, also when it was written as an integer.
    public var doubleValue: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        case .null, .bool, .string, .array, .object: nil
        }
    }

    /// The truth value, when this is `true` or `false`.
    public var boolValue: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    /// The elements, when this is an array.
    public var arrayValue: [JSONValue]? {
        if case .array(let value) = self { value } else { nil }
    }

    /// The members, when this is an object.
    public var objectValue: JSONObject? {
        if case .object(let value) = self { value } else { nil }
    }

    /// Whether this is `null`.
    public var isNull: Bool { self == .null }

    /// The member `key` of an object; `nil` for anything that has none.
    public subscript(key: String) -> JSONValue? { objectValue?[key] }

    /// The element at `index` of an array; `nil` outside it and for anything else.
    public subscript(index: Int) -> JSONValue? {
        guard let elements = arrayValue, elements.indices.contains(index) else { return nil }
        return elements[index]
    }

    /// The value in a few words, for messages: scalars as written, containers by kind.
    public var summary: String {
        switch self {
        case .array(let elements): elements.isEmpty ? "an empty array" : "an array of \(elements.count)"
        case .object: "an object"
        case .string(let text) where text.utf8.count > 40:
            JSONValue.string(String(String.UnicodeScalarView(text.unicodeScalars.prefix(36))) + "...")
                .encoded()
        case .null, .bool, .integer, .number, .string: encoded()
        }
    }
}

extension JSONValue {
    /// Parses one JSON text (RFC 8259), strictly.
    ///
    /// Duplicate keys, lone surrogates, invalid UTF-8, numbers beyond a double and anything after
    /// the value are refused.
    ///
    /// - Parameters:
    ///   - bytes: The whole text, UTF-8 without a byte order mark.
    ///   - limits: How deep and how long it may be.
    /// - Throws: `JSONError` with the place of the first fault.
    public init(parsing bytes: some Collection<UInt8>, limits: JSONLimits = .standard) throws(JSONError) {
        var parser = JSONParser(Array(bytes), limits: limits)
        self = try parser.parse()
    }

    /// Parses one JSON text held in a string.
    public init(parsing text: String, limits: JSONLimits = .standard) throws(JSONError) {
        try self.init(parsing: text.utf8, limits: limits)
    }

    /// The value as UTF-8 bytes, members in order, doubles as the shortest text that reads back equal.
    ///
    /// - Parameter pretty: Whether to indent by two spaces and break lines.
    /// - Returns: A complete JSON text.
    public func encodedBytes(pretty: Bool = false) -> [UInt8] {
        var writer = JSONWriter(pretty: pretty)
        writer.value(self)
        return writer.finish()
    }

    /// The value as text; see `encodedBytes(pretty:)`.
    public func encoded(pretty: Bool = false) -> String {
        String(decoding: encodedBytes(pretty: pretty), as: UTF8.self)
    }
}

extension JSONValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByStringLiteral, ExpressibleByStringInterpolation,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    /// Makes `null`.
    public init(nilLiteral: ()) { self = .null }
    /// Makes a boolean.
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    /// Makes an integer.
    public init(integerLiteral value: Int64) { self = .integer(value) }
    /// Makes a number.
    public init(floatLiteral value: Double) { self = .number(value) }
    /// Makes a string.
    public init(stringLiteral value: String) { self = .string(value) }
    /// Makes an array.
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    /// Makes an object; the last of two equal keys wins.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(JSONObject(elements))
    }
}
