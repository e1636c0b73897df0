import HTTP
import Testing

@testable import HTTP

@Suite("Routing") struct RouterTests {
    static let router = Router(
        ["/{any...}", "/a/{id}", "/a/b", "/", "/a/{id}/c", "/a/{id}/{what}"].map { pattern in
            Route(.get, pattern, access: .open) { request in
                let values = request.parameters.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
                return .text("\(pattern) \(values.joined(separator: ","))", contentType: "text/plain")
            }
        })

    @Test(
        "prefers the more literal route",
        arguments: [
            ("/", "/ "), ("/a/b", "/a/b "), ("/a/x", "/a/{id} id=x"), ("/a/x/c", "/a/{id}/c id=x"),
            ("/a/x/d", "/a/{id}/{what} id=x,what=d"), ("/z", "/{any...} any=z"),
            ("/a/1/2/3", "/{any...} any=a/1/2/3"),
        ])
    func prefersLiterals(path: String, answer: String) {
        let segments = PercentEncoding.segments(of: path)
        guard case .now(let response) = Self.router.handle(Request(.get, path: segments ?? ["?"])) else {
            Issue.record("an answer was expected")
            return
        }
        #expect(String(decoding: response.bytes ?? [], as: UTF8.self) == answer)
    }

    @Test(
        "decodes each segment once",
        arguments: [
            ("/", []), ("/a/b", ["a", "b"]), ("/a%20b/%C3%A9", ["a b", "é"]), ("/%2541", ["%41"]),
            ("/a/", ["a", ""]),
            ("/a%2Fb", nil), ("/%2e%2e", nil), ("/..", nil), ("/.", nil), ("/%", nil), ("/%4", nil),
            ("/%ff", nil),
            ("/%00", nil), ("a", nil), ("", nil), ("/a%5cb", nil),
        ] as [(String, [String]?)])
    func decodesOnce(path: String, segments: [String]?) {
        #expect(PercentEncoding.segments(of: path) == segments)
    }

    @Test("lets no header end its line")
    func cleansHeaders() {
        var headers: Headers = ["X-A": "a\r\nSet-Cookie: b"]
        #expect(headers["x-a"] == "aSet-Cookie: b")
        headers["X-a"] = "c"
        #expect(headers.fields.count == 1 && headers.all("X-A") == ["c"])
    }
}
