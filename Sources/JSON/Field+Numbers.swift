extension Field where Value == Int {
    /// An integer within `range`; required without a default.
    public static func integer(
        _ name: String, default: Int? = nil, in range: ClosedRange<Int>, _ documentation: String
    ) -> Field<Int> {
        Field<Int>(
            name, documentation, default: `default`, placeholder: range.lowerBound,
            constraints: Self.integerConstraints(range),
            decode: { Decoding.integer($0, in: range, $1, $2) }, encode: { JSONValue($0) })
    }

    /// The schema of an integer within `range`.
    static func integerConstraints(_ range: ClosedRange<Int>) -> JSONObject {
        ["type": "integer", "minimum": JSONValue(range.lowerBound), "maximum": JSONValue(range.upperBound)]
    }
}

extension Field where Value == Int? {
    /// An integer within `range` or `null`, which is also the default.
    public static func optionalInteger(
        _ name: String, default: Int? = nil, in range: ClosedRange<Int>, _ documentation: String
    ) -> Field<Int?> {
        Field<Int>.integer(name, in: range, documentation).optional(default: `default`)
    }
}

extension Field where Value == Automatic<Int> {
    /// An integer within `range` or `"auto"`, which is also the default.
    public static func automaticInteger(
        _ name: String, default: Automatic<Int> = .automatic, in range: ClosedRange<Int>,
        _ documentation: String
    ) -> Field<Automatic<Int>> {
        Field<Int>.integer(name, in: range, documentation).automatic(default: `default`)
    }
}

/// The ends of an interval of numbers, either of which may be left out of it.
struct NumberInterval: Sendable {
    let range: ClosedRange<Double>
    let excludesMinimum: Bool
    let excludesMaximum: Bool

    func contains(_ value: Double) -> Bool {
        range.contains(value) && !(excludesMinimum && value == range.lowerBound)
            && !(excludesMaximum && value == range.upperBound)
    }

    var constraints: JSONObject {
        [
            "type": "number",
            excludesMinimum ? "exclusiveMinimum" : "minimum": .number(range.lowerBound),
            excludesMaximum ? "exclusiveMaximum" : "maximum": .number(range.upperBound),
        ]
    }

    var description: String {
        let low = JSONValue.number(range.lowerBound).encoded()
        let high = JSONValue.number(range.upperBound).encoded()
        return switch (excludesMinimum, excludesMaximum) {
        case (false, false): "from \(low) to \(high)"
        case (true, false): "above \(low) and up to \(high)"
        case (false, true): "from \(low) to below \(high)"
        case (true, true): "above \(low) and below \(high)"
        }
    }
}

extension Field where Value == Double {
    /// A number within `range`, ends included unless excluded; required without a default.
    public static func number(
        _ name: String, default: Double? = nil, in range: ClosedRange<Double>,
        exclusiveMinimum: Bool = false, exclusiveMaximum: Bool = false, _ documentation: String
    ) -> Field<Double> {
        let interval = NumberInterval(
            range: range, excludesMinimum: exclusiveMinimum, excludesMaximum: exclusiveMaximum)
        return Field<Double>(
            name, documentation, default: `default`, placeholder: range.upperBound,
            constraints: interval.constraints,
            decode: { Decoding.number($0, in: interval, $1, $2) }, encode: { .number($0) })
    }
}

extension Field where Value == Double? {
    /// A number within `range` or `null`, which is also the default.
    public static func optionalNumber(
        _ name: String, default: Double? = nil, in range: ClosedRange<Double>,
        exclusiveMinimum: Bool = false, exclusiveMaximum: Bool = false, _ documentation: String
    ) -> Field<Double?> {
        Field<Double>.number(
            name, in: range, exclusiveMinimum: exclusiveMinimum, exclusiveMaximum: exclusiveMaximum,
            documentation
        ).optional(default: `default`)
    }
}

extension Field where Value == Automatic<Double> {
    /// A number within `range` or `"auto"`, which is also the default.
    public static func automaticNumber(
        _ name: String, default: Automatic<Double> = .automatic, in range: ClosedRange<Double>,
        exclusiveMinimum: Bool = false, exclusiveMaximum: Bool = false, _ documentation: String
    ) -> Field<Automatic<Double>> {
        Field<Double>.number(
            name, in: range, exclusiveMinimum: exclusiveMinimum, exclusiveMaximum: exclusiveMaximum,
            documentation
        ).automatic(default: `default`)
    }
}
