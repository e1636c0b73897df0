extension Field where Value == [Int] {
    /// An array of integers; required without a default.
    public static func integers(
        _ name: String, default: [Int]? = nil, count: ClosedRange<Int>, each range: ClosedRange<Int>,
        _ documentation: String
    ) -> Field<[Int]> {
        Field<[Int]>(
            name, documentation, default: `default`, placeholder: [],
            constraints: arrayConstraints(.object(Field<Int>.integerConstraints(range)), count: count),
            decode: { value, pointer, log in
                Decoding.array(value, of: "integers", count: count, pointer, log) {
                    Decoding.integer($0, in: range, $1, log)
                }
            },
            encode: { .array($0.map { JSONValue($0) }) })
    }
}

extension Field where Value == [Int]? {
    /// An array of integers or `null`, which is also the default.
    public static func optionalIntegers(
        _ name: String, default: [Int]? = nil, count: ClosedRange<Int>, each range: ClosedRange<Int>,
        _ documentation: String
    ) -> Field<[Int]?> {
        Field<[Int]>.integers(name, count: count, each: range, documentation).optional(default: `default`)
    }
}

extension Field where Value == [Double] {
    /// An array of numbers; required without a default.
    public static func numbers(
        _ name: String, default: [Double]? = nil, count: ClosedRange<Int>, each range: ClosedRange<Double>,
        _ documentation: String
    ) -> Field<[Double]> {
        let interval = NumberInterval(range: range, excludesMinimum: false, excludesMaximum: false)
        return Field<[Double]>(
            name, documentation, default: `default`, placeholder: [],
            constraints: arrayConstraints(.object(interval.constraints), count: count),
            decode: { value, pointer, log in
                Decoding.array(value, of: "numbers", count: count, pointer, log) {
                    Decoding.number($0, in: interval, $1, log)
                }
            },
            encode: { .array($0.map(JSONValue.number)) })
    }
}

extension Field where Value == [String] {
    /// An array of strings; required without a default.
    public static func strings(
        _ name: String, default: [String]? = nil, count: ClosedRange<Int>, lengthMax: Int = 256,
        _ documentation: String
    ) -> Field<[String]> {
        let element: JSONValue = .object(Decoding.stringConstraints(lengthMax: lengthMax))
        return Field<[String]>(
            name, documentation, default: `default`, placeholder: [],
            constraints: arrayConstraints(element, count: count),
            decode: { value, pointer, log in
                Decoding.array(value, of: "strings", count: count, pointer, log) {
                    Decoding.string($0, lengthMax: lengthMax, $1, log)
                }
            },
            encode: { .array($0.map(JSONValue.string)) })
    }
}

extension Field where Value == [JSONValue] {
    /// An array whose elements the reader's owner checks, such as layers; required without a default.
    public static func values(
        _ name: String, default: [JSONValue]? = nil, count: ClosedRange<Int>, element: JSONValue = [:],
        _ documentation: String
    ) -> Field<[JSONValue]> {
        Field<[JSONValue]>(
            name, documentation, default: `default`, placeholder: [],
            constraints: arrayConstraints(element, count: count),
            decode: { value, pointer, log in
                Decoding.array(value, of: "values", count: count, pointer, log) { element, _ in element }
            },
            encode: { .array($0) })
    }
}

extension Field where Value == [JSONValue]? {
    /// An array of objects that the reader's owner checks, or `null`, which is also the default.
    public static func optionalObjects(
        _ name: String, count: ClosedRange<Int>, each schema: ObjectSchema, _ documentation: String
    ) -> Field<[JSONValue]?> {
        Field<[JSONValue]>.values(
            name, count: count, element: .object(schema.nestedSchema), documentation
        ).optional(default: nil)
    }
}

extension Field where Value == [String: String] {
    /// An object of strings, such as labels; empty when missing.
    public static func texts(
        _ name: String, countMax: Int, lengthMax: Int, _ documentation: String
    ) -> Field<[String: String]> {
        Field<[String: String]>(
            name, documentation, default: [:], placeholder: [:],
            constraints: [
                "type": "object", "maxProperties": JSONValue(countMax),
                "propertyNames": .object(Decoding.stringConstraints(lengthMin: 1, lengthMax: lengthMax)),
                "additionalProperties": .object(Decoding.stringConstraints(lengthMax: lengthMax)),
            ],
            decode: { value, pointer, log in
                guard let object = Decoding.object(value, pointer, log) else { return nil }
                guard object.count <= countMax else {
                    log.add(
                        pointer, "out_of_range", "expected at most \(countMax) members, found \(object.count)"
                    )
                    return nil
                }
                return texts(of: object, lengthMax: lengthMax, pointer, log)
            },
            encode: { texts in
                .object(JSONObject(texts.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))
            })
    }

    private static func texts(
        of object: JSONObject, lengthMax: Int, _ pointer: String, _ log: ViolationLog
    ) -> [String: String]? {
        var texts: [String: String] = [:]
        for (key, value) in object.members {
            guard key.unicodeScalars.count <= lengthMax, !key.isEmpty else {
                log.add(pointer, "invalid_value", "expected keys of 1 to \(lengthMax) characters")
                return nil
            }
            if let control = Decoding.controlCharacter(in: key) {
                log.add(
                    pointer, "invalid_value", "expected keys without control characters, found \(control)")
                return nil
            }
            let place = JSONPointer.member(key, of: pointer)
            texts[key] = Decoding.string(value, lengthMax: lengthMax, place, log)
        }
        return texts.count == object.count ? texts : nil
    }
}

extension Field where Value == JSONObject? {
    /// An object with fields of its own, read with `ObjectReader.readObject`; `nil` when missing or `null`.
    public static func object(
        _ name: String, _ schema: ObjectSchema, isRequired: Bool = false, _ documentation: String
    ) -> Field<JSONObject?> {
        var constraints = schema.nestedSchema
        if !isRequired { constraints["type"] = ["object", "null"] }
        return Field<JSONObject?>(
            name, documentation, default: isRequired ? nil : .some(nil), placeholder: nil,
            constraints: constraints, nested: schema,
            decode: { value, pointer, log in
                value.isNull && !isRequired
                    ? .some(nil) : Decoding.object(value, pointer, log).map(Optional.some)
            },
            encode: { $0.map(JSONValue.object) ?? .null })
    }
}

/// The schema of an array.
private func arrayConstraints(_ element: JSONValue, count: ClosedRange<Int>) -> JSONObject {
    [
        "type": "array", "items": element, "minItems": JSONValue(count.lowerBound),
        "maxItems": JSONValue(count.upperBound),
    ]
}
