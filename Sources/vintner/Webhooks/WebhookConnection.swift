import Foundation
import Glibc
import Jobs
import Synchronization
import TLS
import Threads

/// Why a webhook could not be told.
struct WebhookError: Error, CustomStringConvertible {
    let description: String
}

/// A socket that is cut at a deadline, whatever it waits for.
private final class Cutter: Sendable {
    private let socket = Mutex<Int32?>(nil)
    private let isDone = Bell()
    private let deadline: UInt64
    private let time = SystemTime()

    init(seconds: Int) {
        deadline = time.monotonicNanoseconds() + UInt64(seconds) * 1_000_000_000
    }

    var isOver: Bool { time.monotonicNanoseconds() >= deadline }

    func watch(_ descriptor: Int32) {
        socket.withLock { $0 = descriptor }
        let thread = Thread { [self] in
            time.wait(for: isDone, after: 0, until: deadline)
            socket.withLock { socket in if let socket { shutdown(socket, Int32(SHUT_RDWR)) } }
        }
        thread.start()
    }

    /// To be called before the socket is closed: its number may be another's then.
    func release() {
        socket.withLock { $0 = nil }
        isDone.strike()
    }
}

/// One request over one connection, to an address that was looked at before it was called.
final class WebhookConnection {
    private let descriptor: Int32
    private let cutter: Cutter
    private var encrypted: TLSConnection?

    /// Connects.
    ///
    /// - Parameters:
    ///   - address: Where to.
    ///   - allowsPrivate: Whether it may be this machine or its neighbourhood.
    ///   - authority: Certificates to trust instead of the system's (PEM).
    ///   - seconds: After so long the connection is cut.
    /// - Throws: `WebhookError`.
    init(
        _ address: WebhookAddress, allowsPrivate: Bool, trusting authority: [UInt8]?, seconds: Int
    ) throws(WebhookError) {
        cutter = Cutter(seconds: seconds)
        descriptor = try Self.connect(address, allowsPrivate: allowsPrivate, cutter, seconds)
        cutter.watch(descriptor)
        guard address.isEncrypted else { return }
        do throws(TLSError) {
            encrypted = try TLSConnection(
                descriptor: descriptor, host: address.host, authority: authority, seconds: seconds)
        } catch {
            throw WebhookError(description: error.description)
        }
    }

    deinit {
        // Its farewell goes before the socket.
        encrypted = nil
        cutter.release()
        close(descriptor)
    }

    private static func connect(
        _ address: WebhookAddress, allowsPrivate: Bool, _ cutter: Cutter, _ seconds: Int
    ) throws(WebhookError) -> Int32 {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(address.host, String(address.port), &hints, &list)
        guard status == 0 else {
            throw WebhookError(description: unsafe "no address: \(String(cString: gai_strerror(status)))")
        }
        defer { unsafe freeaddrinfo(list) }
        var reason = "the host has no address"
        var next = unsafe list
        while let candidate = unsafe next?.pointee, !cutter.isOver {
            unsafe next = candidate.ai_next
            guard unsafe allowsPrivate || AddressRange.isPublic(bytes(of: candidate)) else {
                reason = "the host's address is private"
                continue
            }
            let made = unsafe socket(
                candidate.ai_family, candidate.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard made >= 0 else { continue }
            var limit = timeval(tv_sec: seconds, tv_usec: 0)
            let size = socklen_t(MemoryLayout<timeval>.size)
            unsafe setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
            unsafe setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
            if unsafe Glibc.connect(made, candidate.ai_addr, candidate.ai_addrlen) == 0 { return made }
            // A connection that takes longer than its limit is still in progress.
            reason = unsafe errno == EINPROGRESS ? "no connection in time" : String(cString: strerror(errno))
            close(made)
        }
        throw WebhookError(description: reason)
    }

    private static func bytes(of candidate: addrinfo) -> [UInt8] {
        guard let start = unsafe UnsafeRawPointer(candidate.ai_addr) else { return [] }
        switch unsafe candidate.ai_family {
        case AF_INET:
            var address = unsafe start.loadUnaligned(as: sockaddr_in.self).sin_addr
            return unsafe withUnsafeBytes(of: &address) { unsafe Array($0) }
        case AF_INET6:
            var address = unsafe start.loadUnaligned(as: sockaddr_in6.self).sin6_addr
            return unsafe withUnsafeBytes(of: &address) { unsafe Array($0) }
        default: return []
        }
    }

    /// Sends everything, as far as the other side takes it.
    func write(_ bytes: [UInt8]) {
        if let encrypted {
            // An answer may come before the whole request was taken: what it says counts.
            try? encrypted.write(bytes)
            return
        }
        var rest = bytes[...]
        while !rest.isEmpty {
            let sent = unsafe rest.withUnsafeBytes {
                unsafe send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if sent < 0, errno == EINTR { continue }
            guard sent > 0 else { return }
            rest = rest.dropFirst(sent)
        }
    }

    /// What is there, at most 4 KiB; nothing where the other side has closed.
    func read() throws(WebhookError) -> [UInt8] {
        if let encrypted {
            do throws(TLSError) { return try encrypted.read(upTo: 4096) } catch {
                throw WebhookError(description: cutter.isOver ? "no answer in time" : error.description)
            }
        }
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes {
                unsafe recv(descriptor, $0.baseAddress, $0.count, 0)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0, !(count == 0 && cutter.isOver) else {
                let reason = unsafe String(cString: strerror(errno))
                let isLate = cutter.isOver || count < 0 && errno == EAGAIN
                throw WebhookError(description: isLate ? "no answer in time" : reason)
            }
            return Array(chunk[..<count])
        }
    }
}
