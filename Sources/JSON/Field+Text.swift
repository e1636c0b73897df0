extension Field where Value == Bool {
    /// `true` or `false`; required without a default.
    public static func bool(_ name: String, default: Bool? = nil, _ documentation: String) -> Field<Bool> {
        Field<Bool>(
            name, documentation, default: `default`, placeholder: false, constraints: ["type": "boolean"],
            decode: { Decoding.bool($0, $1, $2) }, encode: { .bool($0) })
    }
}

extension Field where Value == String {
    /// A string of at most `lengthMax` Unicode scalars, none of them control characters.
    ///
    /// Required without a default. A `pattern` is for the description: whoever reads the text checks it.
    public static func string(
        _ name: String, default: String? = nil, lengthMax: Int = 256, pattern: String? = nil,
        _ documentation: String
    ) -> Field<String> {
        var constraints = Decoding.stringConstraints(lengthMax: lengthMax)
        if let pattern { constraints["pattern"] = .string(pattern) }
        return Field<String>(
            name, documentation, default: `default`, placeholder: "", constraints: constraints,
            decode: { Decoding.string($0, lengthMax: lengthMax, $1, $2) }, encode: { .string($0) })
    }
}

extension Field where Value == String? {
    /// A string of at most `lengthMax` Unicode scalars or `null`, which is also the default.
    public static func optionalString(
        _ name: String, default: String? = nil, lengthMax: Int = 256, _ documentation: String
    ) -> Field<String?> {
        Field<String>.string(name, lengthMax: lengthMax, documentation).optional(default: `default`)
    }
}

extension Field where Value: RawRepresentable<String> & CaseIterable {
    /// One of the raw values of a type with at least one case; required without a default.
    public static func choice(
        _ name: String, of type: Value.Type = Value.self, default: Value? = nil, _ documentation: String
    ) -> Field<Value> {
        guard let first = `default` ?? type.allCases.first else {
            preconditionFailure("the choice \(name) has no case")
        }
        return Field<Value>(
            name, documentation, default: `default`, placeholder: first,
            constraints: ["type": "string", "enum": .array(type.allCases.map { .string($0.rawValue) })],
            decode: { Decoding.choice($0, of: Value.self, $1, $2) }, encode: { .string($0.rawValue) })
    }
}

extension Field where Value == JSONValue {
    /// Any value, to be checked by the reader's owner; `default` when missing, unless required.
    public static func raw(
        _ name: String, isRequired: Bool = false, default: JSONValue = .null, schema: JSONObject = [:],
        _ documentation: String
    ) -> Field<JSONValue> {
        Field<JSONValue>(
            name, documentation, default: isRequired ? nil : .some(`default`), placeholder: .null,
            constraints: schema, decode: { value, _, _ in value }, encode: { $0 })
    }
}
