import JSON

/// A JSON Schema of something that the service says, put together from a few words.
///
/// Uses only what `JSONSchemaValidator` of the tests checks, so that no keyword is a mere ornament.
struct Shape: Sendable {
    private(set) var keywords: JSONObject

    init(_ keywords: JSONObject) { self.keywords = keywords }

    var json: JSONValue { .object(keywords) }

    /// Anything at all.
    static let any = Shape([:])
    static let text = Shape(["type": "string"])
    /// What a part of a path may be: nothing that leads elsewhere.
    static let segment = Shape(["type": "string", "pattern": #"^(?!\.{1,2}$)[^\x00-\x1F\x7F/\\]+$"#])
    static let flag = Shape(["type": "boolean"])
    static let integer = Shape(["type": "integer"])
    static let count = Shape(["type": "integer", "minimum": 0])
    static let number = Shape(["type": "number"])
    /// A number that may be no number: JSON has no other word for it.
    static let reading = Shape.number.orNull
    static let time = Shape.number.about("Unix seconds.")
    /// An object of which the service says no more.
    static let anyObject = Shape(["type": "object"])

    /// A text that is always the same.
    static func constant(_ text: String) -> Shape { Shape(["const": .string(text)]) }

    /// One of a type's raw values.
    static func word<Word: RawRepresentable<String> & CaseIterable>(of type: Word.Type) -> Shape {
        words(type.allCases.map(\.rawValue))
    }

    static func words(_ words: [String]) -> Shape {
        Shape(["type": "string", "enum": .array(words.map { .string($0) })])
    }

    /// An identifier: its prefix and a ULID.
    static func identifier(_ prefix: String) -> Shape {
        Shape(["type": "string", "pattern": .string(identifierPattern(prefix))])
    }

    static func identifierPattern(_ prefix: String) -> String { "^\(prefix)_[0-7][0-9a-hjkmnp-tv-z]{25}$" }

    static func array(of element: Shape) -> Shape { Shape(["type": "array", "items": element.json]) }

    /// An object with members of one shape under any name.
    static func map(of member: Shape) -> Shape {
        Shape(["type": "object", "additionalProperties": member.json])
    }

    /// An object with the given members; others may be added in later versions.
    ///
    /// - Parameters:
    ///   - documentation: What it is.
    ///   - members: What it has, in order.
    ///   - optional: Which of them may be missing.
    ///   - isOpen: Whether it has members today that are not listed.
    /// - Returns: The schema.
    static func object(
        _ documentation: String, _ members: KeyValuePairs<String, Shape>, optional: Set<String> = [],
        isOpen: Bool = false
    ) -> Shape {
        var keywords: JSONObject = [
            "description": .string(documentation), "type": "object",
            "properties": .object(JSONObject(members.map { ($0.key, $0.value.json) })),
        ]
        let required = members.map(\.key).filter { !optional.contains($0) }
        if !required.isEmpty { keywords["required"] = .array(required.map { .string($0) }) }
        if isOpen { keywords["additionalProperties"] = true }
        return Shape(keywords)
    }

    /// What another component of the document says.
    static func component(_ name: String) -> Shape {
        Shape(["$ref": .string("#/components/schemas/\(name)")])
    }

    static func resource(_ resource: Resource) -> Shape { component(resource.rawValue) }

    /// One of two resources.
    static func either(_ one: Resource, _ other: Resource) -> Shape {
        Shape(["oneOf": [resource(one).json, resource(other).json]])
    }

    /// The same, or `null`.
    var orNull: Shape {
        guard let type = keywords["type"] else { return Shape(["anyOf": [json, ["type": "null"]]]) }
        var shape = self
        shape.keywords["type"] = [type, "null"]
        if let words = keywords["enum"]?.arrayValue { shape.keywords["enum"] = .array(words + [.null]) }
        return shape
    }

    /// The same with a sentence for people.
    func about(_ documentation: String) -> Shape {
        var shape = self
        shape.keywords["description"] = .string(documentation)
        return shape
    }

    /// The same, as a number from `least` to `most`.
    func within(_ least: Double, _ most: Double) -> Shape {
        var shape = self
        shape.keywords["minimum"] = .number(least)
        shape.keywords["maximum"] = .number(most)
        return shape
    }

    /// The members of an object without some of them.
    func without(_ names: Set<String>) -> Shape {
        var shape = self
        let members = keywords["properties"]?.objectValue?.members ?? []
        shape.keywords["properties"] = .object(
            JSONObject(members.filter { !names.contains($0.key) }.map { ($0.key, $0.value) }))
        let required = keywords["required"]?.arrayValue ?? []
        shape.keywords["required"] = .array(required.filter { !names.contains($0.stringValue ?? "") })
        return shape
    }

    /// An object with one more member that is always there.
    func with(_ name: String, _ member: Shape) -> Shape {
        var shape = self
        var members = keywords["properties"]?.objectValue ?? [:]
        members[name] = member.json
        shape.keywords["properties"] = .object(members)
        shape.keywords["required"] = .array((keywords["required"]?.arrayValue ?? []) + [.string(name)])
        return shape
    }
}
