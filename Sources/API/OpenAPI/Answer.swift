import HTTP
import JSON

/// One status that an operation answers with, and what comes with it.
struct Answer: Sendable {
    let status: Status
    let documentation: String
    /// The media types it may come in.
    let content: [(type: String, schema: JSONValue)]
    /// Its header fields, and what they say.
    let headers: [(name: String, documentation: String)]

    /// Describes an answer.
    init(
        _ status: Status, _ documentation: String, content: [(type: String, shape: Shape)] = [],
        headers: [(name: String, documentation: String)] = []
    ) {
        (self.status, self.documentation, self.headers) = (status, documentation, headers)
        self.content = content.map { ($0.type, $0.shape.json) }
    }

    /// An answer in JSON.
    static func json(
        _ documentation: String, _ resource: Resource, status: Status = .ok,
        headers: [(name: String, documentation: String)] = []
    ) -> Answer {
        Answer(status, documentation, content: [("application/json", .resource(resource))], headers: headers)
    }

    /// A file.
    static func download(_ documentation: String) -> Answer {
        Answer(
            .ok, documentation, content: [("application/octet-stream", Shape.any)],
            headers: [etag, ("Content-Disposition", "The name to keep it under.")])
    }

    /// A part of a file.
    static let part = Answer(
        .partialContent, "The bytes that `Range` names.",
        content: [("application/octet-stream", Shape.any)],
        headers: [etag, ("Content-Range", "Which bytes of how many.")])

    static let etag = (name: "ETag", documentation: "Names this version; for `If-None-Match`.")
    static let notModified = Answer(.notModified, "The client's copy is still good.", headers: [etag])

    /// The response object of OpenAPI 3.1, with `links` to what may be done next.
    func json(links: JSONValue? = nil) -> JSONValue {
        var object: JSONObject = ["description": .string(documentation)]
        if !headers.isEmpty { object["headers"] = Self.members(headers) }
        if !content.isEmpty {
            object["content"] = .object(
                JSONObject(content.map { ($0.type, ["schema": $0.schema] as JSONValue) }))
        }
        object["links"] = links
        return .object(object)
    }

    private static func members(_ headers: [(name: String, documentation: String)]) -> JSONValue {
        .object(
            JSONObject(
                headers.map { header in
                    let object: JSONValue = [
                        "description": .string(header.documentation), "schema": ["type": "string"],
                    ]
                    return (header.name, object)
                }))
    }
}

/// The problem documents that any operation may answer with; one component for each status.
enum Refusal {
    /// Every status that comes with a problem document, and when.
    static let all: [(status: Status, documentation: String)] = [
        (
            .badRequest,
            "Not well-formed: the target, a header field, or a body that is no JSON or not wanted."
        ),
        (.unauthorized, "No valid token."),
        (.forbidden, "The token lacks the scope, or a page of another site asks."),
        (.notFound, "There is no such thing."),
        (.conflict, "The state of things forbids it; `code` says which."),
        (.preconditionFailed, "`If-Match` is not the ETag of what is there."),
        (.contentTooLarge, "The body is too large."),
        (.unsupportedMediaType, "The body is not of the type that is described, or compressed."),
        (.rangeNotSatisfiable, "The range is beyond the file; `Content-Range` has its size."),
        (.unprocessableContent, "The query or the body breaks rules; `errors` has all of them."),
        (
            .tooManyRequests,
            "Too many changes or wrong credentials in a short time; or there is no verdict yet."
        ),
        (.serviceUnavailable, "Busy, full, shutting down or not ready; `code` says which."),
        (.insufficientStorage, "No room on the disk, or not enough memory."),
    ]

    /// What the HTTP library answers by itself, by a page, to a request of any route.
    static let ofLibrary: [(status: Status, documentation: String)] = [
        (.uriTooLong, "The target has more bytes than a request may."),
        (.headersTooLarge, "The header has more bytes than a request may."),
    ]

    /// The components of the document.
    static var components: JSONValue {
        let problems = all.map { status, documentation in
            let answer = Answer(
                status, documentation, content: [("application/problem+json", .resource(.problem))],
                headers: headers(of: status))
            return (name(of: status), answer.json())
        }
        let pages = ofLibrary.map { status, documentation in
            let answer = Answer(status, documentation, content: [("text/html", .text)])
            return (name(of: status), answer.json())
        }
        return .object(JSONObject(problems + pages))
    }

    /// What an operation says of a status.
    static func reference(to status: Status) -> JSONValue {
        let isKnown = (all + ofLibrary).contains { $0.status == status }
        precondition(isKnown, "\(status.code) is no refusal that we know")
        return ["$ref": .string("#/components/responses/\(name(of: status))")]
    }

    private static func name(of status: Status) -> String { status.phrase.filter { $0 != " " } }

    private static func headers(of status: Status) -> [(name: String, documentation: String)] {
        switch status {
        case .unauthorized: [("WWW-Authenticate", "`Bearer`")]
        case .tooManyRequests, .serviceUnavailable, .insufficientStorage:
            [("Retry-After", "Seconds after which another try makes sense, where that is known.")]
        default: []
        }
    }
}
