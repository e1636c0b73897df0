import Files
import Glibc
public import JSON

/// An answer.
public struct Response: Sendable {
    /// What follows the header.
    public enum Body: Sendable {
        case bytes([UInt8])
        case file(FileBody)
        case made(MadeBody)
        case events(EventSource)
    }

    public var status: Status
    public var headers: Headers
    public var body: Body

    /// Makes an answer with a body in memory.
    public init(
        _ status: Status = .ok, headers: Headers = Headers(), contentType: String? = nil, bytes: [UInt8] = []
    ) {
        (self.status, self.headers, body) = (status, headers, .bytes(bytes))
        if let contentType { self.headers["Content-Type"] = contentType }
    }

    /// Makes an answer whose body is a JSON value.
    public static func json(_ value: JSONValue, status: Status = .ok, headers: Headers = Headers())
        -> Response
    {
        json(value.encodedBytes(), status: status, headers: headers)
    }

    /// Makes an answer whose body is JSON that was encoded before.
    public static func json(_ bytes: [UInt8], status: Status = .ok, headers: Headers = Headers()) -> Response
    {
        Response(status, headers: headers, contentType: "application/json", bytes: bytes)
    }

    /// Makes an answer whose body is text.
    public static func text(_ text: String, status: Status = .ok, contentType: String) -> Response {
        Response(status, contentType: "\(contentType); charset=utf-8", bytes: Array(text.utf8))
    }

    /// Makes an answer that sends a file or the part that was asked for, marked as a download.
    ///
    /// - Parameters:
    ///   - file: All of it.
    ///   - name: What the client should call it; only letters, digits, `.`, `-` and `_` are kept.
    ///   - etag: The file's strong validator, in quotes.
    ///   - request: What was asked for.
    /// - Returns: 200, or 206 with `Content-Range`; 416 `range_not_satisfiable` where the file has no such
    ///   bytes.
    /// - Throws: `HTTPError.cannotOpen` where no descriptor is left for a part.
    public static func download(
        _ file: any Downloadable, name: String, etag: String, for request: Request
    ) throws(HTTPError) -> Response {
        let safe = name.unicodeScalars.filter {
            $0.isASCII
                && ($0.properties.isAlphabetic || ("0"..."9").contains($0)
                    || "._-".unicodeScalars.contains($0))
        }
        var response = Response(.ok, contentType: "application/octet-stream")
        // Without dots at its start it is no hidden file; a name of which nothing is left has still an end.
        let plain = String(String.UnicodeScalarView(safe.drop { $0 == "." }))
        let kept = safe.first == "." && !plain.contains(".") ? "model.\(plain)" : plain
        response.headers["Content-Disposition"] = "attachment; filename=\"\(kept)\""
        response.headers["ETag"] = etag
        response.headers["Accept-Ranges"] = "bytes"
        switch request.byteRange(of: file.byteCount, etag: etag) {
        case .whole: response.body = file.body
        case .part(let range):
            response.status = .partialContent
            response.headers["Content-Range"] =
                "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(file.byteCount)"
            response.body = try file.body(of: range)
        case .unsatisfiable:
            return Problem(
                .rangeNotSatisfiable, "range_not_satisfiable",
                "The file has \(file.byteCount) bytes, and none of those that were asked for.",
                headers: ["Content-Range": "bytes */\(file.byteCount)"]
            ).response
        }
        return response
    }

    /// Makes a live stream of events.
    public static func events(_ source: EventSource) -> Response {
        var response = Response(.ok, contentType: "text/event-stream")
        response.headers["Cache-Control"] = "no-store"
        response.body = .events(source)
        return response
    }

    /// The body in memory; `nil` for files and streams.
    public var bytes: [UInt8]? {
        if case .bytes(let bytes) = body { bytes } else { nil }
    }

    /// A strong validator for content that nothing else names the version of: its digest.
    public static func etag(of bytes: [UInt8]) -> String { "\"\(SHA256.digest(of: bytes).hex.prefix(32))\"" }

    /// The same answer with a validator; 304 without a body when the client's copy is good.
    public func validated(by etag: String, for request: Request) -> Response {
        var response = self
        response.headers["ETag"] = etag
        guard request.method.isSafe, request.hasFresh(etag: etag) else { return response }
        response.status = .notModified
        response.headers["Content-Type"] = nil
        response.body = .bytes([])
        return response
    }
}

/// What a handler makes of a request: an answer now, or one that waits for something to happen.
public enum Reply: Sendable {
    case now(Response)
    case later(Wait)
}

/// A long poll: an answer that is due when something changes, or when the time is over.
///
/// Nothing is held meanwhile but the connection; no thread waits.
public struct Wait: Sendable {
    /// How long the client wants to wait.
    public let seconds: Double
    /// Calls `wake` at the next change, at least once, from any thread; the result calls it off.
    public let subscribe: @Sendable (_ wake: @escaping @Sendable () -> Void) -> @Sendable () -> Void
    /// Looks again; `nil` waits on, but when `isLast` there must be an answer.
    public let answer: @Sendable (_ isLast: Bool) throws -> Response?

    /// Makes a wait; `subscribe` is called again after each look that was not enough.
    public init(
        seconds: Double,
        subscribe: @escaping @Sendable (@escaping @Sendable () -> Void) -> @Sendable () -> Void,
        answer: @escaping @Sendable (_ isLast: Bool) throws -> Response?
    ) {
        (self.seconds, self.subscribe, self.answer) = (seconds, subscribe, answer)
    }
}

/// The system's text for an error number.
func systemMessage(_ code: Int32) -> String {
    unsafe String(cString: strerror(code))
}
