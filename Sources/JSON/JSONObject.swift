/// The members of a JSON object: unique keys in the order they were added.
///
/// Two objects are equal when they have the same members in any order, as RFC 8259 sees them.
/// Look-ups scan small objects and use an index in large ones.
public struct JSONObject: Sendable, Equatable {
    /// Above this many members a dictionary replaces the scan.
    private static let scannedCountMax = 16

    /// The members in order.
    public private(set) var members: [(key: String, value: JSONValue)] = []
    /// Where each key is; empty while the object is small.
    private var positions: [String: Int] = [:]

    /// Makes an object without members.
    public init() {}

    /// Makes an object of `members`; the last of two equal keys wins.
    public init(_ members: some Sequence<(String, JSONValue)>) {
        for (key, value) in members { self[key] = value }
    }

    /// The keys in order.
    public var keys: [String] { members.map(\.key) }
    /// How many members there are.
    public var count: Int { members.count }
    /// Whether there are none.
    public var isEmpty: Bool { members.isEmpty }

    /// The member `key`; setting keeps its place, setting `nil` removes it.
    public subscript(key: String) -> JSONValue? {
        get { position(of: key).map { members[$0].value } }
        set {
            switch (position(of: key), newValue) {
            case (let position?, let value?): members[position].value = value
            case (let position?, nil): remove(at: position)
            case (nil, let value?): append(key, value)
            case (nil, nil): break
            }
        }
    }

    /// Adds a member unless its key is taken.
    ///
    /// - Parameters:
    ///   - key: The new member's name.
    ///   - value: Its value.
    /// - Returns: Whether it was added.
    public mutating func insert(_ key: String, _ value: JSONValue) -> Bool {
        guard position(of: key) == nil else { return false }
        append(key, value)
        return true
    }

    /// Whether both have the same members, in any order.
    public static func == (left: JSONObject, right: JSONObject) -> Bool {
        left.count == right.count && left.members.allSatisfy { right[$0.key] == $0.value }
    }

    private func position(of key: String) -> Int? {
        positions.isEmpty ? members.firstIndex { $0.key == key } : positions[key]
    }

    private mutating func append(_ key: String, _ value: JSONValue) {
        members.append((key, value))
        if !positions.isEmpty {
            positions[key] = members.count - 1
        } else if members.count > Self.scannedCountMax {
            rebuildPositions()
        }
    }

    private mutating func remove(at position: Int) {
        members.remove(at: position)
        positions = [:]
        if members.count > Self.scannedCountMax { rebuildPositions() }
    }

    private mutating func rebuildPositions() {
        positions.reserveCapacity(members.count)
        for (position, member) in members.enumerated() { positions[member.key] = position }
    }
}

extension JSONObject: ExpressibleByDictionaryLiteral {
    /// Makes an object; the last of two equal keys wins.
    public init(dictionaryLiteral elements: (String, JSONValue)...) { self.init(elements) }
}
