import Glibc
import HTTP
import JSON
import TestSupport
import Testing

@Suite("A server") struct ServerTests {
    @Test("answers what it is asked, with its security headers")
    func answers() throws {
        let server = try TestServer()
        let client = try server.client()
        let reply = try client.ask("GET", "/v1/things/a%20b?q=x%2By+z", port: server.port)
        #expect(reply.status == 200)
        #expect(reply.json == ["id": "a b", "by": "owner", "q": "x+y z"])
        #expect(reply["X-Content-Type-Options"] == "nosniff" && reply["Cache-Control"] == "no-store")
        #expect(reply["Content-Security-Policy"]?.hasPrefix("default-src 'self'") == true)
        #expect(
            reply["Referrer-Policy"] == "no-referrer"
                && reply["Cross-Origin-Resource-Policy"] == "same-origin")
        #expect(reply["Access-Control-Allow-Origin"] == nil && reply["Server"] == nil)
        let second = try client.ask("GET", "/v1/things/c", port: server.port)
        #expect(second["X-Request-Id"] != nil && second["X-Request-Id"] != reply["X-Request-Id"])
    }

    @Test("takes a JSON body, whole, in pieces and in chunks")
    func takesBodies() throws {
        let server = try TestServer()
        let client = try server.client()
        let body = "{\"text\":\"" + String(repeating: "é", count: 100_000) + "\"}"
        let whole = try client.ask("POST", "/v1/things", body: body, port: server.port)
        #expect(whole.status == 201 && whole.body == Array(body.utf8))
        let head =
            "POST /v1/things HTTP/1.1\r\nHost: localhost:\(server.port)\r\nAuthorization: Bearer secret\r\n"
        client.send(
            head + "Content-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send("4\r\n[1,2\r\n")
        client.send("2\r\n,3\r\n1\r\n]\r\n0\r\n\r\n")
        #expect(try client.reply().text == "[1,2,3]")
    }

    @Test("says 100 Continue before it takes an expected body")
    func continues() throws {
        let server = try TestServer()
        let client = try server.client()
        let head =
            "POST /v1/things HTTP/1.1\r\nHost: localhost:\(server.port)\r\nAuthorization: Bearer secret\r\n"
        client.send(
            head + "Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        #expect(try client.reply().status == 100)
        client.send("{}")
        #expect(try client.reply().status == 201)
        client.send(
            head + "Content-Type: application/json\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n"
        )
        #expect(try client.reply().status == 413)
    }

    @Test("tells long bodies to come back when there are too many, and takes short ones")
    func crowdsOut() throws {
        let server = try TestServer { ($0.bodiesByteCountMax, $0.writesPerSecond) = (300_000, 0) }
        func head(_ count: Int) -> String {
            "POST /v1/things HTTP/1.1\r\nHost: localhost:\(server.port)\r\nAuthorization: Bearer secret\r\n"
                + "Content-Type: application/json\r\nContent-Length: \(count)\r\n\r\n"
        }
        let long = "[" + String(repeating: " ", count: 250_000) + "]"
        let slow = try server.client()
        slow.send(head(long.utf8.count) + long.dropLast())
        let other = try server.client()
        let end = ContinuousClock.now + .seconds(20)
        while server.server.bodyByteCount < long.utf8.count - 1, ContinuousClock.now < end { usleep(1000) }
        var reply = try other.ask("POST", "/v1/things", body: long, port: server.port)
        #expect(reply.status == 503 && reply.code == "busy" && reply["Retry-After"] == "1")
        #expect(try other.ask("POST", "/v1/things", body: "[1]", port: server.port).status == 201)
        slow.send("]")
        #expect(try slow.reply().status == 201)
        // The room is given back when the library is done with the exchange, just behind the answer.
        for _ in 0..<1000 {
            reply = try other.ask("POST", "/v1/things", body: long, port: server.port)
            if reply.status == 201 { break }
        }
        #expect(reply.status == 201)
    }

    @Test("refuses bodies it does not want, and says how")
    func refusesBodies() throws {
        let server = try TestServer()
        let tooLong = "[" + String(repeating: " ", count: 1 << 20) + "]"
        let cases: [(String, String, [String], String, Int, String)] = [
            ("POST", "/v1/things", [], "{\"a\":1,}", 400, "malformed_json"),
            ("POST", "/v1/things", ["Content-Type: text/plain"], "{}", 415, "unsupported_media_type"),
            (
                "POST", "/v1/things", ["Content-Type: multipart/form-data"], "{}", 415,
                "unsupported_media_type"
            ),
            ("POST", "/v1/things", ["Content-Encoding: gzip"], "{}", 415, "unsupported_encoding"),
            ("POST", "/v1/things", [], tooLong, 413, "content_too_large"),
            ("DELETE", "/v1/things/a", [], "{}", 400, "unexpected_body"),
            ("GET", "/v1/things/a", [], "{}", 400, "unexpected_body"),
        ]
        for (method, target, headers, body, status, code) in cases {
            let reply = try server.client().ask(
                method, target, headers: headers, body: body, port: server.port)
            #expect(reply.status == status && reply.code == code, "\(method) \(target) \(headers)")
            #expect(reply["Content-Type"] == "application/problem+json")
        }
        let client = try server.client()
        let head =
            "POST /v1/things HTTP/1.1\r\nHost: localhost:\(server.port)\r\nAuthorization: Bearer secret\r\n"
        client.send(head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in 0..<20 { client.send("10000\r\n" + String(repeating: " ", count: 65_536) + "\r\n") }
        client.send("0\r\n\r\n")
        #expect(try client.reply().status == 413)
        #expect(client.isClosedByServer())
    }

    @Test("knows which methods a path has")
    func knowsMethods() throws {
        let server = try TestServer()
        let client = try server.client()
        let wrong = try server.ask("PUT", "/v1/things/a")
        #expect(wrong.status == 405 && wrong["Allow"] == "GET, HEAD, DELETE, OPTIONS")
        let options = try client.ask("OPTIONS", "/v1/things/a", port: server.port)
        #expect(options.status == 204 && options["Allow"] == "GET, HEAD, DELETE, OPTIONS")
        let head = try client.ask("HEAD", "/v1/things/a", port: server.port)
        let get = try client.ask("GET", "/v1/things/a", port: server.port)
        #expect(head.status == 200 && head["Content-Length"] == get["Content-Length"])
        #expect(try client.ask("GET", "/v1/nothing", port: server.port).code == "not_found")
        let static_ = try client.ask("GET", "/static/js/main.js", token: nil, port: server.port)
        #expect(static_.text == "js/main.js")
    }

    @Test("hides what went wrong inside")
    func hidesInternals() throws {
        let reply = try TestServer().ask("GET", "/v1/broken")
        #expect(reply.status == 500 && reply.code == "internal_error")
        #expect(!reply.text.contains("Broken"))
    }

    @Test("answers 304 to whom has the current version")
    func validates() throws {
        let server = try TestServer()
        for tags in ["\"1\"", "\"0\", \"1\"", "W/\"1\"", "*"] {
            let reply = try server.ask("GET", "/v1/things/a", headers: ["If-None-Match: \(tags)"])
            #expect(reply.status == 304 && reply["ETag"] == "\"1\"" && reply.body.isEmpty)
        }
        #expect(try server.ask("GET", "/v1/things/a", headers: ["If-None-Match: \"2\""]).status == 200)
    }

    @Test("refuses a taken port and a name that is no address")
    func refusesBadAddress() throws {
        let taken = try TestServer()
        let error = #expect(throws: HTTPError.self) { try TestServer { $0.port = taken.port } }
        #expect(
            error?.description == "cannot listen on 127.0.0.1, port \(taken.port): Address already in use")
        #expect(throws: HTTPError.self) { try TestServer { $0.host = "localhost" } }
    }
}

extension TestServer {
    /// One request on a connection of its own.
    func ask(
        _ method: String, _ target: String, token: String? = "secret", headers: [String] = [],
        body: String = ""
    ) throws -> RawClient.Reply {
        try client().ask(method, target, token: token, headers: headers, body: body, port: port)
    }
}
