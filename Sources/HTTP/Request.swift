public import JSON

/// A request that passed the gate and found its route.
public struct Request: Sendable {
    /// Ours, unique, sent back as `X-Request-Id`.
    public let id: String
    public let method: Method
    /// The path's segments, decoded once.
    public let path: [String]
    /// The parameters; a route that declares its fields finds their values here.
    public internal(set) var query: Query
    public let headers: Headers
    /// The whole body; empty without one.
    public var body: [UInt8]
    /// Who calls; `nil` on public routes without credentials.
    public let principal: Principal?
    /// The client's address as text.
    public let peer: String
    /// Whether it came by TLS.
    public let isEncrypted: Bool
    /// What the route's placeholders matched.
    public var parameters: [String: String]

    /// Makes a request; the server does, and tests that call a handler directly.
    public init(
        _ method: Method, path: [String], query: Query = Query(), headers: Headers = Headers(),
        body: [UInt8] = [], principal: Principal? = nil, peer: String = "", id: String = "",
        parameters: [String: String] = [:], isEncrypted: Bool = false
    ) {
        (self.method, self.path, self.query, self.headers) = (method, path, query, headers)
        (self.body, self.principal, self.peer, self.id) = (body, principal, peer, id)
        (self.parameters, self.isEncrypted) = (parameters, isEncrypted)
    }

    /// What the placeholder `{name}` of the route matched.
    public func parameter(_ name: String) -> String {
        guard let value = parameters[name] else { preconditionFailure("the route has no {\(name)}") }
        return value
    }

    /// The body as JSON.
    ///
    /// - Parameter fallback: What an empty body means; `nil` when there must be one.
    /// - Returns: The parsed body.
    /// - Throws: `Problem` 400 `malformed_json`, saying where.
    public func json(orEmpty fallback: JSONValue? = nil) throws(Problem) -> JSONValue {
        if body.isEmpty, let fallback { return fallback }
        do {
            return try JSONValue(parsing: body)
        } catch {
            throw Problem(.badRequest, "malformed_json", "The body is not valid JSON: \(error).")
        }
    }

    /// Whether the client asks for `type` before anything else.
    public func accepts(_ type: String) -> Bool {
        headers["Accept"]?.split(separator: ",").first
            .map { $0.prefix { $0 != ";" }.trimmingSpaces() == type } ?? false
    }

    /// Whether `If-None-Match` holds `etag`, so that the client's copy is good.
    public func hasFresh(etag: String) -> Bool {
        headers["If-None-Match"]?.split(separator: ",").contains { candidate in
            let candidate = candidate.trimmingSpaces()
            let opaque = candidate.hasPrefix("W/") ? candidate.dropFirst(2) : Substring(candidate)
            return candidate == "*" || opaque == etag
        } ?? false
    }

    /// Whether `If-Match` lets `etag` pass: compared as it is, so that weak validators never do.
    public func isWanted(etag: String) -> Bool {
        headers["If-Match"]?.split(separator: ",").contains { candidate in
            ["*", etag].contains(candidate.trimmingSpaces())
        } ?? true
    }
}

extension Substring {
    /// The text without spaces and tabs at its ends.
    func trimmingSpaces() -> String {
        let start = drop { $0 == " " || $0 == "\t" }
        guard let last = start.lastIndex(where: { $0 != " " && $0 != "\t" }) else { return "" }
        return String(start[...last])
    }
}
