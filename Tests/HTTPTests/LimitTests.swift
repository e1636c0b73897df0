import HTTP
import JSON
import Synchronization
import TestSupport
import Testing

@Suite("What a caller may ask for") struct LimitTests {
    @Test("is so many changes a second, each caller for itself; reading is free")
    func limitsWrites() throws {
        // A token comes back every thousand seconds: none does during the test.
        let server = try TestServer { ($0.writesPerSecond, $0.writeBurst) = (0.001, 3) }
        let client = try server.client()
        for _ in 0..<3 {
            #expect(try client.ask("POST", "/v1/things", body: "{}", port: server.port).status == 201)
        }
        let limited = try client.ask("POST", "/v1/things", body: "{}", port: server.port)
        #expect(limited.status == 429 && limited.code == "too_many_writes")
        #expect((900...1000).contains(Int(limited["Retry-After"] ?? "") ?? 0))
        // The body was read, so that the connection goes on and the answer cannot get lost.
        #expect(try client.ask("GET", "/v1/things/a", port: server.port).status == 200)
        #expect(try client.ask("DELETE", "/v1/things/a", port: server.port).status == 429)
        // Others have buckets of their own, also those who may not do what they try.
        let other = try client.ask("DELETE", "/v1/things/a", token: "reader", port: server.port)
        #expect(other.status == 403)
    }

    @Test("is given back as time goes by")
    func refills() throws {
        let server = try TestServer { ($0.writesPerSecond, $0.writeBurst) = (200, 1) }
        let client = try server.client()
        let end = ContinuousClock.now + .seconds(20)
        var passed = 0
        while passed < 5, ContinuousClock.now < end {
            if try client.ask("POST", "/v1/things", body: "{}", port: server.port).status == 201 {
                passed += 1
            }
        }
        #expect(passed == 5)
    }

    @Test("has no end where the server says so")
    func mayBeUnlimited() throws {
        let server = try TestServer { ($0.writesPerSecond, $0.writeBurst) = (0, 0) }
        let client = try server.client()
        for _ in 0..<50 {
            #expect(try client.ask("POST", "/v1/things", body: "{}", port: server.port).status == 201)
        }
    }

    @Test("is written down with who asked, also where it was refused")
    func auditsRefusals() throws {
        let entries = Mutex<[AuditEntry]>([])
        let server = try TestServer { configuration in
            configuration.audit = { entry in entries.withLock { $0.append(entry) } }
        }
        let cases: [(String, String, String?, Int, String?)] = [
            ("POST", "/v1/things", "secret", 201, "owner"), ("POST", "/v1/things", "reader", 403, "reader"),
            ("POST", "/v1/nothing", "secret", 404, "owner"), ("PUT", "/v1/things/a", "reader", 405, "reader"),
            ("POST", "/v1/things", "wrong", 401, nil), ("POST", "/v1/things", nil, 401, nil),
        ]
        for (method, path, token, status, principal) in cases {
            let reply = try server.ask(method, path, token: token, body: "{}")
            #expect(reply.status == status, "\(method) \(path)")
            let entry = try #require(entries.withLock { $0.last })
            #expect(entry.path == path && entry.status == status && entry.principal == principal)
            #expect(entry.peer == "127.0.0.1" && entry.requestID == reply["X-Request-Id"])
        }
        #expect(entries.withLock { $0.count } == cases.count)
    }

    @Test("is told where a method is not known: as little as any other, to a stranger")
    func answersForeignMethods() throws {
        let server = try TestServer()
        for method in ["TRACE", "PROPFIND", "get"] {
            let known = try server.ask(method, "/v1/things/a")
            #expect(known.status == 405 && known.code == "method_not_allowed", "\(method)")
            #expect(known["Allow"] == "GET, HEAD, DELETE, OPTIONS" && known["Connection"] == "close")
            #expect(try server.ask(method, "/v1/nothing").status == 404)
            #expect(try server.ask(method, "/v1/things/a", token: nil).status == 401)
            #expect(try server.ask(method, "/v1/nothing", token: nil).status == 401)
            let foreign = try server.ask(method, "/healthz", token: nil, headers: ["Host: evil.example"])
            #expect(foreign.status == 400, "two hosts")
        }
        #expect(try server.ask("CONNECT", "127.0.0.1:1").status == 400)
    }
}
