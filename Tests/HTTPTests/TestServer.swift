import Dispatch
import Files
import HTTP
import JSON
import Synchronization
import TestSupport

/// A server on a free port with a few routes of every kind; drained when the test lets go of it.
final class TestServer {
    let server: Server
    let port: Int
    let authenticator: TokenAuthenticator
    let news = News()
    let stuck = Stuck()
    let blobs = Blobs()
    let log = LogLines()
    /// Those whose token is taken back when the test says so.
    let visitors = Visitors()

    init(_ adjust: (inout ServerConfiguration) -> Void = { _ in }, anonymous: Principal? = nil) throws {
        var configuration = ServerConfiguration()
        configuration.port = 0
        configuration.allowedHosts = ["box.local", "[FE80::1]", "proxy.example:8443"]
        configuration.log = { [log] _, line, _ in log.add(line) }
        adjust(&configuration)
        authenticator = TokenAuthenticator(
            tokens: [
                ("secret", Principal(name: "owner")), ("reader", Principal(name: "reader", scopes: [.read])),
            ], named: { [visitors] in visitors.tokens }, anonymous: anonymous)
        server = Server(
            configuration, router: Router(Self.routes(news, stuck) + [blobs.route]),
            authenticator: authenticator)
        port = try server.start()
    }

    deinit { server.drain(seconds: 2) }

    func client(timeoutSeconds: Int = 60) throws -> RawClient {
        try RawClient(port: port, timeoutSeconds: timeoutSeconds)
    }

    struct Broken: Error {}

    static func routes(_ news: News, _ stuck: Stuck) -> [Route] {
        let read = Route.Access.requires(.read), submit = Route.Access.requires(.submit)
        return [
            Route(.get, "/healthz", access: .open, execution: .inline) { _ in
                .text("ok", contentType: "text/plain")
            },
            Route(.get, "/", access: .open, execution: .inline) { _ in .text("<p>", contentType: "text/html")
            },
            Route(.get, "/static/{name...}", access: .open) {
                .text($0.parameter("name"), contentType: "text/plain")
            },
            Route(.get, "/v1/things/{id}", access: read) { request in
                let item: JSONValue = [
                    "id": .string(request.parameter("id")), "by": JSONValue(request.principal?.name),
                    "q": JSONValue(request.query["q"]),
                ]
                return Response.json(item).validated(by: "\"1\"", for: request)
            },
            Route(.post, "/v1/things", access: submit) { .json(try $0.json(), status: .created) },
            Route(.delete, "/v1/things/{id}", access: .requires(.admin)) { _ in Response(.noContent) },
            Route(.post, "/v1/door", access: .open) { _ -> Response in
                throw Problem(.unauthorized, "invalid_login", "No.")
            },
            Route(.get, "/v1/broken", access: read) { _ -> Response in throw Broken() },
            Route(.get, "/v1/stuck", access: read) { _ in
                stuck.enter()
                return Response(.noContent)
            },
            Route(.get, "/v1/news", access: read, reply: { request in .later(news.wait(request)) }),
            Route(.get, "/v1/made/{fault}", access: read) { request in
                let source = Pattern(fault: request.parameter("fault"))
                return try Response.download(MadeBody(source), name: "made", etag: "\"1\"", for: request)
            },
            Route(.get, "/v1/stream", access: read) {
                .events(news.source(after: Int($0.headers["Last-Event-ID"] ?? "")))
            },
        ]
    }
}

/// Who calls by the token `visitor`, until it is taken back.
final class Visitors: Sendable {
    private static let token = TokenAuthenticator.Named(
        sha256: SHA256.digest(of: Array("visitor".utf8)).hex,
        principal: Principal(name: "visitor", scopes: [.read]))
    private let are = Mutex([token])

    var tokens: [TokenAuthenticator.Named] { are.withLock { $0 } }

    func dismiss() { are.withLock { $0 = [] } }
}

/// What a server wants its operator to read.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])

    func add(_ line: String) { lines.withLock { $0.append(line) } }

    /// How many have these words.
    func count(of words: String) -> Int {
        lines.withLock { lines in lines.count { $0.contains(words) } }
    }
}

/// Bytes that follow from their place, up to where they fail.
struct Pattern: ByteSource {
    /// `none`, `broken` or `short`.
    let fault: String
    let byteCount = 100_000
    static let failsBehind = 50_000

    static func bytes(_ range: Range<Int>) -> [UInt8] { range.map { UInt8(truncatingIfNeeded: $0 * 7) } }

    func read(_ range: Range<Int>) throws -> [UInt8] {
        guard fault != "none", range.upperBound > Self.failsBehind else { return Self.bytes(range) }
        guard fault == "short" else { throw TestServer.Broken() }
        return Self.bytes(range).dropLast()
    }
}

/// A handler that ends when the test says so.
final class Stuck: Sendable {
    private let entered = DispatchSemaphore(value: 0)
    private let left = DispatchSemaphore(value: 0)

    func enter() {
        entered.signal()
        left.wait()
    }

    func waitUntilEntered() { entered.wait() }
    func leave() { left.signal() }
}

/// A growing list that clients wait for.
final class News: Sendable {
    private struct State {
        var items: [String] = []
        var waiters: [Int: @Sendable () -> Void] = [:]
        var token = 0
        var isOver = false
    }

    private let state = Mutex(State())

    func publish(_ items: String..., isOver: Bool = false) {
        let woken = state.withLock { state in
            state.items += items
            state.isOver = isOver
            defer { state.waiters = [:] }
            return state.waiters
        }
        for wake in woken.values { wake() }
    }

    var waiterCount: Int { state.withLock { $0.waiters.count } }

    func subscribe(_ wake: @escaping @Sendable () -> Void) -> @Sendable () -> Void {
        let token = state.withLock { state in
            state.token += 1
            state.waiters[state.token] = wake
            return state.token
        }
        return { self.state.withLock { $0.waiters[token] = nil } }
    }

    func wait(_ request: Request) -> Wait {
        let count = Int(request.query["since"] ?? "0") ?? 0
        return Wait(seconds: Double(request.query["wait"] ?? "0") ?? 0, subscribe: { self.subscribe($0) }) {
            isLast in
            let items = self.state.withLock { $0.items }
            guard items.count > count || isLast else { return nil }
            return .json(.array(items.map(JSONValue.string)))
        }
    }

    func source(after last: Int?) -> EventSource {
        let position = Mutex(last.map { $0 + 1 } ?? 0)
        return EventSource(subscribe: { self.subscribe($0) }) {
            let (items, isOver) = self.state.withLock { ($0.items, $0.isOver) }
            return position.withLock { position in
                let found = items.enumerated().dropFirst(position).prefix(3)
                position += found.count
                let events = found.map {
                    ServerEvent(id: "\($0.offset)", name: "news", data: .string($0.element))
                }
                return EventBatch(
                    events, hasMore: position < items.count, isLast: isOver && position == items.count)
            }
        }
    }
}
