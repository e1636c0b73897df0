import HTTP
import JSON
import Synchronization
import TestSupport
import Testing

@Suite("The gate") struct GateTests {
    @Test(
        "answers to our own names only",
        arguments: [
            ("127.0.0.1:PORT", 200), ("localhost:PORT", 200), ("[::1]:PORT", 200), ("LOCALHOST:PORT", 200),
            ("box.local", 200), ("BOX.local", 200), ("box.local:PORT", 200), ("box.local:1", 421),
            ("[fe80::1]", 200),
            ("[fe80::1]:PORT", 200), ("proxy.example:8443", 200), ("proxy.example", 421),
            ("proxy.example:PORT", 421), ("evil.example:PORT", 421),
            ("localhost", 421), ("localhost.evil:PORT", 421),
            ("127.0.0.1:1", 421), ("127.0.0.2:PORT", 421), ("", 421),
        ])
    func checksHost(host: String, status: Int) throws {
        let server = try TestServer()
        let name = host.split(separator: "PORT", omittingEmptySubsequences: false)
            .joined(separator: "\(server.port)")
        for target in ["/healthz", "/", "/v1/things/a"] {
            let client = try server.client()
            client.send("GET \(target) HTTP/1.1\r\nHost: \(name)\r\nAuthorization: Bearer secret\r\n\r\n")
            #expect(try client.reply().status == status, "\(target)")
        }
    }

    @Test("tells wrong from missing tokens and from missing scopes")
    func checksToken() throws {
        let server = try TestServer()
        let missing = try server.ask("GET", "/v1/things/a", token: nil)
        #expect(
            missing.status == 401 && missing.code == "unauthorized" && missing["WWW-Authenticate"] == "Bearer"
        )
        #expect(try server.ask("GET", "/v1/things/a", token: "no").code == "invalid_token")
        #expect(try server.ask("GET", "/v1/things/a", token: "").code == "invalid_token")
        let basic = try server.ask(
            "GET", "/v1/things/a", token: nil, headers: ["Authorization: Basic c2VjcmV0"])
        #expect(basic.status == 401)
        #expect(try server.ask("GET", "/v1/things/a", token: "reader").json?["by"] == "reader")
        let scope = try server.ask("DELETE", "/v1/things/a", token: "reader")
        #expect(scope.status == 403 && scope.code == "insufficient_scope")
        #expect(try server.ask("DELETE", "/v1/things/a").status == 204)
        #expect(try server.ask("GET", "/unknown", token: nil).status == 401)
        #expect(try server.ask("PUT", "/v1/things/a", token: nil).status == 401)
    }

    @Test("slows a guesser down without locking the owner out")
    func limitsFailures() throws {
        let server = try TestServer { $0.failuresPerMinute = 3 }
        for _ in 0..<3 { #expect(try server.ask("GET", "/v1/things/a", token: "no").status == 401) }
        let limited = try server.ask("GET", "/v1/things/a", token: "no")
        #expect(limited.status == 429 && limited.code == "too_many_failures")
        #expect((1...60).contains(Int(limited["Retry-After"] ?? "") ?? 0))
        #expect(try server.ask("GET", "/v1/things/a").status == 200)
    }

    @Test("slows a guesser down where a handler looks at the secret, and says so once")
    func limitsFailuresOfHandlers() throws {
        let server = try TestServer { $0.failuresPerMinute = 3 }
        for _ in 0..<3 { #expect(try server.ask("POST", "/v1/door", token: nil).status == 401) }
        for _ in 0..<3 {
            let limited = try server.ask("POST", "/v1/door", token: nil)
            #expect(limited.status == 429 && limited.code == "too_many_failures")
            #expect((1...60).contains(Int(limited["Retry-After"] ?? "") ?? 0))
        }
        #expect(try server.ask("GET", "/v1/things/a", token: "no").status == 429)
        #expect(try server.ask("GET", "/v1/things/a", token: nil).status == 401)
        #expect(try server.ask("GET", "/v1/things/a").status == 200)
        #expect(server.log.count(of: "wrong credentials") == 1)
    }

    @Test("lets no other site change anything, whatever the method and the credentials")
    func checksOrigin() throws {
        for anonymous in [nil, Principal(name: "anyone")] {
            let server = try TestServer(anonymous: anonymous)
            let own = "Origin: http://127.0.0.1:\(server.port)"
            let cases: [([String], Bool)] = [
                ([], true), ([own], true), (["Sec-Fetch-Site: same-origin"], true),
                (["Sec-Fetch-Site: none"], true),
                (["Sec-Fetch-Site: cross-site"], false), (["Sec-Fetch-Site: same-site"], false),
                (["Sec-Fetch-Site: cross-site", own], false), (["Origin: http://evil.example"], false),
                (["Origin: null"], false), (["Origin: https://127.0.0.1:\(server.port)"], false),
            ]
            for (headers, isAllowed) in cases {
                let token = anonymous == nil ? "secret" : nil
                let post = try server.ask("POST", "/v1/things", token: token, headers: headers, body: "{}")
                #expect(post.status == (isAllowed ? 201 : 403), "\(headers)")
                let delete = try server.ask("DELETE", "/v1/things/a", token: token, headers: headers)
                #expect(delete.status == (isAllowed ? 204 : 403), "\(headers)")
            }
        }
    }

    @Test("trusts a session only together with the browser's word where it comes from")
    func checksSession() throws {
        let server = try TestServer()
        let secret = try server.authenticator.openSession(for: Principal(name: "owner"))
        let cookie = "Cookie: a=b; \(server.authenticator.sessionCookie)=\(secret)"
        let ask = { (method: String, headers: [String]) in
            try server.ask(
                method, method == "POST" ? "/v1/things" : "/v1/things/a", token: nil,
                headers: [cookie] + headers,
                body: method == "POST" ? "{}" : ""
            ).status
        }
        #expect(try ask("GET", []) == 200 && ask("POST", []) == 403 && ask("DELETE", []) == 403)
        let own = "Sec-Fetch-Site: same-origin"
        #expect(try ask("GET", [own]) == 200 && ask("POST", [own]) == 201 && ask("DELETE", [own]) == 204)
        let cross = "Sec-Fetch-Site: cross-site"
        #expect(try ask("GET", [cross]) == 403 && ask("POST", [cross]) == 403)
        server.authenticator.closeSession(secret)
        #expect(try ask("GET", [own]) == 401)
    }

    @Test("takes a login secret once")
    func redeemsOnce() throws {
        let authenticator = TokenAuthenticator(tokens: [("secret", Principal(name: "guest"))])
        let login = try authenticator.makeLogin(for: Principal(name: "guest"), seconds: 60)
        let expired = try authenticator.makeLogin(for: Principal(name: "guest"), seconds: 0)
        #expect(authenticator.redeem(login: "other") == nil && authenticator.redeem(login: expired) == nil)
        #expect(authenticator.redeem(login: login) == Principal(name: "guest"))
        #expect(authenticator.redeem(login: login) == nil)
        let first = try authenticator.openSession(for: Principal(name: "guest"))
        for _ in 0..<64 { _ = try authenticator.openSession(for: Principal(name: "guest")) }
        #expect(authenticator.principal(session: first) == nil, "the oldest session gives way")
    }

    @Test("ends what a token began when it is taken back, also what was under way in that instant")
    func followsRevocation() throws {
        let guest = Principal(name: "guest", scopes: [.read])
        let first = TokenAuthenticator.Named(sha256: String(repeating: "a", count: 64), principal: guest)
        let second = TokenAuthenticator.Named(sha256: String(repeating: "b", count: 64), principal: guest)
        let valid = Mutex([first])
        let authenticator = TokenAuthenticator(
            tokens: [("secret", Principal(name: "owner"))], named: { valid.withLock { $0 } })
        let session = try authenticator.openSession(for: guest)
        let (login, another) = (
            try authenticator.makeLogin(for: guest, seconds: 60),
            try authenticator.makeLogin(for: guest, seconds: 60)
        )
        #expect(authenticator.principal(session: session) == guest)
        #expect(authenticator.redeem(login: login) == guest)
        valid.withLock { $0 = [] }
        // The request passed the gate before, and opens its session after.
        let late = try authenticator.openSession(for: guest)
        #expect(
            authenticator.principal(session: late) == nil && authenticator.principal(session: session) == nil)
        #expect(authenticator.redeem(login: another) == nil)
        valid.withLock { $0 = [second] }
        #expect(authenticator.principal(session: late) == nil, "a namesake is another one")
        #expect(authenticator.principal(session: session) == nil)
    }
}
