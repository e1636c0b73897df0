import Foundation
import Glibc
import HTTP
import JSON
import TestSupport
import Testing

@Suite("Under attack", .timeLimit(.minutes(15))) struct HardeningTests {
    @Test("ten thousand mutated requests neither crash it nor make it fail nor leak")
    func survivesMutations() throws {
        let server = try TestServer()
        var random = Mutator(seed: 7)
        let seeds = [
            "GET /v1/things/a?q=1 HTTP/1.1\r\nHost: 127.0.0.1:\(server.port)\r\n"
                + "Authorization: Bearer secret\r\n\r\n",
            "POST /v1/things HTTP/1.1\r\nHost: 127.0.0.1:\(server.port)\r\nAuthorization: Bearer secret\r\n"
                + "Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
            "POST /v1/things HTTP/1.1\r\nHost: 127.0.0.1:\(server.port)\r\nAuthorization: Bearer secret\r\n"
                + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n",
        ].map { Array($0.utf8) }
        var failures = 0
        for round in 0..<10_000 {
            let client = try server.client(timeoutSeconds: 2)
            client.send(random.mutate(seeds[round % seeds.count]))
            client.finishSending()
            if let reply = try? client.reply(), reply.status >= 500, reply.status != 505 { failures += 1 }
        }
        #expect(failures == 0)
        #expect(try server.ask("GET", "/v1/things/a").status == 200)
        while server.server.connectionCount > 1 { _ = try server.ask("GET", "/healthz") }
        #expect(try Self.openSockets(port: server.port) <= 1)
    }

    /// Connections of a port that a process still holds, by the kernel's own table.
    static func openSockets(port: Int) throws -> Int {
        let table = try String(contentsOf: URL(filePath: "/proc/self/net/tcp"), encoding: .utf8)
        let digits = String(port, radix: 16, uppercase: true)
        let suffix = ":" + String(repeating: "0", count: 4 - digits.count) + digits
        return table.split(separator: "\n").dropFirst().count { line in
            let fields = line.split(separator: " ")
            let (isListening, hasOwner) = (fields[3] == "0A", fields[9] != "0")
            return fields[1].hasSuffix(suffix) && !isListening && hasOwner
        }
    }

    @Test("a client that does not finish its header is cut, while others are served")
    func cutsSlowHeaders() throws {
        let server = try TestServer {
            $0.headerSeconds = 1
            $0.watchdogSeconds = 0.02
        }
        let slow = try (0..<50).map { _ in try server.client() }
        for client in slow { client.send("GET /healthz HTTP/1.1\r\nHost: ") }
        #expect(try server.ask("GET", "/healthz").status == 200)
        for client in slow {
            client.send("x")
            #expect(client.isClosedByServer())
        }
    }

    @Test("a client that does not finish its body is cut")
    func cutsSlowBodies() throws {
        let server = try TestServer {
            $0.bodySeconds = 0.2
            $0.watchdogSeconds = 0.02
        }
        let client = try server.client()
        client.send(
            "POST /v1/things HTTP/1.1\r\nHost: 127.0.0.1:\(server.port)\r\nAuthorization: Bearer secret\r\n"
                + "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{")
        #expect(client.isClosedByServer())
    }

    @Test("five hundred idle connections do not keep a good request waiting")
    func survivesIdleConnections() throws {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        unsafe getrlimit(resource, &limit)
        limit.rlim_cur = min(limit.rlim_max, 4096)
        unsafe setrlimit(resource, &limit)
        let server = try TestServer()
        let idle = try (0..<500).map { _ in try server.client() }
        while server.server.connectionCount < idle.count { sched_yield() }
        let start = ContinuousClock.now
        #expect(try server.ask("GET", "/v1/things/a").status == 200)
        let elapsed = ContinuousClock.now - start
        #expect(elapsed < .seconds(30), "1 second with a processor to itself")
    }

    @Test(
        "no path leads upwards",
        arguments: [
            "..", "%2e%2e", "%2e.", ".%2E", "%252e%252e", "..%2f..", "..%5c..", "..;/", "%c0%ae%c0%ae", "%00",
            "a/../b",
            "/etc/passwd", "C:%5c", "....//", "%uff0e", "a%20%2e%2e", "\u{FF0E}\u{FF0E}",
        ])
    func leadsNowhere(payload: String) throws {
        let server = try TestServer()
        for base in ["/static/", "/v1/things/", "/v1/", "/"] {
            let reply = try server.ask("GET", base + payload)
            #expect([200, 400, 404].contains(reply.status), "\(base)\(payload)")
            let segments = reply.text.split(separator: "/")
            #expect(reply.status != 200 || !segments.contains(".."), "\(base)\(payload)")
        }
    }

    @Test("headers and targets have their limits")
    func limitsHeaders() throws {
        let server = try TestServer()
        let header = try server.ask(
            "GET", "/healthz", headers: ["X-A: " + String(repeating: "a", count: 70_000)])
        #expect(header.status == 431)
        let target = try server.ask("GET", "/" + String(repeating: "a", count: 70_000))
        #expect(target.status == 414)
    }
}

/// Makes broken requests of good ones; the same in every run.
struct Mutator {
    private var state: UInt64
    private static let pieces = [
        "\r\n", "\n", "\r", "\0", ":", " ", "\t", "/", "%", "%00", "..", "?", "&", "=", "HTTP/1.1",
        "Host: x\r\n",
        "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "\u{FF}", "\r\n\r\n",
        "Expect: 100-continue\r\n",
    ].map { Array($0.utf8) }

    init(seed: UInt64) { state = seed }

    mutating func mutate(_ request: [UInt8]) -> [UInt8] {
        var bytes = request
        for _ in 0..<1 + next(4) {
            let place = next(bytes.count + 1)
            switch next(5) {
            case 0: bytes.insert(contentsOf: Self.pieces[next(Self.pieces.count)], at: place)
            case 1: bytes.insert(UInt8(next(256)), at: place)
            case 2 where place < bytes.count: bytes[place] = UInt8(next(256))
            case 3 where place < bytes.count:
                bytes.removeSubrange(place..<min(bytes.count, place + 1 + next(9)))
            default:
                let line =
                    bytes.firstRange(of: Array("\r\n".utf8)).map { bytes[..<$0.upperBound] } ?? bytes[...]
                bytes.insert(contentsOf: line, at: place)
            }
        }
        return bytes
    }

    private mutating func next(_ bound: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(state >> 33) % bound
    }
}
