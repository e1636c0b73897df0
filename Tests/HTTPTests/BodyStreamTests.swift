import Dispatch
import Files
import HTTP
import JSON
import Synchronization
import TestSupport
import Testing

/// Takes bodies, as fast as the test lets it.
final class Blobs: Sendable {
    /// What became of a body.
    struct Blob {
        var bytes: [UInt8] = []
        var isFinished = false
        var isAbandoned = false
        var pieceCountMax = 0
    }

    static let byteCountMax = 20 << 20
    private let blobs = Mutex<[String: Blob]>([:])
    private let abandoned = DispatchSemaphore(value: 0)
    let started = DispatchSemaphore(value: 0)
    /// Blocks each piece while the test holds it.
    let brake = Mutex(())

    subscript(name: String) -> Blob? { blobs.withLock { $0[name] } }

    /// Waits until a body was given up that nobody had before.
    func waitUntilAbandoned() -> Bool { abandoned.wait(timeout: .now() + 30) == .success }

    private final class Sink: BodySink {
        let name: String
        let blobs: Blobs

        init(_ name: String, _ blobs: Blobs) { (self.name, self.blobs) = (name, blobs) }

        func take(_ bytes: [UInt8]) throws {
            blobs.started.signal()
            blobs.brake.withLock { _ in }
            guard name != "full" else { throw Problem(.insufficientStorage, "full", "Nothing fits.") }
            blobs.change(name) { blob in
                blob.bytes += bytes
                blob.pieceCountMax = max(blob.pieceCountMax, bytes.count)
            }
        }

        func abandon() {
            let isFirst = blobs.change(name) { blob in
                defer { blob.isAbandoned = true }
                return !blob.isAbandoned && !blob.isFinished
            }
            if isFirst { blobs.abandoned.signal() }
        }
    }

    @discardableResult
    private func change<R>(_ name: String, _ body: (inout Blob) -> R) -> R {
        blobs.withLock { body(&$0[name, default: Blob()]) }
    }

    var route: Route {
        Route(
            .put, "/v1/blobs/{name}", access: .requires(.submit), byteCountMax: Self.byteCountMax,
            open: { [self] request in
                guard request.parameter("name") != "closed" else {
                    throw Problem(.conflict, "closed", "It is closed.")
                }
                _ = try request.contentSHA256()
                return Sink(request.parameter("name"), self)
            },
            reply: { [self] request, sink in
                let digest = change(sink.name) { blob in
                    blob.isFinished = true
                    return SHA256.digest(of: blob.bytes)
                }
                if let wanted = try request.contentSHA256(), wanted != digest.bytes {
                    throw Problem(.unprocessableContent, "digest_mismatch", "It is another one.")
                }
                return .json(["sha256": .string(digest.hex)], status: .created)
            })
    }
}

@Suite("A body that is not kept in memory", .timeLimit(.minutes(15))) struct BodyStreamTests {
    static let bytes = (0..<9_000_001).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }

    private func head(_ server: TestServer, _ name: String, _ fields: String...) -> String {
        "PUT /v1/blobs/\(name) HTTP/1.1\r\nHost: 127.0.0.1:\(server.port)\r\nAuthorization: Bearer secret\r\n"
            + fields.map { $0 + "\r\n" }.joined() + "\r\n"
    }

    @Test("arrives whole: by its length, in chunks, and empty")
    func arrives() throws {
        let server = try TestServer()
        let client = try server.client()
        client.send(head(server, "a", "Content-Length: \(Self.bytes.count)"))
        client.send(Self.bytes)
        #expect(try client.reply().status == 201)
        #expect(server.blobs["a"]?.bytes == Self.bytes)
        // As much as is gathered, and what the library hands over at once.
        #expect(server.blobs["a"]?.pieceCountMax ?? 0 < (1 << 20) + 65_536)
        client.send(head(server, "b", "Transfer-Encoding: chunked", "Content-Type: application/octet-stream"))
        for start in stride(from: 0, to: Self.bytes.count, by: 70_001) {
            let part = Array(Self.bytes[start..<min(start + 70_001, Self.bytes.count)])
            client.send(Array("\(String(part.count, radix: 16))\r\n".utf8) + part + [13, 10])
        }
        client.send("0\r\n\r\n")
        #expect(try client.reply().status == 201)
        #expect(server.blobs["b"]?.bytes == Self.bytes)
        client.send(head(server, "c", "Content-Length: 0"))
        let empty = try client.reply()
        #expect(empty.status == 201 && empty.json?["sha256"] == .string(SHA256().digest().hex))
    }

    @Test("is refused by its header: too long, of a form, compressed, unwanted, not allowed")
    func isRefused() throws {
        let server = try TestServer()
        let cases: [(String, [String], Int, String)] = [
            ("a", ["Content-Length: \(Blobs.byteCountMax + 1)"], 413, "content_too_large"),
            ("a", ["Content-Length: 18446744073709551615"], 413, "content_too_large"),
            (
                "a", ["Content-Length: 9", "Content-Type: multipart/form-data; boundary=x"], 415,
                "unsupported_media_type"
            ),
            ("a", ["Content-Length: 9", "Content-Type: text/plain"], 415, "unsupported_media_type"),
            ("a", ["Content-Length: 9", "Content-Encoding: gzip"], 415, "unsupported_encoding"),
            ("closed", ["Content-Length: 9"], 409, "closed"),
            ("a", ["Content-Length: 9", "Content-Digest: sha-256=:AAAA:"], 400, "invalid_header"),
            ("a?b=1", ["Content-Length: 9"], 422, "invalid_request"),
        ]
        for (name, fields, status, code) in cases {
            let client = try server.client()
            let lines = fields.map { $0 + "\r\n" }.joined()
            client.send(head(server, name).dropLast() + lines + "Expect: 100-continue\r\n\r\n")
            let reply = try client.reply()
            #expect(reply.status == status && reply.code == code, "\(name) \(fields)")
            #expect(client.isClosedByServer())
        }
        let reader = try server.client().ask(
            "PUT", "/v1/blobs/a", token: "reader", headers: ["Content-Type: application/octet-stream"],
            body: "x", port: server.port)
        #expect(reader.status == 403 && server.blobs["a"] == nil)
    }

    @Test("that goes beyond its limit in chunks is refused, and one that does not fit is")
    func isRefusedLate() throws {
        let server = try TestServer()
        let client = try server.client()
        client.send(head(server, "a", "Transfer-Encoding: chunked"))
        let chunk = Array("100000\r\n".utf8) + [UInt8](repeating: 1, count: 1 << 20) + [13, 10]
        for _ in 0..<21 { client.send(chunk) }
        client.send("0\r\n\r\n")
        #expect(try client.reply().code == "content_too_large")
        let full = try server.client()
        full.send(head(server, "full", "Content-Length: 3000000"))
        full.send(Array(Self.bytes.prefix(3_000_000)))
        #expect(try full.reply().code == "full")
        #expect(server.blobs.waitUntilAbandoned() && server.blobs.waitUntilAbandoned())
    }

    @Test("has the digest that its sender names")
    func hasDigest() throws {
        let server = try TestServer()
        // `printf hello | openssl dgst -sha256 -binary | base64`
        let digest = "sha-512=:AAAA:, sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"
        let right = try server.client().ask(
            "PUT", "/v1/blobs/a",
            headers: ["Content-Digest: \(digest)", "Content-Type: application/octet-stream"], body: "hello",
            port: server.port)
        #expect(right.status == 201)
        let wrong = try server.client().ask(
            "PUT", "/v1/blobs/b",
            headers: ["Content-Digest: \(digest)", "Content-Type: application/octet-stream"], body: "Hello",
            port: server.port)
        #expect(wrong.status == 422 && wrong.code == "digest_mismatch")
    }

    @Test("is given up when its client leaves, wherever it is cut")
    func isGivenUp() throws {
        let server = try TestServer()
        for count in [0, 1, 40_000, 1 << 20, 2_500_000] {
            let name = "n\(count)"
            do {
                let client = try server.client()
                client.send(head(server, name, "Content-Length: 5000000"))
                client.send(Array(Self.bytes.prefix(count)))
                client.finishSending()
                #expect(client.isClosedByServer())
            }
            #expect(server.blobs.waitUntilAbandoned(), "\(count)")
            #expect(server.blobs[name]?.isFinished == false)
        }
        #expect(try server.ask("GET", "/v1/things/a").status == 200)
    }

    @Test("waits for a slow disk, and nobody waits with it")
    func waits() throws {
        let server = try TestServer { $0.connectionThreads = 2 }
        let clients = try (0..<6).map { _ in try server.client() }
        // What is left to come once a piece is complete lies in the socket's buffers meanwhile.
        let byteCount = (1 << 20) + 30_000
        server.blobs.brake.withLock { _ in
            for (index, client) in clients.enumerated() {
                client.send(head(server, "s\(index)", "Content-Length: \(byteCount)"))
                client.send(Array(Self.bytes.prefix(byteCount)))
            }
            server.blobs.started.wait()
            for _ in 0..<50 { #expect((try? server.ask("GET", "/v1/things/a").status) == 200) }
        }
        for (index, client) in clients.enumerated() {
            #expect(try client.reply().status == 201)
            #expect(server.blobs["s\(index)"]?.bytes.count == byteCount)
        }
    }

    @Test("that trickles in is cut, also after a fast beginning")
    func cutsTrickles() throws {
        let server = try TestServer {
            $0.bodySeconds = 0.3
            $0.watchdogSeconds = 0.02
        }
        let client = try server.client()
        client.send(head(server, "t", "Content-Length: 5000000"))
        client.send(Array(Self.bytes.prefix(1_500_000)))
        var isOpen = true
        let deadline = ContinuousClock.now + .seconds(60)
        while isOpen, ContinuousClock.now < deadline {
            isOpen = client.send([1])
            // Far fewer than a thousand bytes a second.
            for _ in 0..<20 { _ = try server.ask("GET", "/healthz") }
        }
        #expect(!isOpen && server.blobs.waitUntilAbandoned())
    }

    @Test("that is under way when the server ends does not bring it down")
    func survivesTheEnd() throws {
        var server: TestServer? = try TestServer()
        let client = try #require(try server?.client())
        if let server {
            client.send(head(server, "e", "Content-Length: 5000000"))
            client.send(Array(Self.bytes.prefix(1_500_000)))
            server.blobs.started.wait()
        }
        server = nil
        #expect(client.isClosedByServer())
    }
}
