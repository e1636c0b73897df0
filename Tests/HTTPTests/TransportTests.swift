import Foundation
import Glibc
import HTTP
import Synchronization
import TLS
import TestSupport
import Testing

@Suite("A server listens", .timeLimit(.minutes(5))) struct TransportTests {
    /// A folder for sockets and certificates, gone with the test.
    final class Place {
        let path: String

        init() throws {
            path = FileManager.default.temporaryDirectory.appending(path: "tls-\(UUID().uuidString)").path
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func bytes(_ name: String) throws -> [UInt8] {
            Array(try Data(contentsOf: URL(filePath: "\(path)/\(name)")))
        }

        /// Makes a key and a certificate that signs itself.
        func makePair(_ name: String, for host: String = "localhost") throws {
            let openssl = Process()
            openssl.executableURL = URL(filePath: "/usr/bin/openssl")
            openssl.arguments = [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                "2",
                "-keyout", "\(path)/\(name).key", "-out", "\(path)/\(name).pem", "-subj", "/CN=\(name)",
                "-addext", "subjectAltName=DNS:\(host)",
            ]
            openssl.standardError = FileHandle.nullDevice
            try openssl.run()
            openssl.waitUntilExit()
        }

        func identity(_ certificate: String, key: String? = nil) throws -> TLSIdentity {
            try TLSIdentity(
                certificate: bytes("\(certificate).pem"), key: bytes("\(key ?? certificate).key"))
        }

        func mode(of name: String) -> mode_t {
            var status = stat()
            return unsafe lstat("\(path)/\(name)", &status) == 0 ? status.st_mode & 0o7777 : 0
        }
    }

    @Test("on a UNIX socket that its owner alone may open, and takes it away in the end")
    func listensLocally() throws {
        let place = try Place()
        let entries = Mutex<[AuditEntry]>([])
        var server: TestServer? = try TestServer { configuration in
            configuration.unixSocket = "\(place.path)/s"
            configuration.audit = { entry in entries.withLock { $0.append(entry) } }
        }
        #expect(place.mode(of: "s") == 0o600)
        #expect(server?.server.addresses.last == "unix:\(place.path)/s")
        let ask = { (host: String) in
            let client = try RawClient(unixSocket: "\(place.path)/s")
            client.send(
                "DELETE /v1/things/a HTTP/1.1\r\nHost: \(host)\r\nAuthorization: Bearer secret\r\n\r\n")
            return try client.reply().status
        }
        #expect(try ask("localhost") == 204 && ask("box.local") == 204)
        #expect(try ask("evil.example") == 421 && ask("127.0.0.1:\(server?.port ?? 0)") == 421)
        #expect(entries.withLock { $0.first?.peer } == "uid:\(getuid())")
        #expect(try server?.ask("GET", "/v1/things/a").status == 200, "TCP goes on beside it")
        #expect(throws: HTTPError.self) { try TestServer { $0.unixSocket = "\(place.path)/s" } }
        #expect(try ask("localhost") == 204, "a second server leaves the socket of the first alone")
        server = nil
        #expect(place.mode(of: "s") == 0)
    }

    @Test("on a UNIX socket alone, where a dead server left its own")
    func replacesDeadSockets() throws {
        let place = try Place()
        let dead = try Self.bind("\(place.path)/s")
        close(dead)
        let server = try TestServer {
            ($0.isOnTCP, $0.unixSocket) = (false, "\(place.path)/s")
        }
        #expect(server.port == 0 && server.server.addresses == ["unix:\(place.path)/s"])
        let client = try RawClient(unixSocket: "\(place.path)/s")
        client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(try client.reply().status == 200)
    }

    @Test("on no path where something else lies, or that is too long")
    func leavesFilesAlone() throws {
        let place = try Place()
        try Data("precious".utf8).write(to: URL(filePath: "\(place.path)/file"))
        let error = #expect(throws: HTTPError.self) {
            try TestServer { $0.unixSocket = "\(place.path)/file" }
        }
        #expect(error?.description.hasSuffix("there is something that is no socket") == true)
        #expect(try place.bytes("file") == Array("precious".utf8))
        let long = place.path + "/" + String(repeating: "a", count: 108)
        #expect(throws: HTTPError.self) { try TestServer { $0.unixSocket = long } }
    }

    @Test("on a socket that it was started with")
    func takesSocketsOver() throws {
        let place = try Place()
        let descriptor = try Self.bind("\(place.path)/s")
        listen(descriptor, 5)
        let server = try TestServer { ($0.isOnTCP, $0.inherited) = (false, [descriptor]) }
        let client = try RawClient(unixSocket: "\(place.path)/s")
        client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(try client.reply().status == 200)
        server.server.drain(seconds: 1)
        #expect(place.mode(of: "s") != 0, "the file belongs to whoever made it")
        let error = #expect(throws: HTTPError.self) { try TestServer { $0.inherited = [STDIN_FILENO] } }
        #expect(error == .notListening(descriptor: STDIN_FILENO))
    }

    /// Another process's doing: a bound socket.
    private static func bind(_ path: String) throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: Array(path.utf8)) }
        let status = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(status == 0)
        return descriptor
    }

    @Test("with TLS to those who trust its certificate, and shows a new one without a restart")
    func encrypts() throws {
        let place = try Place()
        for name in ["first", "second"] { try place.makePair(name) }
        let server = try TestServer { $0.identity = try? place.identity("first") }
        #expect(server.server.addresses == ["https://127.0.0.1:\(server.port)"])
        let ask = { (authority: String, host: String) throws -> String in
            let client = try server.client(timeoutSeconds: 20)
            let encrypted = try TLSConnection(
                descriptor: client.descriptor, host: host, authority: place.bytes("\(authority).pem"),
                seconds: 20)
            try encrypted.write(
                Array("GET /v1/things/a HTTP/1.1\r\nHost: localhost:\(server.port)\r\n".utf8))
            try encrypted.write(Array("Authorization: Bearer secret\r\nConnection: close\r\n\r\n".utf8))
            var bytes: [UInt8] = []
            while true {
                let more = try encrypted.read(upTo: 1000)
                if more.isEmpty { return String(decoding: bytes, as: UTF8.self) }
                bytes += more
            }
        }
        let reply = try ask("first", "localhost")
        #expect(reply.hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(reply.contains("\r\nStrict-Transport-Security: max-age=31536000\r\n"))
        #expect(reply.hasSuffix("}"))
        let foreign = #expect(throws: TLSError.self) { try ask("second", "localhost") }
        #expect(foreign?.description.contains("NOT trusted") == true)
        let other = #expect(throws: TLSError.self) { try ask("first", "other.example") }
        #expect(other?.description.contains("name") == true)
        try place.identity("second").show()
        #expect(try ask("second", "localhost").hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(throws: TLSError.self) { try ask("first", "localhost") }
        // Who does not greet is not answered, and keeps nobody waiting.
        let plain = try server.client(timeoutSeconds: 20)
        plain.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(plain.isClosedByServer())
        #expect(try ask("second", "localhost").hasPrefix("HTTP/1.1 200 OK\r\n"))
    }

    @Test("with no certificate that its key does not fit, or that is none")
    func refusesPairs() throws {
        let place = try Place()
        for name in ["first", "second"] { try place.makePair(name) }
        let error = #expect(throws: TLSError.self) { try place.identity("first", key: "second") }
        #expect(error?.description.contains("do not match") == true)
        for (certificate, key) in [("", ""), ("nothing", "nothing"), ("-----BEGIN CERTIFICATE-----\n", "")] {
            #expect(throws: TLSError.self) {
                try TLSIdentity(certificate: Array(certificate.utf8), key: Array(key.utf8))
            }
        }
        let swapped = #expect(throws: TLSError.self) {
            try TLSIdentity(certificate: place.bytes("first.key"), key: place.bytes("first.pem"))
        }
        #expect(swapped != nil)
        let day = 86_400.0
        let end = Double(try place.identity("first").expiresAt) - Date().timeIntervalSince1970
        #expect(end > day && end < 3 * day)
    }
}
