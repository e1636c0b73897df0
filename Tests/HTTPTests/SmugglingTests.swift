import TestSupport
import Testing

@Suite("A request that two parsers could read differently") struct SmugglingTests {
    /// A request, without its Host, and the status it must get.
    struct Case: CustomStringConvertible {
        let name: String
        let line: String
        let fields: [String]
        let rest: String
        let status: Int
        var description: String { name }

        init(
            _ name: String, _ line: String, _ fields: [String] = [], _ rest: String = "", _ status: Int = 400
        ) {
            (self.name, self.line, self.fields, self.rest, self.status) = (name, line, fields, rest, status)
        }
    }

    private static let post = "POST /v1/things HTTP/1.1"
    private static let get = "GET /healthz HTTP/1.1"
    private static let json = "Content-Type: application/json"
    private static let both = ["Content-Length: 5", "Transfer-Encoding: chunked"]
    static let cases = [
        Case("both framings", post, [json, "Content-Length: 5", "Transfer-Encoding: chunked"], "0\r\n\r\n"),
        Case("two lengths", post, [json, "Content-Length: 2", "Content-Length: 7"], "{}"),
        Case("two equal lengths", post, [json, "Content-Length: 2", "Content-Length: 2"], "{}"),
        Case("a space before the colon", post, [json, "Content-Length : 2"], "{}"),
        Case("a length with a sign", post, [json, "Content-Length: +2"], "{}"),
        Case("a length beyond 64 bits", post, [json, "Content-Length: 99999999999999999999"], "{}", 413),
        Case("an unknown coding", post, [json, "Transfer-Encoding: gzip"], "{}"),
        Case("a doubled coding", post, [json, "Transfer-Encoding: chunked, chunked"], "0\r\n\r\n"),
        Case("a disguised coding", post, [json, "Transfer-Encoding: xchunked"], "0\r\n\r\n"),
        Case(
            "a coding twice", post, [json, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
            "0\r\n\r\n"),
        Case("two hosts", get, ["Host: other"]),
        Case("version 1.2", "GET /healthz HTTP/1.2"),
        Case("version 1.0 with a body", "POST /v1/things HTTP/1.0", [json, "Content-Length: 2"], "{}"),
        Case("an unknown method", "BREW /healthz HTTP/1.1", [], "", 405),
        Case("an unknown method with a body", "BREW /healthz HTTP/1.1", ["Content-Length: 2"], "{}", 405),
        Case("an unknown method with both framings", "BREW /healthz HTTP/1.1", both, "0\r\n\r\n"),
        Case("a method in small letters", "get /healthz HTTP/1.1", [], "", 405),
        Case("TRACE, which would echo what it is sent", "TRACE /healthz HTTP/1.1", [], "", 405),
        Case("CONNECT, which would make a tunnel", "CONNECT 127.0.0.1:22 HTTP/1.1"),
        Case("a byte in the method that no name has", "GE\"T /healthz HTTP/1.1"),
        Case("a coding behind another", post, [json, "Transfer-Encoding: identity, chunked"], "0\r\n\r\n"),
        Case(
            "a coding with a tab", post, [json, "Transfer-Encoding:\tchunked", "Content-Length: 5"],
            "0\r\n\r\n"),
        Case("lengths in one field", post, [json, "Content-Length: 2, 2"], "{}"),
        Case("a length in hexadecimal", post, [json, "Content-Length: 0x2"], "{}"),
        Case("a length of white space", post, [json, "Content-Length: "], "{}"),
        Case("a control character in a value", get, ["X-A: a\u{1}b"]),
        Case("a bracket in a name", get, ["X(A): a"]),
        Case("two tokens", get, ["Authorization: Bearer a", "Authorization: Bearer b"]),
        Case("two origins", get, ["Origin: http://a", "Origin: http://b"]),
        Case("too many fields", get, (0..<101).map { "X-\($0): 1" }),
        Case("an unknown expectation", post, [json, "Content-Length: 2", "Expect: the-unexpected"], "", 417),
        Case("an absolute target", "GET http://127.0.0.1/healthz HTTP/1.1"),
        Case("an empty segment", "GET //healthz HTTP/1.1"),
        Case("a parameter segment", "GET /healthz;a=1 HTTP/1.1"),
        Case("a backslash", "GET /v1\\things HTTP/1.1"),
        Case("a fragment", "GET /healthz#a HTTP/1.1"),
        Case("a broken escape", "GET /v1/things/%zz HTTP/1.1"),
        Case("a cut escape", "GET /v1/things/a%2 HTTP/1.1"),
        Case("an escaped null", "GET /v1/things/a%00b HTTP/1.1"),
        Case("an escaped line feed", "GET /v1/things/a%0ab HTTP/1.1"),
        Case("an escaped slash", "GET /v1/things/a%2fb HTTP/1.1"),
        Case("an escaped backslash", "GET /v1/things/a%5cb HTTP/1.1"),
        Case("escaped dots", "GET /v1/things/%2e%2e HTTP/1.1"),
        Case("plain dots", "GET /v1/../healthz HTTP/1.1"),
        Case("invalid UTF-8", "GET /v1/things/%ff HTTP/1.1"),
        Case("a raw byte above ASCII", "GET /v1/things/é HTTP/1.1"),
        Case("a broken escape in the query", "GET /v1/things/a?q=%f HTTP/1.1"),
    ]

    @Test("is refused, and nothing after it is read", arguments: cases)
    func isRefused(request: Case) throws {
        let server = try TestServer()
        let client = try server.client()
        let host = "Host: 127.0.0.1:\(server.port)"
        let lines = [request.line, host] + request.fields
        client.send(lines.joined(separator: "\r\n") + "\r\n\r\n" + request.rest)
        client.send("GET /healthz HTTP/1.1\r\n\(host)\r\n\r\n")
        let reply = try client.reply()
        #expect(reply.status == request.status)
        #expect(client.isClosedByServer())
        #expect(try server.ask("GET", "/healthz").status == 200)
    }

    @Test("is refused without a host")
    func needsHost() throws {
        let server = try TestServer()
        let client = try server.client()
        client.send("GET /healthz HTTP/1.1\r\n\r\n")
        #expect(try client.reply().status == 400)
    }

    /// What the library would hide from us: each with what a parser in front may have made of it.
    static let hidden: [(name: String, bytes: String)] = [
        ("bare line feeds", "GET /healthz HTTP/1.1\nHost: HOST\n\n"),
        ("one bare line feed", "GET /healthz HTTP/1.1\r\nHost: HOST\nX-A: a\r\n\r\n"),
        ("a bare line feed at the end", "GET /healthz HTTP/1.1\r\nHost: HOST\r\n\n"),
        ("a folded line", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-A: a\r\n b\r\n\r\n"),
        ("a folded line before another", "GET /healthz HTTP/1.1\r\nX-A: a\r\n b\r\nHost: HOST\r\n\r\n"),
        ("a folded host", "GET /healthz HTTP/1.1\r\nHost: HOST\r\n .evil.example\r\n\r\n"),
        ("a null in the target", "GET /healthz\0/../v1/things HTTP/1.1\r\nHost: HOST\r\n\r\n"),
        ("a null in the query", "GET /healthz?a=1\0&b=2 HTTP/1.1\r\nHost: HOST\r\n\r\n"),
        ("a null in a query's name", "GET /healthz?a\0b=1 HTTP/1.1\r\nHost: HOST\r\n\r\n"),
        ("a null in the host", "GET /healthz HTTP/1.1\r\nHost: HOST\0.evil.example\r\n\r\n"),
        ("a null in a field", "GET /healthz HTTP/1.1\r\nX-A: a\0b\r\nHost: HOST\r\n\r\n"),
        ("a null at a field's end", "GET /healthz HTTP/1.1\r\nX-A: a\0\r\nHost: HOST\r\n\r\n"),
        ("a null in a name", "GET /healthz HTTP/1.1\r\nX\0-A: a\r\nHost: HOST\r\n\r\n"),
        ("a line without a name", "GET /healthz HTTP/1.1\r\n: a\r\nHost: HOST\r\n\r\n"),
        ("a line without a name at the end", "GET /healthz HTTP/1.1\r\nHost: HOST\r\n: a\r\n\r\n"),
        (
            "a null in a length",
            "POST /v1/things HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer secret\r\n"
                + "Content-Type: application/json\r\nContent-Length: 2\05\r\n\r\n{}"
        ),
        (
            "a null in a coding",
            "POST /v1/things HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer secret\r\n"
                + "Content-Type: application/json\r\nTransfer-Encoding: chunked\0x\r\n\r\n"
                + "2\r\n{}\r\n0\r\n\r\n"
        ),
    ]

    @Test("is refused where the library hides a part of it", arguments: hidden)
    func isNotHidden(name: String, bytes: String) throws {
        let server = try TestServer()
        let host = "127.0.0.1:\(server.port)"
        for pieceCount in [1, bytes.utf8.count] {
            let client = try server.client()
            let request = Array(bytes.replacingOccurrences("HOST", host).utf8)
            for piece in request.pieces(of: max(1, request.count / pieceCount)) { client.send(piece) }
            client.send("GET /healthz HTTP/1.1\r\nHost: \(host)\r\n\r\n")
            #expect(try client.reply().status == 400, "in \(pieceCount) pieces")
            #expect(client.isClosedByServer(), "in \(pieceCount) pieces")
        }
    }

    /// What is unusual and means the same to everybody.
    @Test(
        "passes where nothing is hidden",
        arguments: [
            "GET /healthz HTTP/1.1\r\nHost:HOST\r\n\r\n", "GET /healthz HTTP/1.1\r\nHost: \t HOST\r\n\r\n",
            "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-A:\r\nX-B: \r\n\r\n",
            "\r\nGET /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n",
            "GET /healthz? HTTP/1.1\r\nHost: HOST\r\n\r\n", "GET /healthz?a HTTP/1.1\r\nHost: HOST\r\n\r\n",
            "GET /healthz?a=1&b&c=&d=e+f&&g HTTP/1.1\r\nHost: HOST\r\n\r\n",
            "GET /healthz?&a=1& HTTP/1.1\r\nHost: HOST\r\n\r\n",
            "GET /healthz HTTP/1.1\r\nCookie: a=b; c=\"d\"; e\r\nHost: HOST\r\nX-A: é\r\n\r\n",
            "GET /healthz HTTP/1.0\r\nHost: HOST\r\nConnection: keep-alive\r\n\r\n",
        ])
    func passes(text: String) throws {
        let server = try TestServer()
        let host = "127.0.0.1:\(server.port)"
        let request = Array(text.replacingOccurrences("HOST", host).utf8)
        let client = try server.client()
        for piece in request.pieces(of: 1) { client.send(piece) }
        #expect(try client.reply().status == 200)
        // Two at once, behind one that was answered.
        client.send(request + request)
        #expect(try client.reply().status == 200)
        #expect(try client.reply().status == 200)
    }

    @Test("passes with a header of the largest size, in pieces of any")
    func passesLarge() throws {
        let server = try TestServer()
        let fields = (0..<90).map { "X-\($0): \(String(repeating: "v", count: 400 + $0))" }
        let head = ["GET /healthz HTTP/1.1", "Host: 127.0.0.1:\(server.port)"] + fields
        let request = Array((head.joined(separator: "\r\n") + "\r\n\r\n").utf8)
        for size in [1000, 8191, 40_000] {
            let client = try server.client()
            for piece in request.pieces(of: size) { client.send(piece) }
            #expect(try client.reply().status == 200, "pieces of \(size)")
        }
    }
}

extension [UInt8] {
    fileprivate func pieces(of size: Int) -> [[UInt8]] {
        stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min($0 + size, count)]) }
    }
}

extension String {
    fileprivate func replacingOccurrences(_ part: String, _ other: String) -> String {
        split(separator: part, omittingEmptySubsequences: false).joined(separator: other)
    }
}
