import JSON
import Synchronization

/// One request and its answer, from header to the last byte.
///
/// The library calls from the connection's thread; handlers and wakes come from others. Every change
/// of `phase` happens under the lock, and the connection is resumed exactly once per suspension.
final class Exchange: Sendable {
    /// Body bytes beyond the limit that are swallowed so that the client can read the refusal.
    private static let excessByteCountMax = 8 << 20

    private enum Phase {
        case receiving
        /// A handler runs or a client waits; the connection sleeps.
        case working
        case ready(Response)
        /// The client left or the server gives up: close without an answer.
        case aborted
        case answered
    }

    private struct State {
        var phase = Phase.receiving
        var body: [UInt8] = []
        var byteCount = 0
        /// Of them, those that room was taken for, until the library is done with the exchange.
        var heldCount = 0
        /// Whether there was no room for more.
        var isCrowdedOut = false
        var isSuspended = false
        var poll: LongPoll?
        /// Whether its wait was ended because its credentials had.
        var isDismissed = false
        /// Whether the client chose to wait for a change.
        var hasWaited = false
    }

    /// What the library is told next.
    enum Step {
        case answer(Response)
        case suspended
        case abort
    }

    let connection: ConnectionHandle
    let requestID: String
    let head: ValidHead
    private let began = ContinuousClock.now
    private let admission: Admission
    private let core: ServerCore
    /// Where the body goes when it is not kept.
    private let stream: BodyStream?
    private let state = Mutex(State())

    init(
        _ connection: ConnectionHandle, _ core: ServerCore, requestID: String, head: ValidHead,
        _ admission: Admission, _ stream: BodyStream? = nil
    ) {
        (self.connection, self.core, self.requestID, self.head) = (connection, core, requestID, head)
        (self.admission, self.stream) = (admission, stream)
    }

    /// Takes a piece of the body.
    ///
    /// - Parameter bytes: The piece.
    /// - Returns: Whether to go on reading.
    func receive(_ bytes: [UInt8]) -> Bool {
        if let stream {
            let (byteCount, goesOn) = stream.receive(bytes, excessMax: Self.excessByteCountMax)
            core.connections.enter(.body(byteCount: byteCount), connection.id)
            return goesOn
        }
        let count = state.withLock { state in
            state.byteCount += bytes.count
            if keeps(bytes.count, &state) {
                state.body += bytes
                state.heldCount += bytes.count
            } else {
                state.body = []
                core.bodyRoom.give(state.heldCount)
                state.heldCount = 0
            }
            return state.byteCount
        }
        core.connections.enter(.body(byteCount: count), connection.id)
        return count <= byteCountMax + Self.excessByteCountMax
    }

    private func keeps(_ byteCount: Int, _ state: inout State) -> Bool {
        guard state.byteCount <= byteCountMax, !state.isCrowdedOut else { return false }
        state.isCrowdedOut = !core.bodyRoom.take(byteCount, total: state.byteCount)
        return !state.isCrowdedOut
    }

    /// Goes on once the request is complete, and again after each resumption.
    func step() -> Step {
        let isComplete = state.withLock { if case .receiving = $0.phase { true } else { false } }
        guard isComplete else { return goOn() }
        if let refusal = refusalOfBody() { return answer(refusal) }
        switch admission {
        case .refused(let response, _): return answer(response)
        case .admitted(let route, let parameters, let principal):
            let request = makeRequest(parameters, principal)
            if case .inline = route.execution, stream == nil { return run(route, request) }
            if let response = route.glance(request) { return answer(response) }
            return handOver(route, request)
        }
    }

    /// Puts the request on the work queue and the connection to sleep.
    private func handOver(_ route: Route, _ request: Request) -> Step {
        state.withLock { state in
            guard !core.isClosed else {
                state.phase = .answered
                return .answer(ServerCore.draining.response)
            }
            core.connections.enter(.handling, connection.id)
            state.phase = .working
            let queue = stream == nil ? core.work : core.bodies
            guard queue.submit({ [self] in work(route, request) }) else {
                state.phase = .answered
                return .answer(ServerCore.busy.response)
            }
            connection.suspend()
            state.isSuspended = true
            return .suspended
        }
    }

    /// Answers once there is an answer; the library comes here after each resumption.
    private func goOn() -> Step {
        state.withLock { state in
            switch state.phase {
            case .receiving, .working:
                // Not expected: the library only calls back after a resumption.
                if !state.isSuspended {
                    connection.suspend()
                    state.isSuspended = true
                }
                return .suspended
            case .ready(let response):
                state.phase = .answered
                return .answer(response)
            case .aborted, .answered: return .abort
            }
        }
    }

    /// The library is done with the exchange; what nobody will ask for again goes.
    func close() {
        stream?.abandon()
        state.withLock { state in
            core.bodyRoom.give(state.heldCount)
            state.heldCount = 0
        }
    }

    /// Ends the exchange with `response`; later ends are ignored.
    func finish(_ response: Response) { end(.ready(response)) }

    /// Ends the exchange without an answer.
    func abort() { end(.aborted) }

    /// Looks after a waiting client.
    func tend(isLast: Bool) {
        state.withLock { $0.poll }?.tend(isLast: isLast)
    }

    /// Whether it waited until its credentials ended.
    var isDismissed: Bool { state.withLock { $0.isDismissed } }

    /// Whether who began it might begin it now.
    func isStillAdmitted(by gate: Gate) -> Bool {
        guard case .admitted(let route, _, _) = admission else { return true }
        return gate.stillAdmits(head, to: route.access)
    }

    /// Ends a wait; what does not wait is answered soon enough.
    func dismiss(_ response: Response) {
        let poll = state.withLock { state in
            state.isDismissed = state.poll != nil
            return state.poll
        }
        guard let poll else { return }
        poll.finishWaiting()
        finish(response)
    }

    /// Seconds since the header came; nil where the client chose to wait.
    var secondsToAnswer: Double? {
        state.withLock { $0.hasWaited } ? nil : (ContinuousClock.now - began) / .seconds(1)
    }

    /// Whether a handler may answer it.
    var isAdmitted: Bool { if case .admitted = admission { true } else { false } }

    /// Who calls, where that is known.
    var principal: Principal? { admission.principal }

    private var byteCountMax: Int {
        if case .admitted(let route, _, _) = admission, case .json(let limit) = route.body {
            limit
        } else {
            0
        }
    }

    private func end(_ phase: Phase) {
        let poll = state.withLock { state -> LongPoll? in
            guard case .working = state.phase else { return nil }
            state.phase = phase
            defer { state.poll = nil }
            if state.isSuspended {
                state.isSuspended = false
                connection.resume()
            }
            return state.poll
        }
        poll?.finishWaiting()
    }

    private func answer(_ response: Response) -> Step {
        state.withLock { $0.phase = .answered }
        return .answer(response)
    }

    private func refusalOfBody() -> Response? {
        guard case .admitted = admission else { return nil }
        let (isTooLarge, isCrowdedOut) = state.withLock { ($0.byteCount > byteCountMax, $0.isCrowdedOut) }
        if isTooLarge { return ServerCore.tooLarge(byteCountMax).response }
        return isCrowdedOut ? ServerCore.busy.response : nil
    }

    private func makeRequest(_ parameters: [String: String], _ principal: Principal?) -> Request {
        Request(
            head.method, path: head.path, query: head.query, headers: head.headers,
            body: takeBody(), principal: principal, peer: head.peer, id: requestID,
            parameters: parameters, isEncrypted: head.listener.transport == .encrypted)
    }

    /// The body, which from here on is the request's alone: a client may wait long for its answer.
    private func takeBody() -> [UInt8] {
        state.withLock { state in
            defer { state.body = [] }
            return state.body
        }
    }

    private func run(_ route: Route, _ request: Request) -> Step {
        do {
            switch try route.reply(to: request) {
            case .now(let response): return answer(response)
            case .later(let wait):
                // A route that waits must be queued; look once, as if the time were over.
                return answer(try wait.answer(true) ?? ServerCore.busy.response)
            }
        } catch {
            return answer(failure(error))
        }
    }

    private func work(_ route: Route, _ request: Request) {
        do {
            if let stream, let streamed = route.streamed {
                try stream.complete()
                return finish(try streamed.reply(request, stream.sink))
            }
            switch try route.reply(to: request) {
            case .now(let response): finish(response)
            case .later(let wait): park(wait)
            }
        } catch {
            finish(failure(error))
        }
    }

    private func park(_ wait: Wait) {
        let poll = LongPoll(wait, self, core)
        state.withLock { ($0.poll, $0.hasWaited) = (poll, true) }
        poll.start()
    }

    /// The answer for an error; what is hidden from the client goes to the log.
    func failure(_ error: any Error) -> Response {
        let response = Router.response(for: error)
        core.log(failed: requestID, response, error)
        return response
    }
}
