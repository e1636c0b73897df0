/// Reads one object field by field, logging every violation and filling in every default.
///
/// ```swift
/// var reader = ObjectReader(body, as: Self.schema, at: "", log: log)
/// let epochs = reader.read(Self.epochs)
/// reader.finish()
/// try log.throwIfAny()
/// ```
public struct ObjectReader {
    /// Keys longer than this are not repeated in pointers.
    private static let echoedKeyLengthMax = 128

    /// Where the object is in the document (RFC 6901).
    public let pointer: String
    /// Where violations go.
    public let log: ViolationLog
    /// Every field read so far with its default filled in.
    public private(set) var resolved = JSONObject()

    private let object: JSONObject
    private let schema: ObjectSchema
    /// The value was no object: that is the one violation to report.
    private let isBroken: Bool

    /// Starts reading; logs `wrong_type` when `value` is not an object.
    ///
    /// - Parameters:
    ///   - value: The object.
    ///   - schema: The fields it may have.
    ///   - pointer: Where it is in the document.
    ///   - log: Where violations go.
    public init(_ value: JSONValue, as schema: ObjectSchema, at pointer: String, log: ViolationLog) {
        self.pointer = pointer
        self.log = log
        self.schema = schema
        let object = Decoding.object(value, pointer, log)
        self.object = object ?? JSONObject()
        isBroken = object == nil
    }

    /// Reads a field.
    ///
    /// - Parameter field: One of the schema's fields.
    /// - Returns: The member's value; the field's default when it is missing or after a violation.
    public mutating func read<Value>(_ field: Field<Value>) -> Value {
        guard let member = object[field.name] else {
            if field.isRequired {
                if !isBroken {
                    log.add(pointer(to: field.name), "missing_field", "\"\(field.name)\" is required")
                }
            } else {
                resolved[field.name] = field.encode(field.fallback)
            }
            return field.fallback
        }
        guard let value = field.decode(member, pointer(to: field.name), log) else { return field.fallback }
        resolved[field.name] = field.encode(value)
        return value
    }

    /// Reads a field that is an object, with a reader of its own.
    ///
    /// Unknown members are reported and the resolved object is taken over afterwards.
    ///
    /// - Parameters:
    ///   - field: One of the schema's fields, made by `.object`.
    ///   - assumesEmpty: Whether a missing object is read as `{}`, so that its defaults apply.
    ///   - body: Reads the members.
    /// - Returns: What `body` returned; `nil` without an object.
    public mutating func readObject<Result>(
        _ field: Field<JSONObject?>, assumesEmpty: Bool = false, _ body: (inout ObjectReader) -> Result
    ) -> Result? {
        guard let nested = field.nested else { preconditionFailure("\(field.name) is not an object field") }
        let isMissing = object[field.name] == nil && !field.isRequired
        guard let member = read(field) ?? (isMissing && assumesEmpty ? JSONObject() : nil) else { return nil }
        var reader = ObjectReader(.object(member), as: nested, at: pointer(to: field.name), log: log)
        let result = body(&reader)
        reader.finish()
        resolved[field.name] = .object(reader.resolved)
        return result
    }

    /// The member as it was sent.
    public func raw(_ name: String) -> JSONValue? { object[name] }

    /// Whether the member was sent at all.
    public func contains(_ name: String) -> Bool { object[name] != nil }

    /// The pointer to a member of this object.
    public func pointer(to name: String) -> String { JSONPointer.member(name, of: pointer) }

    /// Puts another value into `resolved`, for what is decided after reading.
    public mutating func resolve(_ name: String, as value: JSONValue) { resolved[name] = value }

    /// Takes a member out of `resolved`: one that means nothing beside the others, and would be refused.
    public mutating func forget(_ name: String) { resolved[name] = nil }

    /// Logs the members that the schema does not know.
    public mutating func finish() {
        for (key, _) in object.members where !schema.names.contains(key) {
            if log.isFull { return }
            let isEchoed = key.unicodeScalars.count <= Self.echoedKeyLengthMax
            log.add(
                isEchoed ? pointer(to: key) : pointer, "unknown_field",
                Spelling.complaint(unknown: "field", key, among: schema.fields.map(\.name)))
        }
    }
}
