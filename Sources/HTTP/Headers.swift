/// Header fields in order; names are compared without case.
public struct Headers: Sendable, ExpressibleByDictionaryLiteral {
    /// The fields as they came or will be sent.
    public private(set) var fields: [(name: String, value: String)] = []

    /// Makes an empty list.
    public init() {}

    /// Makes a list of fields.
    public init(dictionaryLiteral elements: (String, String)...) {
        for (name, value) in elements { add(name, value) }
    }

    /// The first value of a field; setting replaces all of them.
    public subscript(name: String) -> String? {
        get { fields.first { Self.isSame($0.name, name) }?.value }
        set {
            fields.removeAll { Self.isSame($0.name, name) }
            if let newValue { add(name, newValue) }
        }
    }

    /// Every value of a field.
    public func all(_ name: String) -> [String] {
        fields.filter { Self.isSame($0.name, name) }.map(\.value)
    }

    /// Whether a field is there more than once.
    func hasSeveral(_ name: String) -> Bool {
        var isThere = false
        for field in fields where Self.isSame(field.name, name) {
            if isThere { return true }
            isThere = true
        }
        return false
    }

    /// Adds a field; control characters are taken out of the value, so that no text can end the line.
    public mutating func add(_ name: String, _ value: String) {
        let isClean = value.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
        fields.append((name, isClean ? value : Self.cleaned(value)))
    }

    /// Adds a field unless there is one of its name.
    public mutating func addIfMissing(_ name: String, _ value: String) {
        if self[name] == nil { add(name, value) }
    }

    /// Adds those fields of which there is none of the name.
    mutating func addMissing(_ others: Headers) {
        let own = fields
        fields.reserveCapacity(own.count + others.fields.count)
        for field in others.fields where !own.contains(where: { Self.isSame($0.name, field.name) }) {
            fields.append(field)
        }
    }

    private static func cleaned(_ value: String) -> String {
        let scalars = value.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7F }
        return String(String.UnicodeScalarView(scalars))
    }

    private static func isSame(_ left: String, _ right: String) -> Bool {
        guard left.utf8.count == right.utf8.count else { return false }
        var others = right.utf8.makeIterator()
        for byte in left.utf8 {
            guard let other = others.next(), byte == other || lowercase(byte) == lowercase(other) else {
                return false
            }
        }
        return true
    }

    private static func lowercase(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }
}
