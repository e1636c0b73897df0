import JSON
import Synchronization

/// What a running server consists of; shared by its threads.
final class ServerCore: Sendable {
    /// How far a shutdown has come.
    private enum Stage: Int, Comparable {
        case open, draining, closed

        static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    /// What becomes of a request after its header.
    enum Beginning {
        case refuse(Response, requestID: String)
        case exchange(Exchange)
    }

    let configuration: ServerConfiguration
    let connections: ConnectionTable
    let work: WorkQueue
    /// Takes bodies off the connections' threads, so that neither they nor handlers wait for a disk.
    let bodies: WorkQueue
    let bodyRoom: BodyRoom
    let waiters: Waiters
    private let lingerer = Lingerer()
    private let router: Router
    private let gate: Gate
    private let stage = Mutex(Stage.open)
    private let requestCount = Atomic<UInt64>(0)
    private let requestPrefix: String
    private let exchanges = Mutex<[ObjectIdentifier: Exchange]>([:])

    init(
        _ configuration: ServerConfiguration, router: Router, gate: Gate,
        onDeadline: @escaping @Sendable (ContinuousClock.Instant) -> Void
    ) {
        (self.configuration, self.router, self.gate) = (configuration, router, gate)
        connections = ConnectionTable(bodySeconds: configuration.bodySeconds)
        work = WorkQueue(threads: configuration.handlerThreads, countMax: configuration.queuedHandlersMax)
        bodies = WorkQueue(threads: configuration.bodyThreads, countMax: configuration.queuedHandlersMax)
        bodyRoom = BodyRoom(byteCountMax: configuration.bodiesByteCountMax)
        waiters = Waiters(countMax: configuration.waitersMax, onDeadline: onDeadline)
        requestPrefix = String(UInt32.random(in: .min ... .max), radix: 36)
    }

    /// Whether no new work is taken.
    var isDraining: Bool { stage.withLock { $0 >= .draining } }
    /// Whether nothing may be suspended any more.
    var isClosed: Bool { stage.withLock { $0 == .closed } }

    func startDraining() { stage.withLock { $0 = max($0, .draining) } }
    func close() {
        stage.withLock { $0 = .closed }
        lingerer.stop()
    }

    func log(_ level: LogLevel, _ message: String, _ requestID: String? = nil) {
        configuration.log(level, message, requestID)
    }

    /// Tells of an answer that says less than is known; only what went wrong here is an error.
    func log(failed requestID: String, _ response: Response, _ error: any Error) {
        guard response.status.code >= 500 else { return }
        log(response.status.code == 500 ? .error : .notice, "the request failed: \(error)", requestID)
    }

    /// Decides over a request by its header alone.
    func begin(_ head: RequestHead, _ connection: ConnectionHandle) -> Beginning {
        let number = requestCount.add(1, ordering: .relaxed).newValue
        let requestID = "req_\(requestPrefix)_\(String(number, radix: 36))"
        let valid: ValidHead
        do throws(Problem) {
            guard !isClosed else { throw Self.draining }
            guard !Validator.isForeign(head.method) else { throw foreign(head) }
            valid = try Validator.check(head)
        } catch {
            return refuse(head, nil, nil, error.response, requestID, connection)
        }
        let admission = admit(valid)
        // The library closes after an answer before the body, which is then not read. Who is only to come
        // back later may keep the connection.
        if case .refused(let response, let principal) = admission, valid.hasBody,
            response.status != .tooManyRequests || response.headers["Connection"] != nil || !valid.isShort
        {
            return refuse(head, valid, principal, response, requestID, connection)
        }
        let stream: BodyStream?
        do { stream = try openStream(valid, admission, connection, requestID) } catch {
            let response = Router.response(for: error)
            log(failed: requestID, response, error)
            return refuse(head, valid, admission.principal, response, requestID, connection)
        }
        let exchange = Exchange(connection, self, requestID: requestID, head: valid, admission, stream)
        exchanges.withLock { $0[ObjectIdentifier(exchange)] = exchange }
        return .exchange(exchange)
    }

    /// Where the body goes, on a route that takes it as a stream.
    private func openStream(
        _ head: ValidHead, _ admission: Admission, _ connection: ConnectionHandle, _ requestID: String
    ) throws -> BodyStream? {
        guard case .admitted(let route, let parameters, let principal) = admission,
            let streamed = route.streamed, case .stream(let byteCountMax) = route.body
        else { return nil }
        let request = Request(
            head.method, path: head.path, query: head.query, headers: head.headers, principal: principal,
            peer: head.peer, id: requestID, parameters: parameters,
            isEncrypted: head.listener.transport == .encrypted)
        return BodyStream(
            try streamed.open(request), byteCountMax: byteCountMax, connection, self)
    }

    private func refuse(
        _ head: RequestHead, _ valid: ValidHead?, _ principal: Principal?, _ response: Response,
        _ requestID: String, _ connection: ConnectionHandle
    ) -> Beginning {
        if let valid, valid.hasBody {
            lingerer.adopt(connection.socket, byteCount: valid.contentLength)
        }
        configuration.meter.answered(Method(rawValue: head.method), response.status, seconds: nil)
        if let valid {
            configuration.audit(valid, principal, response, requestID: requestID)
        } else {
            configuration.audit(malformed: head, response, requestID: requestID)
        }
        return .refuse(response, requestID: requestID)
    }

    /// Counts an answer that is about to be sent, and tells of it.
    ///
    /// - Returns: What is sent.
    func conclude(_ given: Response, of exchange: Exchange) -> Response {
        let hasPassed = exchange.isAdmitted && !exchange.isDismissed
        let response = hasPassed ? gate.slowGuessing(exchange.head, given) : given
        configuration.meter.answered(
            exchange.head.method, response.status, seconds: exchange.secondsToAnswer)
        configuration.audit(exchange.head, exchange.principal, response, requestID: exchange.requestID)
        return response
    }

    /// What a request of a method that nobody here knows is told: as little as any other, to a stranger.
    private func foreign(_ head: RequestHead) -> Problem {
        // It is held against all rules as if it asked which methods there are.
        var question = head
        question.method = Method.options.rawValue
        do throws(Problem) {
            let valid = try Validator.check(question)
            let match = router.match(.options, valid.path)
            if let refusal = gate.admit(valid, to: match.access).refusal { throw refusal }
            guard case .methods(let methods, _) = match else { throw Router.notFound }
            throw Router.otherMethods(methods)
        } catch {
            return Validator.close(error)
        }
    }

    private func admit(_ head: ValidHead) -> Admission {
        let match = router.match(head.method, head.path)
        let (principal, refusal) = gate.admit(head, to: match.access)
        do throws(Problem) {
            if let refusal { throw refusal }
            switch match {
            case .unknown: throw Router.notFound
            case .methods(let methods, _):
                return .refused(Router.otherMethods(methods, head.method), principal)
            case .route(let route, let parameters):
                try gate.checkRate(head, principal)
                try checkBody(head, route)
                return .admitted(route, parameters, principal)
            }
        } catch {
            return .refused(error.response, principal)
        }
    }

    /// Sends away who waits with credentials that are not valid any more.
    func dismissInvalid() {
        for poll in waiters.polls where !poll.exchange.isStillAdmitted(by: gate) {
            poll.exchange.dismiss(gate.dismissal)
        }
        var streams: [ConnectionID: EventChannel] = [:]
        for channel in waiters.channels { streams[channel.connection.id] = channel }
        guard !streams.isEmpty else { return }
        for exchange in liveExchanges where !exchange.isStillAdmitted(by: gate) {
            streams[exchange.connection.id]?.finish()
        }
    }

    /// Forgets an exchange that the library is done with.
    func forget(_ exchange: Exchange) { exchanges.withLock { $0[ObjectIdentifier(exchange)] = nil } }

    /// Every exchange that is not over.
    var liveExchanges: [Exchange] { exchanges.withLock { Array($0.values) } }

    private func checkBody(_ head: ValidHead, _ route: Route) throws(Problem) {
        guard head.method.isSafe || !isDraining else { throw Self.draining }
        guard head.hasBody else { return }
        if let encoding = head.headers["Content-Encoding"], encoding.lowercased() != "identity" {
            throw Self.closing(
                Problem(.unsupportedMediaType, "unsupported_encoding", "Bodies must not be compressed."))
        }
        let type = head.headers["Content-Type"]?.prefix { $0 != ";" }.trimmingSpaces().lowercased()
        let (wanted, byteCountMax): (String, Int)
        switch route.body {
        case .none:
            throw Self.closing(Problem(.badRequest, "unexpected_body", "This request must not have a body."))
        case .json(let most): (wanted, byteCountMax) = ("application/json", most)
        // Tools that send files say nothing of their type; types of forms are what other sites can send.
        case .stream(let most): (wanted, byteCountMax) = ("application/octet-stream", most)
        }
        let isStream = route.streamed != nil
        guard type == wanted || isStream && type == nil else {
            throw Self.closing(
                Problem(.unsupportedMediaType, "unsupported_media_type", "The body must be \(wanted).")
            )
        }
        if let charset = head.headers["Content-Type"].flatMap(Self.charset), charset != "utf-8", !isStream {
            throw Self.closing(
                Problem(.unsupportedMediaType, "unsupported_charset", "The body must be UTF-8."))
        }
        if let length = head.contentLength, length > UInt64(byteCountMax) {
            throw Self.tooLarge(byteCountMax)
        }
    }

    /// The charset that a type of content names, in lower case.
    private static func charset(of type: String) -> String? {
        for parameter in type.split(separator: ";").dropFirst() {
            let parts = parameter.split(separator: "=", maxSplits: 1).map { $0.trimmingSpaces().lowercased() }
            if parts.count == 2, parts[0] == "charset" { return parts[1].filter { $0 != "\"" } }
        }
        return nil
    }

    /// 413, closing: what remains of the body is not worth reading.
    static func tooLarge(_ byteCountMax: Int) -> Problem {
        closing(
            Problem(.contentTooLarge, "content_too_large", "The body may have at most \(byteCountMax) bytes.")
        )
    }

    /// 503 for a moment of overload.
    static let busy = Problem(
        .serviceUnavailable, "busy", "The server is busy; try again.", headers: ["Retry-After": "1"])
    /// 503 while shutting down.
    static let draining = Problem(
        .serviceUnavailable, "draining", "The server is shutting down; try again when it is back.",
        headers: ["Retry-After": "5", "Connection": "close"])

    private static func closing(_ problem: Problem) -> Problem {
        var problem = problem
        problem.headers["Connection"] = "close"
        return problem
    }
}

extension Router.Match {
    /// What the caller must show; a stranger learns nothing about unknown paths.
    var access: Route.Access {
        switch self {
        case .route(let route, _): route.access
        case .methods(_, let access): access
        case .unknown: .requires(.read)
        }
    }
}
