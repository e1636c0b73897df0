import Files
import Foundation
import JSON

/// A request that could not be carried out.
enum ClientError: Error, CustomStringConvertible {
    case badAddress(String)
    case cannotConnect(String, reason: String)
    case brokenAnswer(String)
    /// An answer of 400 or above.
    case refused(status: Int, JSONValue)
    case noToken(path: String)
    case unreadable(path: String, reason: String)

    var description: String {
        switch self {
        case .badAddress(let text):
            "\"\(text)\" is no address; expected http://HOST:PORT or https://HOST[:PORT]."
        case .cannotConnect(let address, let reason): "\(address) does not answer: \(reason)."
        case .brokenAnswer(let reason): "The answer of the server cannot be understood: \(reason)."
        case .refused(let status, let body): Self.explain(status, body)
        case .noToken(let path):
            "There is no token: set VINTNER_TOKEN, or name the data folder by --data (looked at \(path))."
        case .unreadable(let path, let reason): "\(path) cannot be read: \(reason)"
        }
    }

    private static func explain(_ status: Int, _ body: JSONValue) -> String {
        let text = body["detail"]?.stringValue ?? body["title"]?.stringValue ?? "no reason was given"
        let violations = (body["errors"]?.arrayValue ?? []).map { violation in
            "\n  \(violation["pointer"]?.stringValue ?? ""): \(violation["detail"]?.stringValue ?? "")"
        }
        return "\(status): \(text)\(violations.joined())"
    }
}

/// What a server answered.
struct Answer {
    let status: Int
    let body: [UInt8]

    /// The body as JSON; null when there is none.
    func json() throws(ClientError) -> JSONValue {
        if body.isEmpty { return .null }
        do { return try JSONValue(parsing: body) } catch { throw .brokenAnswer(error.description) }
    }
}

/// Asks a server, one connection for each request.
///
/// Over plain sockets rather than Foundation's URLSession, whose libraries would cost the server, which is
/// the same binary, memory and start-up time.
struct APIClient {
    let endpoint: Endpoint
    let token: String?
    /// Certificates to trust instead of the system's (PEM).
    var authority: [UInt8]?

    /// Speaks to a server that listens on a UNIX socket.
    init(unixSocket path: String, token: String?) {
        (endpoint, self.token) = (.local(path: path), token)
    }

    /// Reads an address of the form `http://HOST:PORT` or `https://HOST[:PORT]`, with nothing behind it but a
    /// slash.
    init(_ address: String, token: String?) throws(ClientError) {
        let isEncrypted = address.hasPrefix("https://")
        let scheme = isEncrypted ? "https://" : "http://"
        guard address.hasPrefix(scheme) else { throw .badAddress(address) }
        var rest = address.dropFirst(scheme.count)
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        let hasPort = rest.last != "]" && rest.contains(":")
        if isEncrypted, !hasPort { rest += ":443" }
        guard let colon = rest.lastIndex(of: ":"), let port = Int(rest[rest.index(after: colon)...]),
            (1...65_535).contains(port), !rest.contains("/")
        else { throw .badAddress(address) }
        let name = rest[..<colon]
        let isBracketed = name.hasPrefix("[") && name.hasSuffix("]")
        let host = String(isBracketed ? name.dropFirst().dropLast() : name)
        guard !host.isEmpty, !host.contains("@") else { throw .badAddress(address) }
        endpoint = .network(host: host, port: port, isEncrypted: isEncrypted)
        self.token = token
    }

    /// Sends a request and reads the whole answer.
    ///
    /// The server may stay silent for `seconds`.
    func send(
        _ method: String, _ target: String, body: [UInt8]? = nil, seconds: Int = 60
    ) throws(ClientError) -> Answer {
        let connection = try Connection(endpoint, trusting: authority, seconds: seconds)
        var head = head(method, target)
        if let body { head += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n" }
        try connection.write(Array((head + "\r\n").utf8) + (body ?? []))
        return try Self.parse(try connection.readToEnd())
    }

    /// What every request begins with.
    private func head(_ method: String, _ target: String) -> String {
        var head = "\(method) \(target) HTTP/1.1\r\nHost: \(endpoint.name)\r\nConnection: close\r\n"
        head += "User-Agent: vintner/\(Version.current)\r\nAccept: application/json\r\n"
        if let token { head += "Authorization: Bearer \(token)\r\n" }
        return head
    }

    /// Sends a file piece by piece, with its digest, once the server wants it.
    func send(
        file path: String, _ method: String, _ target: String, seconds: Int = 120
    ) throws(ClientError) -> JSONValue {
        let connection = try Connection(endpoint, trusting: authority, seconds: seconds)
        let (reader, digest) = try Self.reading(path) { () throws(FileError) in
            (try FileReader(path), try SHA256.digest(ofFile: path))
        }
        let byteCount = try Self.reading(path) { () throws(FileError) in try reader.byteCount() }
        var head = head(method, target)
        head += "Content-Type: application/octet-stream\r\nContent-Length: \(byteCount)\r\n"
        head += "Content-Digest: sha-256=:\(Data(digest.bytes).base64EncodedString()):\r\n"
        head += "Expect: 100-continue\r\n\r\n"
        try connection.write(Array(head.utf8))
        var received: [UInt8] = []
        if byteCount > 0 { received = try connection.readHead() }
        if received.starts(with: "HTTP/1.1 100".utf8) {
            received = []
            while true {
                let chunk = try Self.reading(path) { () throws(FileError) in try reader.read(upTo: 1 << 20) }
                guard !chunk.isEmpty, try connection.write(chunk) else { break }
            }
        }
        return try Self.good(Self.parse(received + (try connection.readToEnd())))
    }

    /// A text as one segment of a path, or one value of a query.
    static func escaped(_ text: String) -> String {
        text.utf8.map { byte in
            let letter = Character(Unicode.Scalar(byte))
            let isPlain = byte < 0x80 && (letter.isLetter || letter.isNumber || "-._~".contains(letter))
            return isPlain ? String(letter) : "%" + SHA256.Digest.hex([byte]).uppercased()
        }.joined()
    }

    private static func reading<R>(
        _ path: String, _ body: () throws(FileError) -> R
    ) throws(ClientError) -> R {
        do { return try body() } catch { throw .unreadable(path: path, reason: error.description) }
    }

    /// Sends a request and returns the JSON of a good answer.
    func ask(
        _ method: String, _ target: String, body: [UInt8]? = nil, seconds: Int = 60
    ) throws(ClientError) -> JSONValue {
        try Self.good(try send(method, target, body: body, seconds: seconds))
    }

    /// The JSON of a good answer.
    private static func good(_ answer: Answer) throws(ClientError) -> JSONValue {
        guard answer.status < 400 else {
            throw .refused(status: answer.status, (try? answer.json()) ?? .null)
        }
        return try answer.json()
    }

    private static func parse(_ bytes: [UInt8]) throws(ClientError) -> Answer {
        let blank: [UInt8] = [13, 10, 13, 10]
        guard let end = bytes.indices.first(where: { bytes[$0...].starts(with: blank) }) else {
            throw .brokenAnswer("it has no head")
        }
        let lines = String(decoding: bytes[..<end], as: UTF8.self).split(separator: "\r\n")
        let words = lines.first?.split(separator: " ") ?? []
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else {
            throw .brokenAnswer("its first line is none of HTTP")
        }
        let body = Array(bytes[(end + blank.count)...])
        // A connection that breaks looks like its end.
        for line in lines.dropFirst() where line.lowercased().hasPrefix("content-length:") {
            let length = line.drop { $0 != ":" }.dropFirst().filter { $0 != " " }
            guard Int(length) == body.count else { throw .brokenAnswer("it ends too early") }
        }
        let isChunked = lines.dropFirst().contains { line in
            let lower = line.lowercased()
            return lower.hasPrefix("transfer-encoding:") && lower.hasSuffix("chunked")
        }
        return Answer(status: status, body: isChunked ? try dechunk(body) : body)
    }

    private static func dechunk(_ bytes: [UInt8]) throws(ClientError) -> [UInt8] {
        var body: [UInt8] = []
        var rest = bytes[...]
        while let end = rest.firstIndex(of: 13) {
            let text = String(decoding: rest[..<end], as: UTF8.self).split(separator: ";").first ?? ""
            guard let count = Int(text, radix: 16), count >= 0, end + 2 + count <= rest.endIndex else {
                break
            }
            if count == 0 { return body }
            body += rest[(end + 2)..<(end + 2 + count)]
            rest = rest[(end + 2 + count)...].dropFirst(2)
        }
        throw .brokenAnswer("it ends too early")
    }
}
