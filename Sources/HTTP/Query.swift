import JSON

/// The parameters after the `?`, decoded, in order.
public struct Query: Sendable {
    /// The parameters as they came.
    public let items: [(name: String, value: String)]
    /// What the route's fields made of them, by the fields' names.
    private var values: [String: any Sendable] = [:]

    /// Makes a query.
    public init(_ items: [(name: String, value: String)] = []) { self.items = items }

    /// The value of one of the route's fields.
    public subscript<Value>(field: QueryField<Value>) -> Value {
        guard let found = values[field.name] as? QueryValue<Value> else {
            preconditionFailure("the route does not declare the query field \(field.name)")
        }
        return found.value
    }

    /// The same query with the values of `fields`.
    ///
    /// - Parameter fields: Every parameter that there may be.
    /// - Returns: A query whose subscript knows the fields.
    /// - Throws: All violations, unknown parameters included.
    func read(as fields: [any AnyQueryField]) throws(InvalidInput) -> Query {
        var reader = QueryReader(self)
        var read = self
        for field in fields { read.values[field.name] = field.value(from: &reader) }
        try reader.finish()
        return read
    }

    /// The first value of a parameter.
    public subscript(name: String) -> String? { items.first { $0.name == name }?.value }

    /// The parameters whose names start with `prefix`, without it: `label.k=v` gives `k: v` for `label.`.
    public func texts(prefix: String) -> [String: String] {
        let found = items.compactMap { item in item.name.rest(behind: prefix).map { ($0, item.value) } }
        return Dictionary(found) { $1 }
    }
}

extension String {
    /// What follows a prefix; nil without it.
    ///
    /// By bytes: as characters, a dot and a mark that joins it would be something else than a dot.
    fileprivate func rest(behind prefix: String) -> String? {
        guard utf8.starts(with: prefix.utf8) else { return nil }
        return String(decoding: utf8.dropFirst(prefix.utf8.count), as: UTF8.self)
    }
}

/// Reads a query's parameters, logging every violation; `finish` reports the unknown ones.
///
/// A violation's pointer is `?` and the parameter's name.
public struct QueryReader {
    private let query: Query
    private let log = ViolationLog()
    private var known: [String] = []
    private var prefixes: [String] = []

    /// Starts reading.
    init(_ query: Query) { self.query = query }

    /// A parameter's text.
    public mutating func text(_ name: String, lengthMax: Int = 256) -> String? {
        known.append(name)
        let values = query.items.filter { $0.name == name }.map(\.value)
        if values.count > 1 { add(name, "invalid_value", "\"\(name)\" is given \(values.count) times") }
        guard let value = values.first else { return nil }
        guard value.unicodeScalars.count <= lengthMax else {
            add(name, "out_of_range", "expected at most \(lengthMax) characters")
            return nil
        }
        return value
    }

    /// A parameter's texts, separated by commas.
    public mutating func list(_ name: String, countMax: Int = 100) -> [String]? {
        let lengthMax = QueryText.elementLengthMax
        guard let text = text(name, lengthMax: (lengthMax + 1) * countMax) else { return nil }
        let parts = text.split(separator: ",").map(String.init)
        guard parts.count <= countMax else {
            add(name, "out_of_range", "expected at most \(countMax) values, found \(parts.count)")
            return nil
        }
        guard parts.allSatisfy({ $0.unicodeScalars.count <= lengthMax }) else {
            add(name, "out_of_range", "expected values of at most \(lengthMax) characters")
            return nil
        }
        return parts
    }

    /// An integer within `range`.
    public mutating func integer(_ name: String, in range: ClosedRange<Int>) -> Int? {
        guard let text = text(name) else { return nil }
        guard let value = Int(text), range.contains(value) else {
            let wanted = "expected an integer from \(range.lowerBound) to \(range.upperBound)"
            let code = Int(text) == nil ? "wrong_type" : "out_of_range"
            add(name, code, "\(wanted), found \(JSONValue.string(text).summary)")
            return nil
        }
        return value
    }

    /// A finite number within `range`.
    public mutating func number(_ name: String, in range: ClosedRange<Double>) -> Double? {
        guard let text = text(name) else { return nil }
        guard let value = Double(text), range.contains(value) else {
            let wanted = "expected a number from \(range.lowerBound) to \(range.upperBound)"
            add(name, "invalid_value", "\(wanted), found \(JSONValue.string(text).summary)")
            return nil
        }
        return value
    }

    /// `true` or `false`; false when missing.
    public mutating func flag(_ name: String) -> Bool {
        switch text(name) {
        case nil, "false": return false
        case "true", "": return true
        case let other?:
            add(name, "wrong_type", "expected true or false, found \(JSONValue.string(other).summary)")
            return false
        }
    }

    /// One of the raw values of a type.
    public mutating func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, of type: Choice.Type
    ) -> Choice? {
        guard let text = text(name) else { return nil }
        if let choice = Choice(rawValue: text) { return choice }
        complain(name, text, type.allCases.map(\.rawValue))
        return nil
    }

    /// Some of the raw values of a type, separated by commas.
    public mutating func choices<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, of type: Choice.Type
    ) -> [Choice]? {
        words(name, among: type.allCases.map(\.rawValue))?.compactMap(Choice.init(rawValue:))
    }

    /// Some of `words`, separated by commas.
    public mutating func words(_ name: String, among words: [String]) -> [String]? {
        list(name)?.filter { text in
            if words.contains(text) { return true }
            complain(name, text, words)
            return false
        }
    }

    /// The parameters whose names start with `prefix`, without it.
    public mutating func texts(prefix: String, countMax: Int = 32) -> [String: String] {
        prefixes.append(prefix)
        var counts: [String: Int] = [:]
        for item in query.items where item.name.rest(behind: prefix) != nil {
            counts[item.name, default: 0] += 1
        }
        for (name, count) in counts.sorted(by: { $0.key < $1.key }) where count > 1 {
            add(echo(name), "invalid_value", "\"\(echo(name))\" is given \(count) times")
        }
        let found = query.texts(prefix: prefix)
        if found.count > countMax {
            add(prefix, "out_of_range", "expected at most \(countMax), found \(found.count)")
        }
        return found
    }

    /// Logs a violation of a parameter.
    public func add(_ name: String, _ code: String, _ detail: String) { log.add("?\(name)", code, detail) }

    /// Ends the reading.
    ///
    /// - Throws: All violations, the unknown parameters included.
    func finish() throws(InvalidInput) {
        for item in query.items where !known.contains(item.name) {
            guard !prefixes.contains(where: { item.name.rest(behind: $0) != nil }) else { continue }
            add(
                echo(item.name), "unknown_parameter",
                Spelling.complaint(unknown: "query parameter", item.name, among: known + prefixes))
        }
        try log.throwIfAny()
    }

    /// A name that a client chose, unless it is long.
    private func echo(_ name: String) -> String { name.unicodeScalars.count <= 64 ? name : "" }

    private func complain(_ name: String, _ found: String, _ allowed: [String]) {
        let names = allowed.map { "\"\($0)\"" }.joined(separator: ", ")
        add(name, "invalid_value", "expected one of \(names), found \(JSONValue.string(found).summary)")
    }
}
