import Synchronization

/// What a caller may do; each includes nothing of the others.
public enum Scope: String, CaseIterable, Sendable {
    case read, submit, admin
}

/// Who calls.
public struct Principal: Sendable, Equatable {
    /// The name of the token; keys of different principals do not meet.
    public let name: String
    public let scopes: Set<Scope>

    /// Makes a principal.
    public init(name: String, scopes: Set<Scope> = Set(Scope.allCases)) {
        (self.name, self.scopes) = (name, scopes)
    }
}

/// Tells callers by what they present.
public protocol Authenticator: Sendable {
    /// Whose bearer token it is; takes the same time whatever the token.
    func principal(bearer token: String) -> Principal?
    /// Whose session cookie it is.
    func principal(session: String) -> Principal?
    /// The name of the session cookie.
    var sessionCookie: String { get }
    /// Who calls without credentials; `nil` unless authentication is switched off.
    var anonymous: Principal? { get }
}

/// Counts wrong credentials by peer, so that a guesser is told to slow down.
final class FailureLimiter: Sendable {
    private struct Window {
        var start: ContinuousClock.Instant
        var count: Int
    }

    private static let windowSeconds = 60
    /// Peers beyond this many push out the oldest window.
    private static let peerCountMax = 1024
    private let countMax: Int
    private let windows = Mutex<[String: Window]>([:])
    /// Told of a peer, once a window.
    private let warn: @Sendable (String) -> Void

    init(perMinute countMax: Int, warn: @escaping @Sendable (String) -> Void = { _ in }) {
        (self.countMax, self.warn) = (countMax, warn)
    }

    /// Notes a failure.
    ///
    /// - Parameters:
    ///   - peer: The client's address.
    ///   - now: The time.
    /// - Returns: Seconds until the next guess is looked at kindly; `nil` while there are few.
    func fail(_ peer: String, at now: ContinuousClock.Instant) -> Int? {
        let (seconds, isFirst) = windows.withLock { windows -> (Int?, Bool) in
            var window = windows[peer] ?? Window(start: now, count: 0)
            if now - window.start >= .seconds(Self.windowSeconds) { window = Window(start: now, count: 0) }
            window.count += 1
            windows[peer] = window
            if windows.count > Self.peerCountMax,
                let oldest = windows.min(by: { $0.value.start < $1.value.start })
            {
                windows[oldest.key] = nil
            }
            guard window.count > countMax else { return (nil, false) }
            let rest = Self.windowSeconds - Int((now - window.start).components.seconds)
            return (max(1, rest), window.count == countMax + 1)
        }
        if isFirst { warn("\(peer) has presented wrong credentials more than \(countMax) times in a minute") }
        return seconds
    }
}
