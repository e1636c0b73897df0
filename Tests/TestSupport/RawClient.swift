import Glibc
public import JSON

/// A client that sends exactly the bytes it is told to, as no HTTP library would.
public final class RawClient {
    /// An answer, taken apart.
    public struct Reply {
        /// The status code.
        public let status: Int
        /// The header fields as they came.
        public let headers: [(name: String, value: String)]
        /// The body.
        public let body: [UInt8]

        /// The first value of a header field.
        public subscript(name: String) -> String? {
            headers.first { $0.name.lowercased() == name.lowercased() }?.value
        }
        /// The body as JSON.
        public var json: JSONValue? { try? JSONValue(parsing: body) }
        /// The code of a problem document.
        public var code: String? { json?["code"]?.stringValue }
        /// The body as text.
        public var text: String { String(decoding: body, as: UTF8.self) }
    }

    /// The server closed the connection, or refused it.
    public struct Closed: Error {}

    /// The connected socket.
    public let descriptor: Int32
    private var buffer: [UInt8] = []

    /// Connects to a port of this host; every read gives up after `timeoutSeconds`.
    public init(port: Int, timeoutSeconds: Int = 60) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var limit = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let status = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if status != 0 { throw Closed() }
    }

    /// Connects to a UNIX socket; every read gives up after `timeoutSeconds`.
    public init(unixSocket path: String, timeoutSeconds: Int = 60) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var limit = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: Array(path.utf8)) }
        let status = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        if status != 0 { throw Closed() }
    }

    deinit { close(descriptor) }

    /// Sends bytes; false when the server has closed.
    @discardableResult
    public func send(_ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let part = Array(bytes[sent...])
            let count = unsafe Glibc.send(descriptor, part, part.count, Int32(MSG_NOSIGNAL))
            if count <= 0 { return false }
            sent += count
        }
        return true
    }

    /// Sends text; false when the server has closed.
    @discardableResult
    public func send(_ text: String) -> Bool { send(Array(text.utf8)) }

    /// Ends our side.
    public func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// One whole answer, by `Content-Length`, by chunks, or without a body.
    public func reply(hasBody: Bool = true) throws -> Reply {
        let head = try String(decoding: read(through: Array("\r\n\r\n".utf8)), as: UTF8.self)
        let lines = head.split(separator: "\r\n", omittingEmptySubsequences: true)
        let headers = lines.dropFirst().map { line -> (name: String, value: String) in
            let parts = line.split(separator: ":", maxSplits: 1)
            return (String(parts[0]), parts.count > 1 ? String(parts[1].drop { $0 == " " }) : "")
        }
        let status = Int(lines[0].split(separator: " ")[1]) ?? 0
        let length = headers.first { $0.name.lowercased() == "content-length" }.flatMap { Int($0.value) } ?? 0
        let isBodyless = !hasBody || status == 204 || status == 304
        return Reply(status: status, headers: headers, body: isBodyless ? [] : try read(count: length))
    }

    /// Sends a request with a token and takes the answer.
    public func ask(
        _ method: String, _ target: String, token: String? = "secret", headers: [String] = [],
        body: String = "", port: Int
    ) throws -> Reply {
        var lines = ["\(method) \(target) HTTP/1.1", "Host: 127.0.0.1:\(port)"] + headers
        if let token { lines.append("Authorization: Bearer \(token)") }
        if !body.isEmpty { lines += ["Content-Length: \(body.utf8.count)"] }
        if !body.isEmpty, !headers.contains(where: { $0.hasPrefix("Content-Type") }) {
            lines.append("Content-Type: application/json")
        }
        send(lines.joined(separator: "\r\n") + "\r\n\r\n" + body)
        return try reply(hasBody: method != "HEAD")
    }

    /// Everything up to and including `end`.
    public func read(through end: [UInt8]) throws -> [UInt8] {
        while true {
            if let range = buffer.firstRange(of: end) {
                defer { buffer.removeFirst(range.upperBound) }
                return Array(buffer[..<range.upperBound])
            }
            try fill()
        }
    }

    /// Text up to and including `end`.
    public func read(through end: String) throws -> String {
        String(decoding: try read(through: Array(end.utf8)), as: UTF8.self)
    }

    /// Exactly `count` bytes.
    public func read(count: Int) throws -> [UInt8] {
        while buffer.count < count { try fill() }
        defer { buffer.removeFirst(count) }
        return Array(buffer[..<count])
    }

    /// Whether the server closes within the timeout, whatever it sends before.
    public func isClosedByServer() -> Bool {
        while true {
            do { try fill() } catch { return (error as? Timeout) == nil }
        }
    }

    /// Nothing came for as long as the client waits.
    public struct Timeout: Error {}

    private func fill() throws {
        var part = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe recv(descriptor, &part, part.count, 0)
        if count < 0, errno == EAGAIN { throw Timeout() }
        guard count > 0 else { throw Closed() }
        buffer += part[..<count]
    }
}
