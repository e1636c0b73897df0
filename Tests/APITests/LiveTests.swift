import HTTP
import JSON
import Jobs
import TestSupport
import Testing

@Suite("The API over a socket", .timeLimit(.minutes(15))) struct LiveTests {
    /// A stage with a server before it.
    final class Live {
        let stage: Backstage
        let server: Server
        let port: Int

        init(_ adjust: (inout ServerConfiguration) -> Void = { _ in }) throws {
            stage = try Backstage()
            var configuration = ServerConfiguration()
            configuration.port = 0
            adjust(&configuration)
            server = Server(configuration, router: stage.router, authenticator: stage.authenticator)
            port = try server.start()
        }

        deinit { server.drain(seconds: 2) }

        func ask(
            _ method: String, _ target: String, token: String? = "secret", headers: [String] = [],
            body: String = ""
        ) throws -> RawClient.Reply {
            try RawClient(port: port).ask(
                method, target, token: token, headers: headers, body: body, port: port)
        }
    }

    @Test("a long poll is answered by the change, not by the clock")
    func longPolls() throws {
        let live = try Live()
        let posted = try live.ask("POST", "/v1/jobs", body: #"{"type": "train"}"#)
        let id = try #require(posted.json?["id"]?.stringValue)
        let client = try RawClient(port: live.port)
        let version = posted.json?["version"]?.intValue ?? 0
        client.send(
            "GET /v1/jobs/\(id)?wait=60&since=\(version) HTTP/1.1\r\nHost: 127.0.0.1:\(live.port)\r\n"
                + "Authorization: Bearer secret\r\n\r\n")
        while live.server.waiterCount == 0 { _ = try live.ask("GET", "/healthz") }
        _ = try live.ask("POST", "/v1/jobs/\(id)/pause")
        let reply = try client.reply()
        #expect(reply.status == 200 && reply.json?["state"] == "paused")
    }

    @Test("a stream tells the life of a job once, also across a broken connection")
    func streams() throws {
        let live = try Live()
        let mayEnd = Gate()
        live.stage.executor.set { _, _, sink in
            sink.metrics([
                MetricPoint(series: "train_loss", step: 1, value: 2, at: Timestamp(milliseconds: 1000))
            ])
            sink.event(.info, "note", "half way", nil)
            sink.progress(JobProgress(fraction: 0.5, step: 1, steps: 2))
            mayEnd.waitUntilOpen()
            sink.metrics([
                MetricPoint(series: "train_loss", step: 2, value: 1, at: Timestamp(milliseconds: 2000))
            ])
            return .succeeded(JobResult(models: [], report: [:]))
        }
        live.stage.pool.start()
        let id = try live.stage.submit()
        let first = try Stream(live.port, id)
        var seen = try first.read(until: {
            $0.contains { $0.name == "metric" } && $0.contains { $0.data["type"] == "note" }
        })
        let last = try #require(seen.compactMap(\.id).last)
        mayEnd.open()
        let second = try Stream(live.port, id, last: last)
        seen += try second.readToEnd()
        let states = seen.filter { $0.name == "state" }.map {
            $0.data["data"]?["state"] ?? $0.data["message"]
        }
        #expect(
            Set(seen.filter { $0.name != "progress" }.map(\.text)).count
                == seen.count { $0.name != "progress" })
        #expect(states.count == 3, "queued, running, succeeded: \(states)")
        let points = seen.filter { $0.name == "metric" && $0.data["series"] == "train_loss" }
        #expect(points.flatMap { $0.data["steps"]?.arrayValue ?? [] } == [1, 2])
        let end = try #require(seen.compactMap(\.id).last)
        let over = try live.ask(
            "GET", "/v1/jobs/\(id)/events", headers: ["Accept: text/event-stream", "Last-Event-ID: \(end)"])
        #expect(over.status == 204)
    }

    @Test("a stream tells every point once although a step's figures are not stored together")
    func streamsLatePoints() throws {
        let live = try Live()
        let (mayMeasure, mayEnd) = (Gate(), Gate())
        live.stage.executor.set { _, _, sink in
            let point = { (series: String, step: Int) in
                MetricPoint(series: series, step: step, value: 1, at: Timestamp(milliseconds: 1000))
            }
            sink.metrics([point("train_loss", 100)])
            mayMeasure.waitUntilOpen()
            sink.metrics([point("val_loss", 100), point("train_accuracy", 90)])
            mayEnd.waitUntilOpen()
            sink.metrics([point("val_loss", 200), point("train_loss", 200), point("val_accuracy", 50)])
            return .succeeded(JobResult(models: [], report: [:]))
        }
        live.stage.pool.start()
        let id = try live.stage.submit()
        let first = try Stream(live.port, id)
        var seen = try first.read(until: { $0.contains { $0.name == "metric" } })
        mayMeasure.open()
        // Cut off in the middle of a pull: the point of train_accuracy comes after that of val_loss.
        seen += try first.read(until: { $0.contains { $0.data["series"] == "val_loss" } })
        let last = try #require(seen.compactMap(\.id).last)
        mayEnd.open()
        seen += try Stream(live.port, id, last: last).readToEnd()
        let curves = Dictionary(
            grouping: seen.filter { $0.name == "metric" }, by: { $0.data["series"]?.stringValue ?? "" })
        let steps = curves.mapValues { $0.flatMap { $0.data["steps"]?.arrayValue?.map(\.intValue) ?? [] } }
        #expect(
            steps == [
                "train_loss": [100, 200], "val_loss": [100, 200], "train_accuracy": [90],
                "val_accuracy": [50],
            ])
    }

    /// A stage whose next job has so many points of a curve, and is over when this returns.
    private func over(_ live: Live, _ id: String, points count: Int) throws {
        live.stage.executor.set { _, _, sink in
            for first in stride(from: 0, to: count, by: 1000) {
                sink.metrics(
                    (first..<min(first + 1000, count)).map {
                        MetricPoint(series: "train_loss", step: $0, value: 1, at: Timestamp(milliseconds: 9))
                    })
            }
            return .succeeded(JobResult(models: [], report: [:]))
        }
        live.stage.pool.start()
        try live.stage.wait(id) { $0["is_terminal"] == true }
    }

    private func steps(_ events: [Stream.Event]) -> [Int] {
        events.filter { $0.name == "metric" }.flatMap { event in
            event.data["steps"]?.arrayValue?.compactMap(\.intValue) ?? []
        }
    }

    @Test(
        "a client that comes back gets every point that it missed, however many", arguments: [1300, 12_500])
    func streamsAllThatWasMissed(count: Int) throws {
        let live = try Live()
        let id = try live.stage.submit()
        let queued = try Stream(live.port, id).read(until: { $0.contains { $0.id != nil } })
        let last = try #require(queued.compactMap(\.id).last)
        #expect(!last.contains("."))
        try over(live, id, points: count)
        let seen = try Stream(live.port, id, last: last).readToEnd()
        #expect(steps(seen) == Array(0..<count))
        // From any place on the way the rest follows.
        let half = try #require(seen.first { $0.name == "metric" }?.id)
        let rest = try Stream(live.port, id, last: half).readToEnd()
        let first = try #require(seen.first { $0.name == "metric" }.map { steps([$0]).count })
        #expect(steps(rest) == Array(first..<count))
        #expect(seen.filter { $0.name == "state" }.count == 2, "running, succeeded")
    }

    @Test("a client that comes for the first time gets a past that can be drawn, and all that follows")
    func thinsThePastOfNewClients() throws {
        let live = try Live()
        let id = try live.stage.submit()
        try over(live, id, points: 3000)
        let seen = try Stream(live.port, id).readToEnd()
        #expect(steps(seen).count <= 500 && steps(seen).first == 0 && steps(seen).last == 2999)
        let end = try #require(seen.compactMap(\.id).last)
        let over = try live.ask(
            "GET", "/v1/jobs/\(id)/events", headers: ["Accept: text/event-stream", "Last-Event-ID: \(end)"])
        #expect(over.status == 204)
        let bare = try #require(end.split(separator: ".").first.map(String.init))
        let again = try Stream(live.port, id, last: bare).readToEnd()
        #expect(steps(again).count == 3000, "an id without places says that no point has come")
    }

    @Test("a list of events goes on behind every id that a stream gives")
    func listsBehindLongIDs() throws {
        let live = try Live()
        live.stage.executor.set { _, _, sink in
            sink.metrics(
                (0..<40).map {
                    MetricPoint(
                        series: "a_curve_with_a_long_name_\($0)", step: 123_456, value: 1,
                        at: Timestamp(milliseconds: 9))
                })
            return .succeeded(JobResult(models: [], report: [:]))
        }
        live.stage.pool.start()
        let id = try live.stage.submit()
        try live.stage.wait(id) { $0["is_terminal"] == true }
        let end = try #require(try Stream(live.port, id).readToEnd().compactMap(\.id).last)
        #expect(end.count > 1000)
        let rest = try live.ask("GET", "/v1/jobs/\(id)/events?after=\(end)")
        #expect(rest.status == 200 && rest.json?["data"] == [])
    }

    @Test("a browser signs in with a secret that works once, and only from our own pages")
    func signsIn() throws {
        let live = try Live()
        let secret = try live.stage.authenticator.makeLogin(for: Principal(name: "owner"), seconds: 60)
        let body = "{\"login\": \"\(secret)\"}"
        let foreign = try live.ask(
            "POST", "/v1/session", token: nil, headers: ["Origin: http://evil.example"], body: body)
        #expect(foreign.status == 403 && foreign.code == "cross_site")
        let session = try live.ask(
            "POST", "/v1/session", token: nil, headers: ["Sec-Fetch-Site: same-origin"], body: body)
        #expect(session.status == 201)
        let cookie = try #require(session["Set-Cookie"])
        #expect(cookie.contains("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"))
        let again = try live.ask("POST", "/v1/session", token: nil, body: body)
        #expect(again.status == 401 && again.code == "invalid_login")
        let renewal = try live.ask(
            "POST", "/v1/session", token: nil,
            headers: ["Sec-Fetch-Site: same-origin", "Cookie: \(cookie.prefix { $0 != ";" })"], body: "{}")
        #expect(renewal.status == 401, "a session opens no other")
        let pair = "Cookie: \(cookie.prefix { $0 != ";" })"
        let own = "Sec-Fetch-Site: same-origin"
        #expect(try live.ask("GET", "/v1/jobs", token: nil, headers: [pair, own]).status == 200)
        #expect(
            try live.ask("GET", "/v1/jobs", token: nil, headers: [pair, "Sec-Fetch-Site: cross-site"]).status
                == 403)
        let post = { headers in
            try live.ask("POST", "/v1/jobs", token: nil, headers: headers, body: #"{"type": "train"}"#).status
        }
        #expect(
            try post([pair, own]) == 201 && post([pair, "Origin: http://127.0.0.1:\(live.port)"]) == 201)
        #expect(try post([pair]) == 403 && post([pair, "Sec-Fetch-Site: same-site"]) == 403)
        #expect(try live.ask("DELETE", "/v1/session", token: nil, headers: [pair, own]).status == 204)
        #expect(try live.ask("GET", "/v1/jobs", token: nil, headers: [pair, own]).status == 401)
        let byToken = try live.ask("POST", "/v1/session", headers: [own])
        #expect(byToken.status == 201 && byToken.json?["principal"] == "owner")
    }

    @Test("every route without exception asks for the token")
    func asksForToken() throws {
        let live = try Live()
        for route in live.stage.router.routes where route.access != .open {
            let target = route.pattern.split(separator: "{").joined().split(separator: "}").joined()
            for method in HTTP.Method.allCases where method != .head {
                let reply = try live.ask(method.rawValue, target, token: nil)
                #expect(reply.status == 401 && reply["WWW-Authenticate"] == "Bearer", "\(method) \(target)")
            }
        }
        for target in ["/nothing", "/v1", "/v1/jobs/x/y/z", "/openapi.json", "/vendor"] {
            #expect(try live.ask("GET", target, token: nil).status == 401, "\(target)")
        }
        #expect(try live.ask("GET", "/v1/jobs", token: "wrong").code == "invalid_token")
        #expect(try live.ask("GET", "/", token: nil).status == 200)
        #expect(try live.ask("GET", "/healthz", token: nil).status == 200)
    }
}

/// A client of a job's event stream.
final class Stream {
    struct Event {
        let id: String?
        let name: String
        let data: JSONValue
        var text: String { data.encoded() }
    }

    private let client: RawClient

    init(_ port: Int, _ id: String, last: String? = nil) throws {
        client = try RawClient(port: port)
        let resume = last.map { "Last-Event-ID: \($0)\r\n" } ?? ""
        client.send(
            "GET /v1/jobs/\(id)/events HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nAccept: text/event-stream\r\n"
                + "Authorization: Bearer secret\r\nConnection: close\r\n\(resume)\r\n")
        _ = try client.read(through: "\r\n\r\n")
    }

    /// Events until `isEnough`.
    func read(until isEnough: ([Event]) -> Bool) throws -> [Event] {
        var events: [Event] = []
        while !isEnough(events) {
            if let event = try next() { events.append(event) }
        }
        return events
    }

    /// Events until the server ends the stream.
    func readToEnd() throws -> [Event] {
        var events: [Event] = []
        while true {
            do {
                if let event = try next() { events.append(event) }
            } catch is RawClient.Closed {
                return events
            }
        }
    }

    /// The next block of lines; the chunks' sizes stand on lines of their own, which no field's name matches.
    private func next() throws -> Event? {
        let block = try client.read(through: "\n\n")
        var fields: [String: String] = [:]
        for line in block.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: ":", maxSplits: 1).map(String.init)
            if parts.count == 2 { fields[parts[0]] = String(parts[1].drop { $0 == " " }) }
        }
        guard let name = fields["event"], let data = fields["data"] else { return nil }
        return Event(id: fields["id"], name: name, data: try JSONValue(parsing: data))
    }
}
