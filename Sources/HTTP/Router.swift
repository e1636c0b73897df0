import JSON

/// Finds the route of a path; literal segments win over placeholders, earlier routes over later ones.
public struct Router: Sendable {
    /// Every route, in the order of declaration.
    public let routes: [Route]
    /// Those that a path of so many segments can lead to; the last for all longer ones.
    ///
    /// Routes that end in `{name...}` come last: they would match what others know better.
    private let ranked: [[Route]]

    /// Makes a router.
    public init(_ routes: [Route]) {
        self.routes = routes
        let rank = { (route: Route) in
            route.segments.reduce(0) { sum, segment in
                switch segment {
                case .literal: sum
                case .parameter: sum + 1
                case .rest: sum + 1000
                }
            }
        }
        let sorted = routes.enumerated()
            .sorted { (rank($0.element), $0.offset) < (rank($1.element), $1.offset) }.map(\.element)
        let longest = routes.map(\.segments.count).max() ?? 0
        ranked = (0...longest + 1).map { count in sorted.filter { $0.canMatch(segmentCount: count) } }
    }

    /// What a path leads to.
    enum Match: Sendable {
        case route(Route, [String: String])
        /// The path is known, with other methods.
        case methods([Method], Route.Access)
        case unknown
    }

    /// Finds the route of a request.
    func match(_ method: Method, _ path: [String]) -> Match {
        let wanted: Method = method == .head ? .get : method
        var known: [Route] = []
        for route in ranked[min(path.count, ranked.count - 1)] {
            guard let parameters = route.match(path) else { continue }
            if route.method == wanted { return .route(route, parameters) }
            known.append(route)
        }
        guard !known.isEmpty else { return .unknown }
        var methods = Set(known.map(\.method))
        if methods.contains(.get) { methods.insert(.head) }
        methods.insert(.options)
        // Strangers learn what a path knows only where all of it is open.
        let access = known.map(\.access).first { $0 != .open } ?? .open
        return .methods(Method.allCases.filter(methods.contains), access)
    }

    /// Answers a request as the server would once it is admitted, except that waits are not waited for.
    ///
    /// For tests that need no sockets.
    ///
    /// - Parameter request: Any request.
    /// - Returns: The handler's reply, or the answer for its error.
    public func handle(_ request: Request) -> Reply {
        switch match(request.method, request.path) {
        case .route(let route, let parameters):
            var request = request
            request.parameters = parameters
            do {
                guard let streamed = route.streamed else { return try route.reply(to: request) }
                let sink = try streamed.open(request)
                defer { sink.abandon() }
                if !request.body.isEmpty { try sink.take(request.body) }
                return .now(try streamed.reply(request, sink))
            } catch {
                return .now(Self.response(for: error))
            }
        case .methods(let methods, _): return .now(Self.otherMethods(methods, request.method))
        case .unknown: return .now(Self.notFound.response)
        }
    }

    /// The answer for a path without a route.
    static let notFound = Problem(.notFound, "not_found", "There is nothing at this path.")

    /// The answer for a path with other methods: which ones there are.
    static func otherMethods(_ methods: [Method], _ method: Method) -> Response {
        let allow = methods.map(\.rawValue).joined(separator: ", ")
        guard method != .options else { return Response(.noContent, headers: ["Allow": allow]) }
        return otherMethods(methods).response
    }

    /// The problem of a path with other methods.
    static func otherMethods(_ methods: [Method]) -> Problem {
        let allow = methods.map(\.rawValue).joined(separator: ", ")
        return Problem(
            .methodNotAllowed, "method_not_allowed", "This path knows \(allow).", headers: ["Allow": allow])
    }

    /// The answer for what a handler threw; what is not meant for clients is hidden from them.
    static func response(for error: any Error) -> Response {
        switch error {
        case let problem as Problem: problem.response
        case let invalid as InvalidInput: Problem(invalid).response
        default:
            Problem(
                .internalServerError, "internal_error",
                "Something went wrong here; the request id says where to look in the log."
            ).response
        }
    }
}
