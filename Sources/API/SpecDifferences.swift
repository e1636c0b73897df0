import JSON

/// Where the specs of jobs differ, by JSON pointer (RFC 6901).
struct SpecDifferences {
    /// Pointers in the order in which the specs first have them.
    private(set) var pointers: [String] = []
    private var values: [String: [String: JSONValue]] = [:]
    private let owners: [String]

    /// - Parameter specs: By the name that stands for each, such as the job's id.
    init(_ specs: [(owner: String, spec: JSONValue)]) {
        owners = specs.map(\.owner)
        for (owner, spec) in specs { gather(spec, at: "", of: owner) }
        let (all, owners) = (pointers, owners)
        pointers = all.filter { pointer in
            let first = values[pointer]?[owners.first ?? ""]
            return first == nil || owners.contains { values[pointer]?[$0] != first }
        }
    }

    /// `[{pointer, values: {owner: value}}]`; who has nothing there is left out.
    var json: JSONValue {
        .array(
            pointers.map { pointer in
                let found = values[pointer] ?? [:]
                let members = owners.compactMap { owner in found[owner].map { (owner, $0) } }
                return ["pointer": .string(pointer), "values": .object(JSONObject(members))]
            })
    }

    /// Every value that is no object; an array is one value, for its places mean nothing once one is longer.
    private mutating func gather(_ value: JSONValue, at pointer: String, of owner: String) {
        if case .object(let object) = value, !object.members.isEmpty {
            for (key, member) in object.members {
                gather(member, at: "\(pointer)/\(Self.escaped(key))", of: owner)
            }
        } else {
            if values[pointer] == nil { pointers.append(pointer) }
            values[pointer, default: [:]][owner] = value
        }
    }

    private static func escaped(_ key: String) -> String {
        var text = ""
        for character in key {
            switch character {
            case "~": text += "~0"
            case "/": text += "~1"
            default: text.append(character)
            }
        }
        return text
    }
}
