/// What the reader and the schema need of a field, whatever its value's type.
public protocol AnyField: Sendable {
    /// The member's key.
    var name: String { get }
    /// Whether leaving it out is a violation.
    var isRequired: Bool { get }
    /// The field's JSON Schema.
    var jsonSchema: JSONValue { get }
}

/// One member of an object: its check, its default and its schema in a single declaration.
///
/// ```swift
/// static let epochs = Field.integer("epochs", default: 5, in: 1...10_000, "Passes over the training split.")
/// let epochs = reader.read(Self.epochs)
/// ```
/// A field without a default is required. `Field<V?>` also accepts `null`, which means "off".
public struct Field<Value: Sendable>: AnyField {
    /// Turns a member's value into `Value`, or logs a violation at the pointer and returns `nil`.
    typealias Decode = @Sendable (JSONValue, String, ViolationLog) -> Value?

    public let name: String
    public let isRequired: Bool
    /// What the field means, for people.
    public let documentation: String
    /// What `read` returns when the member is missing or wrong.
    public let fallback: Value
    /// The schema's keywords without description and default.
    let constraints: JSONObject
    /// The fields of the object that the value is, when it is one.
    let nested: ObjectSchema?
    let decode: Decode
    let encode: @Sendable (Value) -> JSONValue

    /// Makes a field.
    ///
    /// - Parameters:
    ///   - name: The member's key.
    ///   - documentation: What it means, for people.
    ///   - default: The value of a missing member; `nil` makes the field required.
    ///   - placeholder: What `read` returns after a violation when there is no default.
    ///   - constraints: JSON Schema keywords, such as `type` and `minimum`.
    ///   - nested: The fields of the object that the value is.
    ///   - decode: Checks and converts a member.
    ///   - encode: The inverse, for the default and the resolved document.
    init(
        _ name: String, _ documentation: String, default: Value?, placeholder: Value, constraints: JSONObject,
        nested: ObjectSchema? = nil, decode: @escaping Decode,
        encode: @escaping @Sendable (Value) -> JSONValue
    ) {
        self.name = name
        self.documentation = documentation
        self.isRequired = `default` == nil
        self.fallback = `default` ?? placeholder
        self.constraints = constraints
        self.nested = nested
        self.decode = decode
        self.encode = encode
    }

    public var jsonSchema: JSONValue {
        var schema = constraints
        schema["description"] = .string(documentation)
        if !isRequired { schema["default"] = encode(fallback) }
        return .object(schema)
    }

    /// A value as the member that reads back as it.
    public func json(of value: Value) -> JSONValue { encode(value) }

    /// The same field that also accepts `null`; without a default it is `null`, not required.
    func optional(default: Value?) -> Field<Value?> {
        var constraints = constraints
        constraints["type"] = constraints["type"].map { .array([$0, "null"]) }
        return Field<Value?>(
            name, documentation, default: .some(`default`), placeholder: nil, constraints: constraints,
            decode: { [decode] value, pointer, log in
                value.isNull ? .some(nil) : decode(value, pointer, log).map(Optional.some)
            },
            encode: { [encode] in $0.map(encode) ?? .null })
    }

    /// The same field that also accepts `"auto"`; without a default it is `"auto"`, not required.
    public func automatic(default: Automatic<Value>) -> Field<Automatic<Value>> {
        let chosen: JSONValue = .object(constraints)
        return Field<Automatic<Value>>(
            name, documentation, default: `default`, placeholder: .automatic,
            constraints: ["anyOf": [["const": "auto"], chosen]],
            decode: { [decode] value, pointer, log in
                if value == "auto" { return .automatic }
                if case .string = value {
                    log.add(pointer, "wrong_type", "expected \"auto\" or a number, found \(value.summary)")
                    return nil
                }
                return decode(value, pointer, log).map(Automatic.value)
            },
            encode: { [encode] automatic in
                switch automatic {
                case .automatic: "auto"
                case .value(let value): encode(value)
                }
            })
    }
}

/// A value that the service may choose itself: `"auto"` in JSON.
public enum Automatic<Value: Sendable>: Sendable {
    case automatic
    case value(Value)

    /// The value, or what the service chose.
    public func resolved(_ choice: @autoclosure () -> Value) -> Value {
        switch self {
        case .automatic: choice()
        case .value(let value): value
        }
    }
}

extension Automatic: Equatable where Value: Equatable {}
