import Glibc

/// One TCP connection, closed when it goes away.
final class Connection {
    private let descriptor: Int32
    private let address: String
    /// No answer of the API that commands read is longer.
    private static let byteCountMax = 64 << 20

    /// Connects; the other side may stay silent for `seconds`.
    init(_ host: String, _ port: Int, seconds: Int) throws(ClientError) {
        address = "\(host):\(port)"
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
            var limit = timeval(tv_sec: seconds, tv_usec: 0)
            let size = socklen_t(MemoryLayout<timeval>.size)
            unsafe setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
            unsafe setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
            if unsafe connect(made, candidate.ai_addr, candidate.ai_addrlen) == 0 {
                descriptor = made
                return
            }
            reason = unsafe String(cString: strerror(errno))
            close(made)
        }
        throw .cannotConnect(address, reason: reason)
    }

    deinit { close(descriptor) }

    /// Sends everything; whether the other side still listens.
    @discardableResult
    func write(_ bytes: [UInt8]) throws(ClientError) -> Bool {
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
