import HTTP
import JSON
import Jobs

/// A route with all that a client should know of it: what `/openapi.json` says.
///
/// Routes of this target are declared as operations only, so that none can be without a description.
struct Operation: Sendable {
    /// What a group of operations is about.
    enum Tag: String, CaseIterable, Sendable {
        case jobs, models, datasets, webhooks, system, session, dashboard

        /// What the group is, for people.
        var documentation: String {
            switch self {
            case .jobs: "Submitting, following, steering and judging jobs."
            case .models: "Stored models: their descriptions, their weights, their predictions."
            case .datasets: "What jobs learn from."
            case .webhooks: "Who is told of jobs."
            case .system: "The service itself."
            case .session: "How a browser signs in."
            case .dashboard: "The files of the dashboard."
            }
        }
    }

    /// The name under which generated clients have it.
    let id: String
    /// What it does, in a sentence.
    let summary: String
    let tag: Tag
    let route: Route
    /// What the placeholders of the path stand for.
    let path: [PathField]
    /// The request's header fields that mean something to it.
    let headers: [HeaderField]
    let body: RequestBody?
    let answers: [Answer]
    /// Refusals beside those that its route alone makes possible.
    private let furtherRefusals: Set<Status>

    /// Describes a route.
    init(
        _ id: String, _ summary: String, _ tag: Tag, _ route: Route, path: [PathField] = [],
        headers: [HeaderField] = [], body: RequestBody? = nil, answers: [Answer], refusals: Set<Status> = []
    ) {
        (self.id, self.summary, self.tag, self.route) = (id, summary, tag, route)
        (self.path, self.headers, self.body) = (path, headers, body)
        (self.answers, furtherRefusals) = (answers, refusals)
    }

    /// The statuses that come with a problem document.
    ///
    /// Each is one for which something of the route is checked; what a client did wrong with HTTP itself is
    /// answered before there is a route.
    var refusals: Set<Status> {
        var all: Set<Status> = furtherRefusals.union([.badRequest, .serviceUnavailable])
        if route.access != .open { all.formUnion([.unauthorized, .forbidden, .tooManyRequests]) }
        if !route.method.isSafe { all.formUnion([.forbidden, .tooManyRequests]) }
        if route.query != nil { all.insert(.unprocessableContent) }
        if body != nil { all.formUnion([.contentTooLarge, .unsupportedMediaType, .unprocessableContent]) }
        if !path.isEmpty { all.insert(.notFound) }
        return all.subtracting(answers.map(\.status))
    }

    /// The operation object of OpenAPI 3.1.
    var json: JSONValue {
        var object: JSONObject = [
            "operationId": .string(id), "summary": .string(summary), "tags": [.string(tag.rawValue)],
            "security": security,
        ]
        let parameters = path.map(\.json) + (route.query ?? []).map(Self.parameter) + headers.map(\.json)
        if !parameters.isEmpty { object["parameters"] = .array(parameters) }
        object["requestBody"] = body?.json(examples: Examples.json(of: id))
        object["responses"] = .object(responses)
        return .object(object)
    }

    private var security: JSONValue {
        switch route.access {
        case .requires(let scope): [["bearer": [.string(scope.rawValue)]]]
        // Whoever signs in may do so with the token.
        case .open: route.method.isSafe ? [] : [[:], ["bearer": []]]
        }
    }

    private var responses: JSONObject {
        let described = answers.map {
            ($0.status.code, $0.json(links: Links.json(from: id, $0.status)))
        }
        let refused = refusals.union(Refusal.ofLibrary.map(\.status)).map {
            ($0.code, Refusal.reference(to: $0))
        }
        let sorted = (described + refused).sorted { $0.0 < $1.0 }
        return JSONObject(sorted.map { ("\($0.0)", $0.1) })
    }

    private static func parameter(_ field: any AnyQueryField) -> JSONValue {
        var object: JSONObject = [
            "name": .string(field.name), "in": "query", "description": .string(field.documentation),
            "required": .bool(field.isRequired), "schema": field.jsonSchema,
        ]
        switch field.form {
        case .text: break
        case .commas:
            object["style"] = "form"
            object["explode"] = false
        case .prefix:
            // An object in this style is one parameter for each of its members, under the member's name.
            object["style"] = "form"
            object["explode"] = true
            var schema = field.jsonSchema.objectValue ?? [:]
            let name = #"^\#(escaped(field.name))[^\x00-\x1F\x7F]*$"#
            schema["patternProperties"] = .object(
                JSONObject([(name, schema["additionalProperties"] ?? [:])]))
            schema["additionalProperties"] = false
            object["schema"] = .object(schema)
        }
        return .object(object)
    }

    /// A name as a regular expression that matches it alone.
    private static func escaped(_ name: String) -> String {
        name.map { $0.isLetter || $0 == "_" ? String($0) : "\\\($0)" }.joined()
    }
}

/// What a placeholder of a path stands for.
struct PathField: Sendable {
    let name: String
    let documentation: String
    let shape: Shape
    /// A value that works.
    var example: String?

    static let job = PathField(name: "id", documentation: "The job's id.", shape: .identifier("job"))
    static let model = PathField(name: "id", documentation: "The model's id.", shape: .identifier("mdl"))
    static let dataset = PathField(name: "id", documentation: "The dataset's id or name.", shape: .segment)
    static let webhook = PathField(
        name: "id", documentation: "The webhook's id.", shape: .identifier(WebhookSubject.prefix))

    var json: JSONValue {
        var object: JSONObject = [
            "name": .string(name), "in": "path", "description": .string(documentation), "required": true,
            "schema": shape.json,
        ]
        object["example"] = example.map(JSONValue.string)
        return .object(object)
    }
}

/// A request's header field.
struct HeaderField: Sendable {
    let name: String
    let documentation: String
    let shape: Shape

    static let ifNoneMatch = HeaderField(
        name: "If-None-Match", documentation: "The `ETag` of the client's copy; 304 when it is still good.",
        shape: .text)
    static let ifMatch = HeaderField(
        name: "If-Match",
        documentation: "The `ETag` of what the client has seen; 412 when it has changed since.",
        shape: .text)
    static let lastEventID = HeaderField(
        name: "Last-Event-ID", documentation: "Where a stream goes on: the `id` of its last event.",
        shape: .text)
    static let range = HeaderField(
        name: "Range", documentation: "Which bytes are wanted: one range, as in `bytes=0-1023`.", shape: .text
    )
    static let contentDigest = HeaderField(
        name: "Content-Digest",
        documentation: "What the body must hash to, as in `sha-256=:BASE64:` (RFC 9530).", shape: .text)
    static let idempotencyKey = HeaderField(
        name: "Idempotency-Key",
        documentation: "Chosen by the client: the same key and body make the same job again.",
        shape: Shape(["type": "string", "minLength": 1, "maxLength": 255]))

    var json: JSONValue {
        ["name": .string(name), "in": "header", "description": .string(documentation), "schema": shape.json]
    }
}

/// What a client sends.
struct RequestBody: Sendable {
    let schema: JSONValue
    let isRequired: Bool
    private var type = "application/json"

    /// Any bytes, or none.
    static let bytes: RequestBody = {
        var body = RequestBody([:], false)
        body.type = "application/octet-stream"
        return body
    }()

    /// A body of one of the document's components.
    init(component: String) { (schema, isRequired) = (Shape.component(component).json, true) }

    /// A body that is read with a table of fields.
    init(_ table: ObjectSchema, isRequired: Bool = false) {
        (schema, self.isRequired) = (table.jsonSchema(), isRequired)
    }

    /// The same without defaults: what a client leaves out stays as it is.
    func forChanges() -> RequestBody { RequestBody(Self.withoutDefaults(schema), isRequired) }

    private init(_ schema: JSONValue, _ isRequired: Bool) {
        (self.schema, self.isRequired) = (schema, isRequired)
    }

    private static func withoutDefaults(_ schema: JSONValue) -> JSONValue {
        guard var object = schema.objectValue else { return schema }
        let properties = (object["properties"]?.objectValue?.members ?? []).map { member in
            var property = member.value.objectValue ?? [:]
            property["default"] = nil
            return (member.key, JSONValue.object(property))
        }
        object["properties"] = .object(JSONObject(properties))
        return .object(object)
    }

    /// The request body object of OpenAPI 3.1.
    func json(examples: JSONValue?) -> JSONValue {
        var content: JSONObject = ["schema": SchemaEmbedding.part(of: schema)]
        content["examples"] = examples
        return ["required": .bool(isRequired), "content": [type: .object(content)]]
    }
}
