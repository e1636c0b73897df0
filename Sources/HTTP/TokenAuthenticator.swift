import Files
import Synchronization

/// Bearer tokens, one-time login secrets and the browser sessions made from either.
///
/// Only SHA-256 digests are kept; they are compared in constant time.
public final class TokenAuthenticator: Authenticator {
    private struct Session {
        let digest: [UInt8]
        let principal: Principal
        let end: ContinuousClock.Instant
        /// The sum of the named token that it was opened with; nil where it was none of those.
        var token: String?
    }

    /// A token that may be taken back while the server runs.
    public struct Named: Sendable {
        /// SHA-256 of the token, in hex.
        public let sha256: String
        /// Whose it is.
        public let principal: Principal

        /// Describes a token that is valid now.
        public init(sha256: String, principal: Principal) {
            (self.sha256, self.principal) = (sha256, principal)
        }
    }

    private struct State {
        var sessions: [Session] = []
        var logins: [Session] = []
    }

    /// How long a browser stays signed in.
    public static let sessionSeconds = 12 * 3600
    private static let sessionCountMax = 64
    private static let loginCountMax = 16

    public let sessionCookie: String
    public let anonymous: Principal?
    private let tokens: [(digest: [UInt8], principal: Principal)]
    private let named: @Sendable () -> [Named]
    private let state = Mutex(State())

    /// Makes an authenticator.
    ///
    /// - Parameters:
    ///   - tokens: The accepted tokens and whose they are.
    ///   - named: Further ones, as they are valid when it is called: often, and from many threads.
    ///   - anonymous: Who calls without credentials; only for a server without authentication.
    public init(
        tokens: [(token: String, principal: Principal)], named: @escaping @Sendable () -> [Named] = { [] },
        anonymous: Principal? = nil
    ) {
        self.named = named
        self.tokens = tokens.map { (Self.digest($0.token), $0.principal) }
        self.anonymous = anonymous
        // Cookies are shared by all ports of a host; the name tells two servers' sessions apart.
        let seed = self.tokens.first.map { SHA256.digest(of: $0.digest).hex.prefix(8) } ?? "open"
        sessionCookie = "session_\(seed)"
    }

    public func principal(bearer token: String) -> Principal? {
        let digest = Self.digest(token)
        var found: Principal?
        for (known, principal) in tokens where constantTimeEquals(known, digest) { found = principal }
        let named = named()
        guard !named.isEmpty else { return found }
        let sum = Array(SHA256.Digest.hex(digest).utf8)
        for token in named where constantTimeEquals(Array(token.sha256.utf8), sum) {
            found = token.principal
        }
        return found
    }

    public func principal(session: String) -> Principal? {
        let digest = Self.digest(session)
        let session = state.withLock { state in
            Self.dropEnded(&state.sessions)
            return state.sessions.first { constantTimeEquals($0.digest, digest) }
        }
        return session.flatMap(stillValid)
    }

    /// Whose session or login it is; a token that was taken back takes both with it.
    private func stillValid(_ session: Session) -> Principal? {
        guard let token = session.token else { return session.principal }
        return named().first { $0.sha256 == token }?.principal
    }

    /// The sum of a principal's named token.
    ///
    /// - Returns: Nil for who needs none of those; nothing that a token could have where it is gone.
    private func sum(of principal: Principal) -> String? {
        if principal == anonymous || tokens.contains(where: { $0.principal == principal }) { return nil }
        return named().first { $0.principal == principal }?.sha256 ?? ""
    }

    /// Makes a secret that signs in one browser once.
    ///
    /// - Parameters:
    ///   - principal: Who it will be.
    ///   - seconds: How long the secret is good.
    /// - Returns: The secret, for the fragment of a URL.
    /// - Throws: `HTTPError.noRandomness` when the system has no randomness.
    public func makeLogin(for principal: Principal, seconds: Int) throws(HTTPError) -> String {
        let secret = try Self.makeSecret()
        let login = Session(
            digest: Self.digest(secret), principal: principal, end: ContinuousClock.now + .seconds(seconds),
            token: sum(of: principal))
        state.withLock { state in
            Self.dropEnded(&state.logins)
            state.logins = state.logins.suffix(Self.loginCountMax - 1) + [login]
        }
        return secret
    }

    /// Whose login secret it is; uses it up.
    public func redeem(login secret: String) -> Principal? {
        let digest = Self.digest(secret)
        let login: Session? = state.withLock { state in
            Self.dropEnded(&state.logins)
            let index = state.logins.firstIndex { constantTimeEquals($0.digest, digest) }
            return index.map { state.logins.remove(at: $0) }
        }
        return login.flatMap(stillValid)
    }

    /// Opens a session; the oldest one gives way when there are too many.
    ///
    /// - Parameter principal: Who signed in.
    /// - Returns: The value of the session cookie.
    /// - Throws: `HTTPError.noRandomness` when the system has no randomness.
    public func openSession(for principal: Principal) throws(HTTPError) -> String {
        let secret = try Self.makeSecret()
        let session = Session(
            digest: Self.digest(secret), principal: principal,
            end: ContinuousClock.now + .seconds(Self.sessionSeconds),
            token: sum(of: principal))
        state.withLock { state in
            Self.dropEnded(&state.sessions)
            state.sessions = state.sessions.suffix(Self.sessionCountMax - 1) + [session]
        }
        return secret
    }

    /// Ends a session.
    public func closeSession(_ session: String) {
        let digest = Self.digest(session)
        state.withLock { $0.sessions.removeAll { constantTimeEquals($0.digest, digest) } }
    }

    private static func dropEnded(_ sessions: inout [Session]) {
        let now = ContinuousClock.now
        sessions.removeAll { $0.end <= now }
    }

    private static func makeSecret() throws(HTTPError) -> String {
        do { return SHA256.Digest.hex(try secureRandomBytes(32)) } catch {
            throw .noRandomness(cause: error.description)
        }
    }

    private static func digest(_ secret: String) -> [UInt8] { SHA256.digest(of: Array(secret.utf8)).bytes }
}
