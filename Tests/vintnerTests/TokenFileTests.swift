import Files
import Foundation
import HTTP
import JSON
import Jobs
import Synchronization
import Testing
import Threads

@testable import vintner

@Suite("Named tokens") struct TokenFileTests {
    /// A data folder that goes with it.
    private final class Place {
        let folder = DataFolder(path: NSTemporaryDirectory() + "vintner-tokens-" + UUID().uuidString)

        init() throws { try folder.make() }
        deinit { try? FileManager.default.removeItem(atPath: folder.path) }
    }

    /// A clock that stands where it is put.
    private final class Clock: TimeSource {
        let milliseconds = Mutex<Int64>(1000)

        func now() -> Timestamp { Timestamp(milliseconds: milliseconds.withLock { $0 }) }
        func monotonicNanoseconds() -> UInt64 { 0 }
        func wait(for bell: Bell, after ring: UInt64, until deadline: UInt64) {}
    }

    private final class Counter: Sendable {
        let count = Mutex(0)
    }

    private static let at = Timestamp(milliseconds: 1_700_000_000_123)

    @Test("let in whoever has them, as far as their scopes go, and only their sums are kept")
    func lets() throws {
        let place = try Place()
        let file = TokenFile(place.folder)
        let token = try file.add("ci", [.read, .submit], at: Self.at, expiresAt: nil)
        let other = try file.add("eye", [.read], at: Self.at, expiresAt: nil)
        #expect(token.utf8.count == 64 && token != other)
        // As a running server has it: made before the tokens were.
        let server = TokenAuthenticator(tokens: [("mine", Principal(name: "owner"))], named: { file.valid })
        #expect(server.principal(bearer: token) == Principal(name: "ci", scopes: [.read, .submit]))
        #expect(server.principal(bearer: other)?.scopes == [.read])
        #expect(server.principal(bearer: "mine")?.name == "owner")
        #expect(server.principal(bearer: token + "0") == nil && server.principal(bearer: "") == nil)
        let text = try String(contentsOfFile: place.folder.tokens, encoding: .utf8)
        #expect(!text.contains(token) && !text.contains(other))
        let status = try FileManager.default.attributesOfItem(atPath: place.folder.tokens)
        #expect(status[.posixPermissions] as? Int == 0o600)
        #expect(
            TokenFile(place.folder).tokens == file.tokens
                && file.tokens.map(\.createdAt) == [Self.at, Self.at])
    }

    @Test("end when they are taken back, with their sessions, and for a name's next token too")
    func revoked() throws {
        let place = try Place()
        let (file, command) = (TokenFile(place.folder), TokenFile(place.folder))
        let server = TokenAuthenticator(tokens: [], named: { file.valid })
        let token = try command.add("ci", [.read], at: Self.at, expiresAt: nil)
        let principal = try #require(server.principal(bearer: token))
        let session = try server.openSession(for: principal)
        #expect(server.principal(session: session) == principal)
        try command.revoke("ci")
        #expect(server.principal(bearer: token) == nil && server.principal(session: session) == nil)
        let next = try command.add("ci", [.read], at: Self.at, expiresAt: nil)
        #expect(server.principal(bearer: next) == principal && server.principal(session: session) == nil)
        #expect(throws: TokenFile.Refusal.self) { try command.revoke("nobody") }
    }

    @Test("end at their time")
    func expire() throws {
        let place = try Place()
        let clock = Clock()
        let file = TokenFile(place.folder, time: clock)
        let token = try file.add("ci", [.read], at: clock.now(), expiresAt: Timestamp(milliseconds: 2000))
        let server = TokenAuthenticator(tokens: [], named: { file.valid })
        #expect(server.principal(bearer: token) != nil)
        clock.milliseconds.withLock { $0 = 1999 }
        #expect(server.principal(bearer: token) != nil)
        clock.milliseconds.withLock { $0 = 2000 }
        #expect(server.principal(bearer: token) == nil)
    }

    @Test(
        "have names that cannot be mistaken",
        arguments: ["", "owner", "a b", "a/b", "ä", "x\n", String(repeating: "a", count: 65)])
    func names(name: String) throws {
        let place = try Place()
        #expect(throws: TokenFile.Refusal.self) {
            try TokenFile(place.folder).add(name, [.read], at: Self.at, expiresAt: nil)
        }
        #expect(!FileManager.default.fileExists(atPath: place.folder.tokens))
    }

    @Test("are as many as a folder takes, and each name once")
    func counts() throws {
        let place = try Place()
        let file = TokenFile(place.folder)
        for index in 0..<TokenFile.countMax {
            _ = try file.add("t\(index)", [.read], at: Self.at, expiresAt: nil)
        }
        #expect(throws: TokenFile.Refusal.self) {
            try file.add("more", [.read], at: Self.at, expiresAt: nil)
        }
        try file.revoke("t7")
        #expect(throws: TokenFile.Refusal.self) {
            try file.add("t8", [.read], at: Self.at, expiresAt: nil)
        }
        _ = try file.add("t7", [.admin], at: Self.at, expiresAt: nil)
        #expect(file.tokens.count == TokenFile.countMax)
    }

    @Test(
        "let nobody in by a damaged file, which no command overwrites",
        arguments: [
            "", "{", "[]", #"{"tokens": [{"name": "ci"}]}"#,
            // An end or a scope that cannot be read.
            #"{"tokens": [{"name": "ci", "scopes": ["read"], "sha256": "SUM", "created_at": 1, "#
                + #""expires_at": "x"}]}"#,
            #"{"tokens": [{"name": "ci", "scopes": ["root"], "sha256": "SUM", "created_at": 1}]}"#,
        ])
    func damaged(text: String) throws {
        let place = try Place()
        let sum = SHA256.digest(of: Array("known".utf8)).hex
        let content = text.replacingOccurrences(of: "SUM", with: sum)
        try AtomicFile.write(content, to: place.folder.tokens)
        let complaints = Counter()
        let file = TokenFile(place.folder) { _ in complaints.count.withLock { $0 += 1 } }
        let server = TokenAuthenticator(tokens: [], named: { file.valid })
        for _ in 0..<3 {
            #expect(server.principal(bearer: "known") == nil)
            usleep(12_000)  // Longer than it goes by what it knows.
        }
        #expect(complaints.count.withLock { $0 } == 1, "once, not with every request")
        #expect(throws: (any Error).self) { try file.add("ci", [.read], at: Self.at, expiresAt: nil) }
        #expect(try readFile(place.folder.tokens, limit: 1 << 16) == Array(content.utf8))
    }
}
