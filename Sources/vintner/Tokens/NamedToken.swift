import Files
import HTTP
import JSON
import Jobs

/// A token that was given out under a name; only its SHA-256 is kept.
struct NamedToken: Equatable, Sendable {
    /// Letters, digits, `.`, `-` and `_`; 1 to 64 of them.
    let name: String
    let scopes: Set<Scope>
    /// SHA-256 of the token, in hex.
    let sha256: String
    let createdAt: Timestamp
    /// When it ends; nil for never.
    let expiresAt: Timestamp?

    /// The name of whoever has the token in the data folder.
    static let owner = "owner"

    static func isName(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case 48...57, 65...90, 97...122, 45, 46, 95: true
                default: false
                }
            }
    }

    func isValid(at now: Timestamp) -> Bool { expiresAt.map { now < $0 } ?? true }

    var principal: Principal { Principal(name: name, scopes: scopes) }

    /// Scopes in the order of their power.
    var scopeNames: [String] { Scope.allCases.filter(scopes.contains).map(\.rawValue) }

    var json: JSONValue {
        [
            "name": .string(name), "scopes": .array(scopeNames.map { .string($0) }),
            "sha256": .string(sha256), "created_at": .number(createdAt.seconds),
            "expires_at": JSONValue(expiresAt?.seconds),
        ]
    }

    /// Reads what `json` wrote; nil for anything else.
    init?(_ json: JSONValue) {
        guard let name = json["name"]?.stringValue, Self.isName(name),
            let sha256 = json["sha256"]?.stringValue, sha256.utf8.count == 64,
            let created = json["created_at"].flatMap(Self.time),
            let words = json["scopes"]?.arrayValue
        else { return nil }
        let scopes = words.compactMap { $0.stringValue.flatMap(Scope.init) }
        guard scopes.count == words.count, !scopes.isEmpty else { return nil }
        var expires: Timestamp?
        if let end = json["expires_at"], !end.isNull {
            // An end that cannot be read must not become no end.
            guard let read = Self.time(end) else { return nil }
            expires = read
        }
        self.init(
            name: name, scopes: Set(scopes), sha256: sha256, createdAt: created, expiresAt: expires)
    }

    private static func time(_ json: JSONValue) -> Timestamp? {
        guard let seconds = json.doubleValue, abs(seconds) < 1e12 else { return nil }
        return Timestamp(milliseconds: Int64((seconds * 1000).rounded()))
    }

    init(name: String, scopes: Set<Scope>, sha256: String, createdAt: Timestamp, expiresAt: Timestamp?) {
        (self.name, self.scopes, self.sha256) = (name, scopes, sha256)
        (self.createdAt, self.expiresAt) = (createdAt, expiresAt)
    }
}
