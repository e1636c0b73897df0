public import JSON

/// Checks values against JSON Schemas (draft 2020-12), by the keywords that ours use and no others.
public struct JSONSchemaValidator {
    private static let annotations: Set = ["$schema", "title", "description", "default", "discriminator"]
    /// The document that `$ref` points into.
    private let document: JSONValue
    /// Whether a member that no schema names is a fault unless `additionalProperties` lets it pass.
    private let isStrict: Bool

    public init(document: JSONValue = [:], isStrict: Bool = false) {
        (self.document, self.isStrict) = (document, isStrict)
    }

    /// What is wrong with a value, each fault with its place; a keyword that is not known is a fault too.
    public func faults(of value: JSONValue, against schema: JSONValue, at place: String = "") -> [String] {
        guard let keywords = schema.objectValue else {
            return schema == true ? [] : ["\(place) must not be there"]
        }
        var found = keywords.members.flatMap { keyword, argument in
            faults(of: value, by: keyword, argument, among: keywords, at: place)
        }
        if isStrict, let known = keywords["properties"]?.objectValue, keywords["additionalProperties"] == nil
        {
            let unknown = (value.objectValue?.keys ?? []).filter { known[$0] == nil }
            found += unknown.map { "\(place)/\($0) is not described" }
        }
        return found
    }

    private func faults(
        of value: JSONValue, by keyword: String, _ argument: JSONValue, among keywords: JSONObject,
        at place: String
    ) -> [String] {
        switch keyword {
        case _ where Self.annotations.contains(keyword): return []
        case "$ref":
            guard let target = resolve(argument.stringValue ?? "") else {
                return ["\(place): \(argument.encoded()) leads nowhere"]
            }
            return faults(of: value, against: target, at: place)
        case "type":
            let names = argument.arrayValue ?? [argument]
            return names.contains { Self.isOf($0, value) }
                ? [] : ["\(place) should be \(argument.encoded()), is \(value.summary)"]
        case "const": return value == argument ? [] : ["\(place) is not \(argument.encoded())"]
        case "enum":
            return argument.arrayValue?.contains(value) == true
                ? [] : ["\(place) is \(value.summary), none of \(argument.encoded())"]
        case "anyOf", "oneOf":
            let tried = (argument.arrayValue ?? []).map { faults(of: value, against: $0, at: place) }
            let count = tried.count { $0.isEmpty }
            return count == 1 || count > 1 && keyword == "anyOf"
                ? [] : ["\(place) fits \(count) of \(keyword): \(tried)"]
        default:
            return faults(ofMembers: value, by: keyword, argument, among: keywords, at: place)
                ?? faults(ofSize: value, by: keyword, argument, at: place)
                ?? ["\(place): the keyword \(keyword) is not known"]
        }
    }

    private func faults(
        ofMembers value: JSONValue, by keyword: String, _ argument: JSONValue, among keywords: JSONObject,
        at place: String
    ) -> [String]? {
        let members = value.objectValue?.members ?? []
        switch keyword {
        case "properties":
            return members.flatMap { key, member in
                argument[key].map { faults(of: member, against: $0, at: "\(place)/\(key)") } ?? []
            }
        case "required":
            guard let object = value.objectValue else { return [] }
            return (argument.arrayValue ?? []).compactMap(\.stringValue).filter { object[$0] == nil }
                .map { "\(place)/\($0) is missing" }
        case "additionalProperties":
            let known = keywords["properties"]
            return members.filter { known?[$0.key] == nil }.flatMap { key, member in
                faults(of: member, against: argument, at: "\(place)/\(key)")
            }
        case "propertyNames":
            return members.flatMap { key, _ in
                faults(of: .string(key), against: argument, at: "\(place)/\(key)")
            }
        case "items":
            return (value.arrayValue ?? []).enumerated().flatMap { index, element in
                faults(of: element, against: argument, at: "\(place)/\(index)")
            }
        default: return nil
        }
    }

    private func faults(
        ofSize value: JSONValue, by keyword: String, _ argument: JSONValue, at place: String
    ) -> [String]? {
        let limit = argument.doubleValue ?? .nan
        let (number, length) = (value.doubleValue, value.stringValue.map { Double($0.unicodeScalars.count) })
        let count = value.arrayValue.map { Double($0.count) }
        let holds: Bool
        switch keyword {
        case "minimum": holds = number.map { $0 >= limit } ?? true
        case "maximum": holds = number.map { $0 <= limit } ?? true
        case "exclusiveMinimum": holds = number.map { $0 > limit } ?? true
        case "exclusiveMaximum": holds = number.map { $0 < limit } ?? true
        case "minLength": holds = length.map { $0 >= limit } ?? true
        case "maxLength": holds = length.map { $0 <= limit } ?? true
        case "minItems": holds = count.map { $0 >= limit } ?? true
        case "maxItems": holds = count.map { $0 <= limit } ?? true
        case "maxProperties": holds = value.objectValue.map { Double($0.count) <= limit } ?? true
        case "pattern":
            guard let text = value.stringValue else { return [] }
            guard let pattern = try? Regex(argument.stringValue ?? "(") else {
                return ["\(place): no pattern"]
            }
            holds = text.firstMatch(of: pattern) != nil
        default: return nil
        }
        return holds ? [] : ["\(place) is \(value.summary): \(keyword) is \(argument.encoded())"]
    }

    /// The place in the document that a reference names; `nil` where there is none.
    public func resolve(_ reference: String) -> JSONValue? {
        guard reference.hasPrefix("#/") else { return nil }
        return reference.dropFirst(2).split(separator: "/").reduce(Optional(document)) { place, part in
            place?[String(part.replacing("~1", with: "/").replacing("~0", with: "~"))]
        }
    }

    private static func isOf(_ type: JSONValue, _ value: JSONValue) -> Bool {
        switch type.stringValue {
        case "null": value.isNull
        case "boolean": value.boolValue != nil
        case "integer": value.intValue != nil
        case "number": value.doubleValue != nil
        case "string": value.stringValue != nil
        case "array": value.arrayValue != nil
        case "object": value.objectValue != nil
        default: false
        }
    }
}
