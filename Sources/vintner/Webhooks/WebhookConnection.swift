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
    let deadline: UInt64
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
        let found = try NameLookup.shared.addresses(
            of: address.host, port: address.port, until: cutter.deadline)
        var reason = "the host has no address"
        for candidate in found where !cutter.isOver {
            guard allowsPrivate || AddressRange.isPublic(candidate.bytes) else {
                reason = "the host's address is private"
                continue
            }
            let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            let made = socket(candidate.family, type, 0)
            guard made >= 0 else { continue }
            var limit = timeval(tv_sec: seconds, tv_usec: 0)
            let size = socklen_t(MemoryLayout<timeval>.size)
            unsafe setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
            unsafe setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
            let status = unsafe candidate.socketAddress.withUnsafeBytes { bytes in
                let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self)
                return unsafe Glibc.connect(made, start, socklen_t(bytes.count))
            }
            if status == 0 { return made }
            // A connection that takes longer than its limit is still in progress.
            reason = unsafe errno == EINPROGRESS ? "no connection in time" : String(cString: strerror(errno))
            close(made)
        }
        throw WebhookError(description: reason)
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
