/// The fields of one kind of object; validates by `ObjectReader`, documents itself as JSON Schema.
public struct ObjectSchema: Sendable {
    /// The kind's name.
    public let title: String
    /// What it is, for people.
    public let documentation: String
    /// The members it may have.
    public let fields: [any AnyField]
    let names: Set<String>

    /// Makes a schema; the fields' names must differ.
    public init(_ title: String, _ documentation: String, fields: [any AnyField]) {
        names = Set(fields.map(\.name))
        precondition(names.count == fields.count, "\(title) has a field twice")
        self.title = title
        self.documentation = documentation
        self.fields = fields
    }

    /// The schema as a document of its own (JSON Schema draft 2020-12).
    public func jsonSchema() -> JSONValue {
        var schema: JSONObject = ["$schema": "https://json-schema.org/draft/2020-12/schema"]
        for (key, value) in nestedSchema.members { schema[key] = value }
        return .object(schema)
    }

    /// The same for one alternative of several, which a member tells apart.
    public func jsonSchema(where name: String, is value: String) -> JSONValue {
        var schema = jsonSchema().objectValue ?? [:]
        var properties = schema["properties"]?.objectValue ?? [:]
        properties[name] = ["const": .string(value)]
        schema["properties"] = .object(properties)
        return .object(schema)
    }

    /// The schema for use within another.
    var nestedSchema: JSONObject {
        var schema: JSONObject = [
            "title": .string(title), "description": .string(documentation), "type": "object",
            "properties": .object(JSONObject(fields.map { ($0.name, $0.jsonSchema) })),
        ]
        let required = fields.filter(\.isRequired).map { JSONValue.string($0.name) }
        if !required.isEmpty { schema["required"] = .array(required) }
        schema["additionalProperties"] = false
        return schema
    }
}
