import Glibc
import TLS

/// Where a server listens.
enum Endpoint: Equatable, Sendable {
    case network(host: String, port: Int, isEncrypted: Bool)
    /// A UNIX socket.
    case local(path: String)

    /// What a request calls the server.
    var name: String {
        switch self {
        case .network(let host, let port, _): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .local: "localhost"
        }
    }

    /// What people call it.
    var description: String {
        switch self {
        case .network: name
        case .local(let path): path
        }
    }
}

/// One connection, closed when it goes away.
final class Connection {
    private let descriptor: Int32
    private let address: String
    private var encrypted: TLSConnection?
    /// No answer of the API that commands read is longer.
    private static let byteCountMax = 64 << 20

    /// Connects; the other side may stay silent for `seconds`.
    ///
    /// `authority` are the certificates to trust instead of the system's (PEM).
    init(_ endpoint: Endpoint, trusting authority: [UInt8]?, seconds: Int) throws(ClientError) {
        address = endpoint.description
        switch endpoint {
        case .local(let path): descriptor = try Self.connectLocally(path, seconds)
        case .network(let host, let port, _): descriptor = try Self.connect(host, port, seconds, address)
        }
        guard case .network(let host, _, isEncrypted: true) = endpoint else { return }
        do throws(TLSError) {
            encrypted = try TLSConnection(
                descriptor: descriptor, host: host, authority: authority, seconds: seconds)
        } catch {
            throw .cannotConnect(address, reason: error.description)
        }
    }

    private static func connect(
        _ host: String, _ port: Int, _ seconds: Int, _ address: String
    ) throws(ClientError) -> Int32 {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(host, String(port), &hints, &list)
        guard status == 0 else {
            throw .cannotConnect(address, reason: unsafe String(cString: gai_strerror(status)))
        }
        defer { unsafe freeaddrinfo(list) }
        var reason = "it has no address"
        var next = unsafe list
        while let candidate = unsafe next?.pointee {
            unsafe next = candidate.ai_next
            let made = unsafe socket(
                candidate.ai_family, candidate.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard made >= 0 else { continue }
            limit(made, seconds)
            if unsafe Glibc.connect(made, candidate.ai_addr, candidate.ai_addrlen) == 0 { return made }
            reason = unsafe String(cString: strerror(errno))
            close(made)
        }
        throw .cannotConnect(address, reason: reason)
    }

    private static func connectLocally(_ path: String, _ seconds: Int) throws(ClientError) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let hasRoom = unsafe withUnsafeMutableBytes(of: &address.sun_path) { room in
            guard bytes.count < room.count, !bytes.contains(0) else { return false }
            unsafe room.copyBytes(from: bytes)
            return true
        }
        guard hasRoom else { throw .badAddress(path) }
        let made = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard made >= 0 else { throw .cannotConnect(path, reason: unsafe String(cString: strerror(errno))) }
        limit(made, seconds)
        let status = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(made, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard status == 0 else {
            let reason = unsafe String(cString: strerror(errno))
            close(made)
            throw .cannotConnect(path, reason: reason)
        }
        return made
    }

    private static func limit(_ descriptor: Int32, _ seconds: Int) {
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
    }

    deinit {
        // Its farewell goes before the socket.
        encrypted = nil
        close(descriptor)
    }

    /// Sends everything; whether the other side still listens.
    @discardableResult
    func write(_ bytes: [UInt8]) throws(ClientError) -> Bool {
        if let encrypted {
            do { try encrypted.write(bytes) } catch { return false }
            return true
        }
        var rest = bytes[...]
        while !rest.isEmpty {
            let sent = unsafe rest.withUnsafeBytes {
                unsafe send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if sent < 0, errno == EINTR { continue }
            // A server that refuses a body answers before it has read it: what it says counts.
            guard sent > 0 else { return false }
            rest = rest.dropFirst(sent)
        }
        return true
    }

    /// Receives up to the end of a head, and perhaps some of what follows.
    func readHead() throws(ClientError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < 65_536, bytes.firstRange(of: [13, 10, 13, 10]) == nil {
            let chunk = try read()
            if chunk.isEmpty { break }
            bytes += chunk
        }
        return bytes
    }

    /// Receives until the other side closes.
    func readToEnd() throws(ClientError) -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let chunk = try read()
            if chunk.isEmpty { return bytes }
            bytes += chunk
            guard bytes.count <= Self.byteCountMax else { throw .brokenAnswer("it is too long") }
        }
    }

    /// Receives some bytes; none where the other side has closed.
    private func read() throws(ClientError) -> ArraySlice<UInt8> {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            if let encrypted {
                let received: [UInt8]
                do throws(TLSError) { received = try encrypted.read(upTo: chunk.count) } catch {
                    throw .cannotConnect(address, reason: error.description)
                }
                return received[...]
            }
            let count = unsafe chunk.withUnsafeMutableBytes {
                unsafe recv(descriptor, $0.baseAddress, $0.count, 0)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                let reason = unsafe String(cString: strerror(errno))
                throw .cannotConnect(address, reason: reason)
            }
            return chunk[..<count]
        }
    }
}
