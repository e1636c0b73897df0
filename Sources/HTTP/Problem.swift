public import JSON

/// An error as clients see it (RFC 9457, `application/problem+json`).
public struct Problem: Error, Sendable, CustomStringConvertible {
    public let status: Status
    /// The stable name of the error, in snake_case: the contract.
    public let code: String
    /// What happened, for people; may be reworded.
    public let detail: String
    /// What is wrong with the body or the query, all of it.
    public let violations: [Violation]
    /// Further header fields, such as `Allow` and `Retry-After`.
    public var headers: Headers
    /// Further members of the document.
    public var more: JSONObject = [:]
    /// What is behind it; for the log, never shown.
    public var cause: String?

    /// Makes a problem.
    public init(
        _ status: Status, _ code: String, _ detail: String, violations: [Violation] = [],
        headers: Headers = Headers()
    ) {
        (self.status, self.code, self.detail) = (status, code, detail)
        (self.violations, self.headers) = (violations, headers)
    }

    /// The problem of a document or query that breaks rules: 422 `invalid_request`.
    public init(_ invalid: InvalidInput) {
        let count = invalid.violations.count
        let detail =
            count == 1
            ? invalid.violations[0].detail
            : count < ViolationLog.countMax
                ? "\(count) fields are wrong; see `errors` for each of them."
                : "\(count) fields or more are wrong; see `errors` for the first of them."
        self.init(.unprocessableContent, "invalid_request", detail, violations: invalid.violations)
    }

    /// Code, detail and cause; for the log.
    public var description: String {
        "\(status.code) \(code): \(detail)" + (cause.map { " (\($0))" } ?? "")
    }

    /// The document.
    public var json: JSONValue {
        var object: JSONObject = [
            "type": "about:blank", "title": .string(status.phrase), "status": JSONValue(status.code),
            "code": .string(code), "detail": .string(detail),
        ]
        if !violations.isEmpty { object["errors"] = .array(violations.map(\.json)) }
        for (key, value) in more.members { object[key] = value }
        return .object(object)
    }

    /// The answer.
    public var response: Response {
        var response = Response(status, contentType: "application/problem+json", bytes: json.encodedBytes())
        for (name, value) in headers.fields { response.headers.add(name, value) }
        return response
    }
}
