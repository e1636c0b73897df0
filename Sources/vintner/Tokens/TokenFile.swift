import Files
import Foundation
import HTTP
import JSON
import Jobs
import Synchronization

/// The named tokens of a data folder: one file, which commands change and a running server follows.
///
/// A file rather than rows of the database: a command changes it whether a server runs or not, and whoever
/// can read the folder can look at it.
final class TokenFile: Sendable {
    /// Why a change was refused.
    enum Refusal: Error, CustomStringConvertible {
        case taken(String)
        case unknown(String)
        case badName(String)
        case tooMany
        case unseen(String)
        case noFolder(String)

        var description: String {
            switch self {
            case .taken(let name): "there is a token \(name) already; revoke it first"
            case .unknown(let name): "there is no token \(name)"
            case .badName(let name):
                "a token's name has 1 to 64 letters, digits, dots, dashes and underscores and is not "
                    + "\"\(NamedToken.owner)\"; found \(JSONValue.string(name).summary)"
            case .noFolder(let path): "there is no folder \(path); the first start of a server makes it"
            case .unseen(let name):
                "the token \(name) could not be written to standard output, and is taken back"
            case .tooMany: "a data folder has at most \(TokenFile.countMax) tokens; revoke some first"
            }
        }
    }

    static let countMax = 256
    private static let byteCountMax = 1 << 20

    /// How long a server goes by what it knows; a command that changes the file returns later.
    private static let staleDuration = Duration.milliseconds(10)

    private struct Known {
        var status: Folder.Status?
        var tokens: [NamedToken] = []
        var lookedAt: ContinuousClock.Instant?
        /// What was complained of last.
        var fault: String?
    }

    private let folder: String
    private let path: String
    private let known = Mutex(Known())
    private let time: any TimeSource
    /// Told of a file that cannot be read; nobody gets in by it then.
    private let complain: @Sendable (String) -> Void
    /// Told of tokens that came and went since it was last read.
    private let tell: @Sendable (String) -> Void

    init(
        _ folder: DataFolder, time: any TimeSource = SystemTime(),
        complain: @escaping @Sendable (String) -> Void = { _ in },
        tell: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        (self.folder, path, self.time) = (folder.path, folder.tokens, time)
        (self.tell, self.complain) = (tell, complain)
    }

    /// The tokens as the file had them a moment ago; none where it is damaged.
    var tokens: [NamedToken] {
        known.withLock { known in
            let now = ContinuousClock.now
            if let last = known.lookedAt, now - last < Self.staleDuration { return known.tokens }
            known.lookedAt = now
            let status = Folder.status(of: path)
            guard status != known.status else { return known.tokens }
            let earlier = known
            do { known.tokens = try read() } catch {
                if known.fault != "\(error)" { complain("named tokens are refused: \(error)") }
                (known.tokens, known.fault) = ([], "\(error)")
                // What could not be read may be readable soon, without having changed.
                if case FileError.corrupt = error {
                } else {
                    known.lookedAt = now + .seconds(1)
                    return []
                }
            }
            tellDifference(earlier.tokens, known.tokens)
            if !known.tokens.isEmpty { known.fault = nil }
            known.status = status
            return known.tokens
        }
    }

    private func tellDifference(_ old: [NamedToken], _ new: [NamedToken]) {
        let (oldSums, newSums) = (Set(old.map(\.sha256)), Set(new.map(\.sha256)))
        for token in old where !newSums.contains(token.sha256) { tell("token \(token.name) is gone") }
        for token in new where !oldSums.contains(token.sha256) {
            tell("token \(token.name) is valid, for: \(token.scopeNames.joined(separator: ", "))")
        }
    }

    /// Whether the file can be read.
    ///
    /// - Throws: `FileError`, also where it is no list of tokens.
    func check() throws { _ = try read() }

    /// Those that have not ended, for the server.
    var valid: [TokenAuthenticator.Named] {
        let tokens = tokens
        guard !tokens.isEmpty else { return [] }
        let now = time.now()
        return tokens.filter { $0.isValid(at: now) }
            .map { TokenAuthenticator.Named(sha256: $0.sha256, principal: $0.principal) }
    }

    /// Makes a token.
    ///
    /// - Parameters:
    ///   - name: Its name.
    ///   - scopes: What it lets do.
    ///   - now: The time.
    ///   - expiresAt: When it ends.
    /// - Returns: The token, of which nothing else is kept but a sum.
    /// - Throws: `Refusal` or `FileError`.
    func add(_ name: String, _ scopes: Set<Scope>, at now: Timestamp, expiresAt: Timestamp?) throws -> String
    {
        guard NamedToken.isName(name), name != NamedToken.owner else { throw Refusal.badName(name) }
        let token = SHA256.Digest.hex(try secureRandomBytes(32))
        try change { tokens in
            guard !tokens.contains(where: { $0.name == name }) else { throw Refusal.taken(name) }
            guard tokens.count < Self.countMax else { throw Refusal.tooMany }
            tokens.append(
                NamedToken(
                    name: name, scopes: scopes, sha256: SHA256.digest(of: Array(token.utf8)).hex,
                    createdAt: now, expiresAt: expiresAt))
        }
        return token
    }

    /// Ends a token, and the sessions that were opened with it.
    func revoke(_ name: String) throws {
        try change { tokens in
            guard let index = tokens.firstIndex(where: { $0.name == name }) else {
                throw Refusal.unknown(name)
            }
            tokens.remove(at: index)
        }
    }

    /// One command at a time: the second would undo what the first did.
    ///
    /// When it returns, a running server knows.
    private func change(_ body: (inout [NamedToken]) throws -> Void) throws {
        let lock = try FolderLock(folder: folder, name: "TOKENS.LOCK")
        try withExtendedLifetime(lock) {
            var tokens = try read()
            try body(&tokens)
            let json: JSONValue = ["tokens": .array(tokens.map(\.json))]
            try AtomicFile.write(json.encoded(pretty: true), to: path)
        }
        Thread.sleep(forTimeInterval: 1.5 * (Self.staleDuration / .seconds(1)))
    }

    private func read() throws -> [NamedToken] {
        let bytes: [UInt8]
        do throws(FileError) { bytes = try readFile(path, limit: Self.byteCountMax) } catch {
            if error.isMissing { return [] }
            throw error
        }
        let damaged = FileError.corrupt(path: path, reason: "it is no list of named tokens")
        guard let list = try? JSONValue(parsing: String(decoding: bytes, as: UTF8.self))["tokens"]?.arrayValue
        else { throw damaged }
        let tokens = list.compactMap(NamedToken.init)
        guard tokens.count == list.count else { throw damaged }
        return tokens
    }
}
