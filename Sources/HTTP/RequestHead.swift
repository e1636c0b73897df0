/// A request's line and header fields as the library understood them, before any check.
struct RequestHead: Sendable {
    var method: String
    var version: String
    /// The path as sent, without the query.
    var path: String
    /// The query's keys and values as sent, except that `+` is a space already.
    var query: [(name: String, value: String)]
    var headers: Headers
    /// Header fields with bytes that have no place in a header.
    var hasMalformedField: Bool
    /// Whether it had nothing else that the library keeps to itself.
    var isVerbatim = true
    /// The client's address as text.
    var peer: String
    /// Where it came in.
    var listener: Listener
}

/// A request head that passed `Validator`.
struct ValidHead: Sendable {
    let method: Method
    let path: [String]
    let query: Query
    let headers: Headers
    let host: String
    let peer: String
    /// Bytes of the body; `nil` when it comes in chunks.
    let contentLength: UInt64?
    let isChunked: Bool
    let listener: Listener

    /// Whether a body follows.
    var hasBody: Bool { isChunked || (contentLength ?? 0) > 0 }
    /// Whether the body is on its way already, and worth swallowing.
    var isShort: Bool {
        headers["Expect"] == nil && (contentLength.map { $0 <= UInt64(Route.jsonByteCountMax) } ?? false)
    }
}

/// What the gate and the router make of a request.
enum Admission: Sendable {
    case admitted(Route, [String: String], Principal?)
    /// With who called, where that was known.
    case refused(Response, Principal?)

    /// Who calls, where that is known.
    var principal: Principal? {
        switch self {
        case .admitted(_, _, let principal), .refused(_, let principal): principal
        }
    }
}

/// Refuses what libmicrohttpd 0.9.75 lets pass although RFC 9110 and 9112 forbid it.
///
/// The library accepts both framings at once, two lengths, a space before the colon and any method;
/// each of these lets two parsers disagree about where a request ends. So do folded lines, bare line
/// feeds and NULs, of which `RequestHead.isVerbatim` tells.
enum Validator {
    private static let headerCountMax = 100
    private static let unique = [
        "Content-Length", "Transfer-Encoding", "Content-Type", "Content-Encoding", "Authorization", "Origin",
        "Sec-Fetch-Site", "Idempotency-Key", "Content-Digest", "Expect", "Last-Event-ID", "If-None-Match",
    ]

    /// Checks a head; every refusal also closes the connection, whose framing cannot be trusted.
    static func check(_ head: RequestHead) throws(Problem) -> ValidHead {
        guard let method = Method(rawValue: head.method) else {
            throw malformed("invalid_method", "The method is not the name of one.")
        }
        guard head.version == "HTTP/1.1" || head.version == "HTTP/1.0" && (method == .get || method == .head)
        else {
            throw malformed("unsupported_version", "Only HTTP/1.1 is spoken here.")
        }
        guard head.isVerbatim else {
            throw malformed(
                "invalid_header",
                "The header has folded lines, bare line feeds, null bytes or lines without a name.")
        }
        try checkFields(head)
        let hosts = head.headers.all("Host")
        guard hosts.count == 1 else {
            throw malformed("invalid_header", "There must be exactly one Host field.")
        }
        let length = try checkFraming(head.headers)
        try checkTarget(head)
        guard let path = PercentEncoding.segments(of: head.path), let query = decode(head.query) else {
            throw malformed("invalid_target", "The target has a malformed escape or segment.")
        }
        return ValidHead(
            method: method, path: path, query: query, headers: head.headers, host: hosts[0], peer: head.peer,
            contentLength: length, isChunked: head.headers["Transfer-Encoding"] != nil,
            listener: head.listener)
    }

    private static func checkFields(_ head: RequestHead) throws(Problem) {
        guard head.headers.fields.count <= headerCountMax else {
            throw malformed("invalid_header", "More than \(headerCountMax) header fields.")
        }
        let areClean = head.headers.fields.allSatisfy { !$0.name.isEmpty && $0.name.utf8.allSatisfy(isToken) }
        guard areClean, !head.hasMalformedField else {
            throw malformed("invalid_header", "A header field has a character that is not allowed there.")
        }
        if let name = unique.first(where: head.headers.hasSeveral) {
            throw malformed("invalid_header", "The header field \(name) is given twice.")
        }
        if let expect = head.headers["Expect"], expect.lowercased() != "100-continue" {
            throw close(
                Problem(.expectationFailed, "expectation_failed", "Only 100-continue may be expected."))
        }
    }

    private static func checkFraming(_ headers: Headers) throws(Problem) -> UInt64? {
        if let encoding = headers["Transfer-Encoding"] {
            guard encoding.lowercased() == "chunked", headers["Content-Length"] == nil else {
                throw malformed(
                    "invalid_framing", "Transfer-Encoding must be chunked, without Content-Length.")
            }
            return nil
        }
        guard let text = headers["Content-Length"] else { return 0 }
        guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let length = UInt64(text)
        else {
            throw malformed("invalid_framing", "Content-Length must be a number.")
        }
        return length
    }

    private static func checkTarget(_ head: RequestHead) throws(Problem) {
        guard head.path.utf8.first == slash, isClean(path: head.path.utf8) else {
            throw malformed("invalid_target", "The target is not a plain absolute path.")
        }
        let parts = head.query.lazy.flatMap { [$0.name, $0.value] }
        guard parts.allSatisfy({ $0.utf8.allSatisfy { (0x20...0x7E).contains($0) && $0 != 0x23 } }) else {
            throw malformed("invalid_target", "The query has a character that must be escaped.")
        }
    }

    private static let slash = UInt8(ascii: "/")

    /// Whether a path has nothing but printable ASCII, no empty segment but the last and nothing that others
    /// read as its end.
    private static func isClean(path: String.UTF8View) -> Bool {
        var before: UInt8 = 0
        for byte in path {
            switch byte {
            case UInt8(ascii: "#"), UInt8(ascii: ";"), UInt8(ascii: "\\"): return false
            case slash where before == slash: return false
            case 0x21...0x7E: before = byte
            default: return false
            }
        }
        return true
    }

    private static func decode(_ raw: [(name: String, value: String)]) -> Query? {
        var items: [(name: String, value: String)] = []
        for item in raw {
            guard let name = PercentEncoding.decode(item.name), let value = PercentEncoding.decode(item.value)
            else {
                return nil
            }
            items.append((name, value))
        }
        return Query(items)
    }

    /// Whether a method is one that somebody may have defined, though not us.
    static func isForeign(_ method: String) -> Bool {
        Method(rawValue: method) == nil && !method.isEmpty && method.utf8.allSatisfy(isToken)
    }

    private static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
            true
        default: "!#$%&'*+.^_`|~".utf8.contains(byte)
        }
    }

    private static func malformed(_ code: String, _ detail: String) -> Problem {
        close(Problem(.badRequest, code, detail))
    }

    static func close(_ problem: Problem) -> Problem {
        var problem = problem
        problem.headers["Connection"] = "close"
        return problem
    }
}
