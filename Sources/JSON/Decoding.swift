/// The checks behind the fields; each logs one violation and returns `nil` when it fails.
enum Decoding {
    static func integer(_ value: JSONValue, in range: ClosedRange<Int>, _ at: String, _ log: ViolationLog)
        -> Int?
    {
        var wanted: String { "expected an integer from \(range.lowerBound) to \(range.upperBound)" }
        guard value.doubleValue != nil else {
            log.add(at, "wrong_type", "\(wanted), found \(value.summary)")
            return nil
        }
        guard let integer = value.intValue else {
            // A fraction is another type; a whole number beyond 64 bits is out of any range.
            let isWhole = value.doubleValue.map { $0 == $0.rounded() } ?? false
            log.add(at, isWhole ? "out_of_range" : "wrong_type", "\(wanted), found \(value.summary)")
            return nil
        }
        guard range.contains(integer) else {
            log.add(at, "out_of_range", "\(wanted), found \(integer)")
            return nil
        }
        return integer
    }

    static func number(_ value: JSONValue, in interval: NumberInterval, _ at: String, _ log: ViolationLog)
        -> Double?
    {
        var wanted: String { "expected a number \(interval.description)" }
        guard let number = value.doubleValue else {
            log.add(at, "wrong_type", "\(wanted), found \(value.summary)")
            return nil
        }
        guard interval.contains(number) else {
            log.add(at, "out_of_range", "\(wanted), found \(value.summary)")
            return nil
        }
        return number
    }

    static func bool(_ value: JSONValue, _ at: String, _ log: ViolationLog) -> Bool? {
        guard let bool = value.boolValue else {
            log.add(at, "wrong_type", "expected true or false, found \(value.summary)")
            return nil
        }
        return bool
    }

    static func string(_ value: JSONValue, lengthMax: Int, _ at: String, _ log: ViolationLog) -> String? {
        guard let text = value.stringValue else {
            log.add(at, "wrong_type", "expected a string, found \(value.summary)")
            return nil
        }
        let length = text.unicodeScalars.count
        guard length <= lengthMax else {
            log.add(at, "out_of_range", "expected at most \(lengthMax) characters, found \(length)")
            return nil
        }
        guard let control = controlCharacter(in: text) else { return text }
        log.add(at, "invalid_value", "expected text without control characters, found \(control)")
        return nil
    }

    /// The JSON Schema of what `string` accepts.
    static func stringConstraints(lengthMin: Int = 0, lengthMax: Int) -> JSONObject {
        var constraints: JSONObject = ["type": "string", "maxLength": JSONValue(lengthMax)]
        if lengthMin > 0 { constraints["minLength"] = JSONValue(lengthMin) }
        constraints["pattern"] = "^[^\\u0000-\\u001F\\u007F-\\u009F]*$"
        return constraints
    }

    /// The first control character, as `U+0000`; C libraries, terminals and logs act on them.
    static func controlCharacter(in text: String) -> String? {
        // C0, DEL and C1, with which some terminals begin commands.
        let isControl = { (scalar: Unicode.Scalar) in scalar.value < 0x20 || (0x7F...0x9F) ~= scalar.value }
        guard let found = text.unicodeScalars.first(where: isControl) else { return nil }
        let digits = String(found.value, radix: 16, uppercase: true)
        return "U+" + String(repeating: "0", count: 4 - digits.count) + digits
    }

    static func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ value: JSONValue, of type: Choice.Type, _ at: String, _ log: ViolationLog
    ) -> Choice? {
        if let choice = value.stringValue.flatMap(Choice.init(rawValue:)) { return choice }
        let names = type.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
        let code = value.stringValue == nil ? "wrong_type" : "invalid_value"
        log.add(at, code, "expected one of \(names), found \(value.summary)")
        return nil
    }

    /// An array of `count` elements, each checked by `element`; every bad element is logged.
    static func array<Element>(
        _ value: JSONValue, of kind: String, count: ClosedRange<Int>, _ at: String, _ log: ViolationLog,
        element: (JSONValue, String) -> Element?
    ) -> [Element]? {
        guard let values = value.arrayValue else {
            log.add(at, "wrong_type", "expected an array of \(kind), found \(value.summary)")
            return nil
        }
        guard count.contains(values.count) else {
            let wanted =
                count.lowerBound == count.upperBound
                ? "\(count.lowerBound)" : "\(count.lowerBound) to \(count.upperBound)"
            log.add(at, "out_of_range", "expected \(wanted) elements, found \(values.count)")
            return nil
        }
        let elements = values.enumerated().map { element($1, JSONPointer.element($0, of: at)) }
        let good = elements.compactMap(\.self)
        return good.count == elements.count ? good : nil
    }

    static func object(_ value: JSONValue, _ at: String, _ log: ViolationLog) -> JSONObject? {
        guard let object = value.objectValue else {
            log.add(at, "wrong_type", "expected an object, found \(value.summary)")
            return nil
        }
        return object
    }
}
