import JSON

/// One method and path, what it asks of the caller, and what answers.
///
/// A class, because each request passes it on several times.
public final class Route: Sendable {
    /// Makes an answer; thrown `Problem`s are sent as they are, anything else becomes 500.
    public typealias Handler = @Sendable (Request) throws -> Reply
    /// Makes an answer without blocking, or leaves it to the handler.
    public typealias Shortcut = @Sendable (Request) -> Response?

    /// What the caller must show.
    public enum Access: Sendable, Equatable {
        /// Nothing; for what holds no data. The Host and the origin of changes are checked all the same.
        case open
        /// A token or session with the scope.
        case requires(Scope)
    }

    /// Where the handler runs.
    public enum Execution: Sendable {
        /// On the connection's thread: only for handlers that never block.
        case inline
        /// On the work queue; the connection sleeps meanwhile.
        case queued
    }

    /// Which bodies are taken.
    public enum BodyPolicy: Sendable, Equatable {
        /// None.
        case none
        /// JSON up to a size, or none.
        case json(byteCountMax: Int)
        /// Any bytes up to a size, which go into a sink while they come.
        case stream(byteCountMax: Int)
    }

    /// One segment of a route's path.
    enum Segment: Sendable, Equatable {
        case literal(String)
        case parameter(String)
        /// The rest of the path, one segment or more; only at the end.
        case rest(String)
    }

    public let method: Method
    /// The path as it was declared, such as `/v1/jobs/{id}`.
    public let pattern: String
    public let access: Access
    public let execution: Execution
    /// The query parameters that it knows; `nil` when it does not look at the query at all.
    public let query: [any AnyQueryField]?
    public let body: BodyPolicy
    let segments: [Segment]
    private let handler: Handler
    /// Answers on the connection's thread what it can without blocking; `nil` leaves it to the handler.
    private let shortcut: Shortcut?
    /// How the body is taken where it is a stream; then nothing else handles the request.
    let streamed: StreamedRoute?
    /// What the fields make of a request without a query; `nil` where one is required.
    private let unasked: Query?

    /// The usual limit of a JSON body: 1 MiB.
    public static let jsonByteCountMax = 1 << 20

    /// Declares a route.
    ///
    /// - Parameters:
    ///   - method: Its method; `HEAD` and `OPTIONS` are derived.
    ///   - pattern: Its path; `{name}` matches one segment, `{name...}` the rest.
    ///   - access: What the caller must show.
    ///   - execution: Where the handler runs.
    ///   - fields: The query parameters that there may be, read before the handler runs; what is wrong with
    ///     them, and every other parameter, is refused. `nil` lets any query pass unread.
    ///   - body: Which bodies are taken; JSON by default where a body has a meaning.
    ///   - handler: Makes an answer.
    public convenience init(
        _ method: Method, _ pattern: String, access: Access, execution: Execution = .queued,
        query fields: [any AnyQueryField]? = nil, body: BodyPolicy? = nil, reply handler: @escaping Handler
    ) {
        self.init(method, pattern, access, execution, fields, body, handler)
    }

    private init(
        _ method: Method, _ pattern: String, _ access: Access, _ execution: Execution,
        _ fields: [any AnyQueryField]?, _ body: BodyPolicy?, _ handler: @escaping Handler,
        shortcut: Shortcut? = nil, streamed: StreamedRoute? = nil
    ) {
        (self.method, self.pattern, self.access, self.execution) = (method, pattern, access, execution)
        self.body =
            body ?? (method.isSafe || method == .delete ? .none : .json(byteCountMax: Self.jsonByteCountMax))
        (query, self.handler, self.shortcut, self.streamed) = (fields, handler, shortcut, streamed)
        if let fields {
            precondition(Set(fields.map(\.name)).count == fields.count, "\(pattern) has a query field twice")
        }
        unasked = fields.flatMap { try? Query().read(as: $0) }
        segments = pattern.split(separator: "/").map { part in
            guard part.hasPrefix("{"), part.hasSuffix("}") else { return .literal(String(part)) }
            let name = part.dropFirst().dropLast()
            return name.hasSuffix("...") ? .rest(String(name.dropLast(3))) : .parameter(String(name))
        }
    }

    /// The same route, which first tries to answer on the connection's thread.
    public func trying(_ shortcut: @escaping Shortcut) -> Route {
        Route(
            method, pattern, access, execution, query, body, handler, shortcut: shortcut, streamed: streamed)
    }

    /// The request with the values of the fields, where there are fields.
    ///
    /// - Throws: `InvalidInput` with all that is wrong with its query.
    private func reading(_ request: Request) throws(InvalidInput) -> Request {
        guard let query else { return request }
        guard request.query.items.isEmpty, let unasked else { return try request.reading(query) }
        var request = request
        request.query = unasked
        return request
    }

    /// Answers a request; not where the body is a stream.
    func reply(to request: Request) throws -> Reply { try handler(reading(request)) }

    /// Answers at once where that takes no waiting; what is wrong with a query is left to the handler.
    func glance(_ request: Request) -> Response? {
        guard let shortcut, let request = try? reading(request) else { return nil }
        return shortcut(request)
    }

    /// Declares a route that always answers at once.
    public convenience init(
        _ method: Method, _ pattern: String, access: Access, execution: Execution = .queued,
        query fields: [any AnyQueryField]? = nil, body: BodyPolicy? = nil,
        handler: @escaping @Sendable (Request) throws -> Response
    ) {
        self.init(method, pattern, access: access, execution: execution, query: fields, body: body) {
            .now(try handler($0))
        }
    }

    /// Declares a route whose body goes into a sink while it comes.
    ///
    /// - Parameters:
    ///   - method: Its method.
    ///   - pattern: Its path.
    ///   - access: What the caller must show.
    ///   - byteCountMax: The longest body; a longer one is refused by its header.
    ///   - fields: The query parameters that there may be.
    ///   - open: Decides by the header alone whether the body is wanted, on the connection's thread: quickly.
    ///   - reply: Answers after the whole body was taken; may block.
    public convenience init<Sink: BodySink>(
        _ method: Method, _ pattern: String, access: Access, byteCountMax: Int,
        query fields: [any AnyQueryField] = [], open: @escaping @Sendable (Request) throws -> Sink,
        reply: @escaping @Sendable (Request, Sink) throws -> Response
    ) {
        self.init(
            method, pattern, access, .queued, fields, .stream(byteCountMax: byteCountMax),
            { _ in preconditionFailure("\(pattern) is answered by its stream") },
            streamed: StreamedRoute(
                open: { try open($0.reading(fields)) },
                reply: { request, sink in
                    guard let sink = sink as? Sink else { preconditionFailure("the sink of another route") }
                    return try reply(request.reading(fields), sink)
                }))
    }

    /// Whether a path of so many segments can be this one's.
    func canMatch(segmentCount: Int) -> Bool {
        if case .rest? = segments.last {
            segmentCount >= segments.count
        } else {
            segmentCount == segments.count
        }
    }

    /// What the placeholders match; `nil` when the path is another one.
    func match(_ path: [String]) -> [String: String]? {
        // Most routes are others; they cost no more than a comparison.
        for (segment, value) in zip(segments, path) {
            if case .literal(let literal) = segment, literal != value { return nil }
        }
        guard segments.count <= path.count else { return nil }
        var parameters: [String: String] = [:]
        var rest = path[...]
        for segment in segments {
            if case .rest(let name) = segment {
                guard !rest.isEmpty else { return nil }
                parameters[name] = rest.joined(separator: "/")
                return parameters
            }
            guard let value = rest.popFirst() else { return nil }
            switch segment {
            case .literal(let literal): if literal != value { return nil }
            case .parameter(let name), .rest(let name): parameters[name] = value
            }
        }
        return rest.isEmpty ? parameters : nil
    }
}

extension Request {
    /// The request with the values of the fields of its query.
    fileprivate func reading(_ fields: [any AnyQueryField]) throws(InvalidInput) -> Request {
        var request = self
        request.query = try query.read(as: fields)
        return request
    }
}
