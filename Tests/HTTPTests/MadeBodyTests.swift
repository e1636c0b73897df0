import HTTP
import TestSupport
import Testing

@Suite("A body that is made while it is sent") struct MadeBodyTests {
    @Test("comes whole, in parts, and for HEAD not at all")
    func comes() throws {
        let server = try TestServer()
        let client = try server.client()
        let whole = try client.ask("GET", "/v1/made/none", port: server.port)
        #expect(whole.status == 200 && whole.body == Pattern.bytes(0..<100_000))
        for (asked, range) in [("5-9", 5..<10), ("16383-49152", 16383..<49153), ("-1", 99_999..<100_000)] {
            let part = try client.ask(
                "GET", "/v1/made/none", headers: ["Range: bytes=\(asked)"], port: server.port)
            #expect(part.status == 206 && part.body == Pattern.bytes(range), "\(asked)")
            #expect(
                part["Content-Range"] == "bytes \(range.lowerBound)-\(range.upperBound - 1)/100000",
                "\(asked)")
        }
        let beyond = try client.ask(
            "GET", "/v1/made/none", headers: ["Range: bytes=100000-"], port: server.port)
        #expect(beyond.status == 416)
        let head = try client.ask("HEAD", "/v1/made/broken", port: server.port)
        #expect(head.status == 200 && head["Content-Length"] == "100000")
    }

    @Test("ends early where it cannot be made, which the log explains", arguments: ["broken", "short"])
    func endsEarly(fault: String) throws {
        let log = LogLines()
        let server = try TestServer { $0.log = { _, line, _ in log.add(line) } }
        let client = try server.client()
        #expect(throws: RawClient.Closed.self) {
            try client.ask("GET", "/v1/made/\(fault)", port: server.port)
        }
        #expect(log.count(of: "was cut off") == 1)
        let part = try server.client().ask(
            "GET", "/v1/made/\(fault)", headers: ["Range: bytes=0-99"], port: server.port)
        #expect(part.status == 206 && part.body == Pattern.bytes(0..<100))
    }
}
