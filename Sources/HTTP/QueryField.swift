public import JSON

/// What a route, and whoever describes it, need of a query parameter, whatever its value's type.
public protocol AnyQueryField: Sendable {
    /// The parameter's name; of a prefixed one how its names begin.
    var name: String { get }
    /// What it means, for people.
    var documentation: String { get }
    /// Whether leaving it out is a violation.
    var isRequired: Bool { get }
    /// How the value is written.
    var form: QueryForm { get }
    /// The value's JSON Schema, default included.
    var jsonSchema: JSONValue { get }
    /// Reads the value, as only `QueryField` can.
    func value(from reader: inout QueryReader) -> any Sendable
}

/// How a parameter's value is written.
public enum QueryForm: Sendable {
    /// As it is.
    case text
    /// Several, separated by commas.
    case commas
    /// As several parameters whose names begin alike: `label.k=v`.
    case prefix
}

/// One query parameter: its check, its default and its schema in a single declaration.
///
/// ```swift
/// static let limit = QueryField.integer("limit", default: 50, in: 1...1000, "The most that a page holds.")
/// let limit = request.query[Self.limit]
/// ```
/// Works for a query as `Field` does for a body: a route that names its fields refuses all others.
public struct QueryField<Value: Sendable>: AnyQueryField {
    public let name: String
    public let documentation: String
    public let isRequired: Bool
    public let form: QueryForm
    public let jsonSchema: JSONValue
    private let read: @Sendable (inout QueryReader) -> Value

    /// Makes a field with a check of its own.
    ///
    /// - Parameters:
    ///   - name: The parameter's name.
    ///   - documentation: What it means, for people.
    ///   - isRequired: Whether `read` logs a violation when it is missing.
    ///   - form: How the value is written.
    ///   - schema: The keywords of the value's JSON Schema.
    ///   - read: Reads the parameter `name`, or logs what is wrong with it and returns anything.
    public init(
        _ name: String, _ documentation: String, isRequired: Bool = false, form: QueryForm = .text,
        schema: JSONObject, read: @escaping @Sendable (inout QueryReader) -> Value
    ) {
        (self.name, self.documentation, self.isRequired) = (name, documentation, isRequired)
        (self.form, jsonSchema, self.read) = (form, .object(schema), read)
    }

    public func value(from reader: inout QueryReader) -> any Sendable { QueryValue(value: read(&reader)) }
}

/// A value that was read; in a box of its own, so that an absent optional is not taken for no value.
struct QueryValue<Value: Sendable>: Sendable {
    let value: Value
}

extension QueryField where Value == String? {
    /// A text; `nil` when missing.
    ///
    /// Its `pattern` is for the description: whoever reads the text checks it. Without one any text will do
    /// that a target can have.
    public static func text(
        _ name: String, lengthMax: Int = 256, pattern: String = QueryText.pattern, _ documentation: String
    ) -> QueryField {
        QueryField(
            name, documentation,
            schema: ["type": "string", "maxLength": JSONValue(lengthMax), "pattern": .string(pattern)]
        ) { $0.text(name, lengthMax: lengthMax) }
    }
}

/// What holds for every text in a query.
public enum QueryText {
    /// Without control characters, which no target may have.
    public static let pattern = #"^[^\x00-\x1F\x7F]*$"#
    /// The longest element of a list.
    public static let elementLengthMax = 128
}

extension QueryField where Value == [String] {
    /// Some of the words that are known only when the server starts, separated by commas; none when missing.
    public static func words(
        _ name: String, among words: [String], _ documentation: String
    ) -> QueryField {
        QueryField(name, documentation, form: .commas, schema: choices(among: words)) {
            $0.words(name, among: words) ?? []
        }
    }

    /// Texts, separated by commas; none when missing.
    public static func list(_ name: String, countMax: Int = 100, _ documentation: String) -> QueryField {
        QueryField(
            name, documentation, form: .commas,
            schema: [
                "type": "array",
                "items": [
                    "type": "string", "pattern": .string(QueryText.pattern),
                    "maxLength": JSONValue(QueryText.elementLengthMax),
                ], "maxItems": JSONValue(countMax),
            ]
        ) { $0.list(name, countMax: countMax) ?? [] }
    }
}

extension QueryField where Value == Int {
    /// An integer within `range`.
    public static func integer(
        _ name: String, default fallback: Int, in range: ClosedRange<Int>, _ documentation: String
    ) -> QueryField {
        var schema = QueryField<Int?>.constraints(range)
        schema["default"] = JSONValue(fallback)
        return QueryField(name, documentation, schema: schema) { $0.integer(name, in: range) ?? fallback }
    }
}

extension QueryField where Value == Int? {
    /// An integer within `range`; `nil` when missing.
    public static func optionalInteger(
        _ name: String, in range: ClosedRange<Int>, _ documentation: String
    ) -> QueryField {
        QueryField(name, documentation, schema: constraints(range)) { $0.integer(name, in: range) }
    }

    fileprivate static func constraints(_ range: ClosedRange<Int>) -> JSONObject {
        ["type": "integer", "minimum": JSONValue(range.lowerBound), "maximum": JSONValue(range.upperBound)]
    }
}

extension QueryField where Value == Double? {
    /// A finite number within `range`; `nil` when missing.
    public static func optionalNumber(
        _ name: String, in range: ClosedRange<Double>, _ documentation: String
    ) -> QueryField {
        QueryField(
            name, documentation,
            schema: [
                "type": "number", "minimum": .number(range.lowerBound), "maximum": .number(range.upperBound),
            ]
        ) { $0.number(name, in: range) }
    }
}

extension QueryField where Value == Bool {
    /// `true` or `false`; false when missing.
    public static func flag(_ name: String, _ documentation: String) -> QueryField {
        QueryField(name, documentation, schema: ["type": "boolean", "default": false]) { $0.flag(name) }
    }
}

extension QueryField where Value: RawRepresentable<String> & CaseIterable {
    /// One of the raw values of a type.
    public static func choice(
        _ name: String, of type: Value.Type = Value.self, default fallback: Value, _ documentation: String
    ) -> QueryField {
        let words = type.allCases.map { JSONValue.string($0.rawValue) }
        return QueryField(
            name, documentation,
            schema: ["type": "string", "enum": .array(words), "default": .string(fallback.rawValue)]
        ) { $0.choice(name, of: Value.self) ?? fallback }
    }
}

extension QueryField {
    /// Some of the raw values of a type, separated by commas; none when missing.
    public static func choices<Choice: RawRepresentable<String> & CaseIterable & Sendable>(
        _ name: String, of type: Choice.Type, _ documentation: String
    ) -> QueryField where Value == [Choice] {
        QueryField(
            name, documentation, form: .commas, schema: choices(among: type.allCases.map(\.rawValue))
        ) { $0.choices(name, of: Choice.self) ?? [] }
    }

    /// The schema of some of the words.
    fileprivate static func choices(among words: [String]) -> JSONObject {
        [
            "type": "array", "items": ["type": "string", "enum": .array(words.map(JSONValue.string))],
            "maxItems": 100,
        ]
    }
}

extension QueryField where Value == [String: String] {
    /// The parameters whose names begin with `prefix`, by what follows it.
    public static func texts(
        prefix: String, countMax: Int = 32, _ documentation: String
    ) -> QueryField {
        QueryField(
            prefix, documentation, form: .prefix,
            schema: [
                "type": "object", "maxProperties": JSONValue(countMax),
                "additionalProperties": ["type": "string", "pattern": .string(QueryText.pattern)],
            ]
        ) { $0.texts(prefix: prefix, countMax: countMax) }
    }
}
