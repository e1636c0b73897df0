import JSON

/// Makes parts of one document of schemas that were made to stand alone.
///
/// A schema that has an `$id` becomes a component, once, and what refers to the `$id` refers to that.
struct SchemaEmbedding {
    /// The components found so far, by name.
    private(set) var components: JSONObject = [:]

    /// The schema as a part of the document.
    mutating func embed(_ schema: JSONValue) -> JSONValue {
        switch schema {
        case .array(let elements): return .array(elements.map { embed($0) })
        case .object(let object):
            var part = JSONObject()
            for (key, value) in object.members where key != "$schema" && key != "$id" {
                if key == "$ref", let id = value.stringValue, !id.hasPrefix("#") {
                    part[key] = Self.reference(to: id)
                } else {
                    part[key] = embed(value)
                }
            }
            guard let id = object["$id"]?.stringValue else { return .object(part) }
            components[Self.name(of: id)] = .object(part)
            return ["$ref": Self.reference(to: id)]
        case .null, .bool, .integer, .number, .string: return schema
        }
    }

    /// A schema without an `$id` as a part of the document.
    static func part(of schema: JSONValue) -> JSONValue {
        var embedding = SchemaEmbedding()
        return embedding.embed(schema)
    }

    private static func reference(to id: String) -> JSONValue {
        .string("#/components/schemas/\(name(of: id))")
    }

    /// `Layer` for `urn:vintner:layer`.
    private static func name(of id: String) -> String {
        let word = id.split(separator: ":").last.map(String.init) ?? id
        return word.prefix(1).uppercased() + word.dropFirst()
    }
}
