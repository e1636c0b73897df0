import Glibc
import HTTP
import JSON
import TestSupport
import Testing

@Suite("Waiting clients", .timeLimit(.minutes(15))) struct WaitingTests {
    static func ask(_ client: RawClient, _ target: String, _ server: TestServer, headers: String = "") {
        client.send(
            "GET \(target) HTTP/1.1\r\nHost: 127.0.0.1:\(server.port)\r\nAuthorization: Bearer secret\r\n"
                + "\(headers)\r\n")
    }

    /// Asks until so many clients wait.
    static func settle(_ server: TestServer, _ count: Int) throws {
        while server.server.waiterCount != count { _ = try server.ask("GET", "/healthz") }
    }

    @Test("are answered when there is news")
    func areWoken() throws {
        let server = try TestServer()
        let clients = try (0..<50).map { _ in try server.client() }
        for client in clients { Self.ask(client, "/v1/news?wait=60", server) }
        try Self.settle(server, 50)
        server.news.publish("a")
        for client in clients { #expect(try client.reply().text == "[\"a\"]") }
        try Self.settle(server, 0)
        #expect(server.news.waiterCount == 0, "every subscription is called off")
        Self.ask(clients[0], "/v1/news?wait=60", server)
        #expect(
            try clients[0].reply().text == "[\"a\"]", "old news is answered at once, on the same connection")
    }

    @Test("are answered when their time is over")
    func areTimedOut() throws {
        let server = try TestServer()
        let client = try server.client()
        let start = ContinuousClock.now
        Self.ask(client, "/v1/news?wait=0.2", server)
        #expect(try client.reply().text == "[]")
        let elapsed = ContinuousClock.now - start
        #expect(elapsed >= .milliseconds(200) && elapsed < .seconds(60))
    }

    @Test("are forgotten when they leave")
    func areForgotten() throws {
        let server = try TestServer { $0.watchdogSeconds = 0.02 }
        var clients = try (0..<20).map { _ in try server.client() }
        for client in clients.prefix(10) { Self.ask(client, "/v1/news?wait=60", server) }
        for client in clients.suffix(10) { Self.ask(client, "/v1/stream", server) }
        try Self.settle(server, 20)
        clients = []
        try Self.settle(server, 0)
        #expect(server.news.waiterCount == 0)
        #expect(try server.ask("GET", "/healthz").status == 200)
    }

    @Test("are sent away when their token is taken back, and nobody else is")
    func areDismissed() throws {
        let server = try TestServer { ($0.watchdogSeconds, $0.dismissalSeconds) = (0.02, 0.05) }
        let (poll, stream) = (try server.client(), try server.client())
        let visit = { (client: RawClient, target: String) in
            client.send(
                "GET \(target) HTTP/1.1\r\nHost: 127.0.0.1:\(server.port)\r\n"
                    + "Authorization: Bearer visitor\r\n\r\n")
        }
        _ = visit(poll, "/v1/news?wait=60")
        _ = visit(stream, "/v1/stream")
        let others = try (0..<2).map { _ in try server.client() }
        Self.ask(others[0], "/v1/news?wait=60", server)
        Self.ask(others[1], "/v1/stream", server)
        try Self.settle(server, 4)
        server.visitors.dismiss()
        #expect(try poll.reply().status == 401)
        try Self.settle(server, 2)
        server.news.publish("a")
        #expect(try others[0].reply().text == "[\"a\"]")
        _ = visit(poll, "/v1/news?wait=60")
        #expect(try poll.reply().status == 401)
    }

    @Test("are answered at once when there are too many")
    func areLimited() throws {
        let server = try TestServer { $0.waitersMax = 2 }
        let waiting = try (0..<2).map { _ in try server.client() }
        for client in waiting { Self.ask(client, "/v1/news?wait=60", server) }
        try Self.settle(server, 2)
        #expect(try server.ask("GET", "/v1/news?wait=60").text == "[]")
        let stream = try server.ask("GET", "/v1/stream")
        #expect(stream.status == 503 && stream["Retry-After"] == "1")
        server.news.publish("a")
        for client in waiting { #expect(try client.reply().text == "[\"a\"]") }
    }

    @Test("get every event of a stream once, and go on where they left off")
    func getEveryEvent() throws {
        let server = try TestServer()
        let client = try server.client()
        server.news.publish("0", "1", "2", "3", "4")
        Self.ask(client, "/v1/stream", server)
        let head = try client.read(through: "\r\n\r\n")
        #expect(head.contains("Content-Type: text/event-stream") && head.contains("Cache-Control: no-store"))
        var text = try client.read(through: "id: 4\n")
        for number in 5..<40 {
            server.news.publish("\(number)")
            text += try client.read(through: "data: \"\(number)\"\n\n")
        }
        for number in 0..<40 {
            #expect(
                text.split(separator: "id: \(number)\nevent: news\ndata: \"\(number)\"\n\n").count == 2
                    || number == 39)
        }
        let again = try server.client()
        Self.ask(again, "/v1/stream", server, headers: "Last-Event-ID: 37\r\n")
        let rest = try again.read(through: "data: \"39\"\n\n")
        #expect(!rest.contains("id: 37\n") && rest.contains("id: 38\n"))
    }

    @Test("are told when a stream is over")
    func areTold() throws {
        let server = try TestServer()
        let client = try server.client()
        Self.ask(client, "/v1/stream", server, headers: "Connection: close\r\n")
        _ = try client.read(through: "retry: 2000\n\n")
        server.news.publish("last", isOver: true)
        _ = try client.read(through: "data: \"last\"\n\n")
        #expect(client.isClosedByServer())
        try Self.settle(server, 0)
    }

    @Test("hear something while nothing happens")
    func hearHeartbeat() throws {
        let server = try TestServer {
            $0.heartbeatSeconds = 0.05
            $0.watchdogSeconds = 0.02
        }
        let client = try server.client()
        Self.ask(client, "/v1/stream", server)
        for _ in 0..<3 { _ = try client.read(through: ": still here\n\n") }
        server.news.publish("a")
        #expect(try client.read(through: "data: \"a\"\n\n").contains("id: 0\n"))
    }
}

@Suite("Draining", .timeLimit(.minutes(15))) struct DrainingTests {
    @Test("answers who waits, ends streams and closes idle connections at once")
    func answersWaiters() throws {
        let server = try TestServer()
        let idle = try server.client()
        _ = try idle.ask("GET", "/healthz", port: server.port)
        let polls = try (0..<20).map { _ in try server.client() }
        for client in polls { WaitingTests.ask(client, "/v1/news?wait=600", server) }
        let streams = try (0..<20).map { _ in try server.client() }
        for client in streams { WaitingTests.ask(client, "/v1/stream", server) }
        try WaitingTests.settle(server, 40)
        let clock = ContinuousClock()
        #expect(clock.measure { server.server.drain(seconds: 300) } < .seconds(100))
        for client in polls {
            let reply = try client.reply()
            #expect(reply.status == 200 && reply.text == "[]" && reply["Connection"]?.lowercased() == "close")
        }
        for client in streams + [idle] { #expect(client.isClosedByServer()) }
        #expect(throws: (any Error).self) { try server.ask("GET", "/healthz") }
    }

    @Test("refuses new work, but not looking, as soon as it starts")
    func refusesWork() throws {
        let server = try TestServer { $0.watchdogSeconds = 0.001 }
        let slow = try server.client()
        server.server.startDraining()
        usleep(100_000)  // Many looks of the watchdog, none of which may cut who has yet to ask.
        #expect(try slow.ask("GET", "/v1/things/a", port: server.port).status == 200)
        let post = try server.ask("POST", "/v1/things", body: "{}")
        #expect(post.status == 503 && post.code == "draining" && post["Retry-After"] == "5")
        #expect(try server.ask("GET", "/v1/things/a").status == 200)
    }

    @Test("gives up on a handler that does not end, without taking the process down")
    func givesUp() throws {
        let server = try TestServer()
        let client = try server.client()
        WaitingTests.ask(client, "/v1/stuck", server)
        server.stuck.waitUntilEntered()
        server.server.drain(seconds: 0.05)
        #expect(try client.reply().code == "draining")
        server.stuck.leave()
    }
}
