import Foundation
import Glibc
import Jobs
import Synchronization
import Threads

/// Looks names up within a time; the resolver keeps no deadline and cannot be called off.
///
/// A lookup that takes longer goes on alone, on a thread of its own, of which there are few at once.
struct NameLookup: Sendable {
    /// Where a name leads.
    struct Address: Sendable, Equatable {
        let family: Int32
        /// A `sockaddr` of that family.
        let socketAddress: [UInt8]
        /// The 4 or 16 bytes of the address alone.
        let bytes: [UInt8]
    }

    typealias Resolver = @Sendable (_ host: String, _ port: Int) throws(WebhookError) -> [Address]

    /// The lookups of the process.
    static let shared = NameLookup(resolver: resolve)
    /// Lookups that may be under way, those that nobody waits for any more included.
    static let runningMax = 32

    private let resolver: Resolver
    private let running = Running()
    private let time = SystemTime()

    private final class Running: Sendable {
        let count = Mutex(0)
    }

    init(resolver: @escaping Resolver) { self.resolver = resolver }

    /// The addresses of a host, in the resolver's order.
    ///
    /// - Throws: `WebhookError` where there is none, or none by `deadline`.
    func addresses(of host: String, port: Int, until deadline: UInt64) throws(WebhookError) -> [Address] {
        let isFree = running.count.withLock { count in
            guard count < Self.runningMax else { return false }
            count += 1
            return true
        }
        guard isFree else { throw WebhookError(description: "too many names are being looked up") }
        let (pending, bell) = (Pending<[Address], WebhookError>(), Bell())
        _ = pending.subscribe { bell.strike() }
        Thread.detachNewThread { [running, resolver] in
            defer { running.count.withLock { $0 -= 1 } }
            do throws(WebhookError) { pending.finish(.success(try resolver(host, port))) } catch {
                pending.finish(.failure(error))
            }
        }
        while true {
            let ring = bell.ring
            if let outcome = pending.outcome { return try outcome.get() }
            guard time.monotonicNanoseconds() < deadline else {
                throw WebhookError(description: "no address in time")
            }
            time.wait(for: bell, after: ring, until: deadline)
        }
    }

    private static func resolve(_ host: String, _ port: Int) throws(WebhookError) -> [Address] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(host, String(port), &hints, &list)
        guard status == 0 else {
            throw WebhookError(description: unsafe "no address: \(String(cString: gai_strerror(status)))")
        }
        defer { unsafe freeaddrinfo(list) }
        var found: [Address] = []
        var next = unsafe list
        while let candidate = unsafe next?.pointee {
            unsafe next = candidate.ai_next
            guard let start = unsafe UnsafeRawPointer(candidate.ai_addr) else { continue }
            let whole = unsafe UnsafeRawBufferPointer(start: start, count: Int(candidate.ai_addrlen))
            let (family, all) = unsafe (candidate.ai_family, Array(whole))
            guard let bytes = bytes(of: all, family) else { continue }
            found.append(Address(family: family, socketAddress: all, bytes: bytes))
        }
        return found
    }

    /// The address within a `sockaddr`: behind family and port, in IPv6 behind the flow too.
    private static func bytes(of socketAddress: [UInt8], _ family: Int32) -> [UInt8]? {
        switch family {
        case AF_INET where socketAddress.count >= 8: Array(socketAddress[4..<8])
        case AF_INET6 where socketAddress.count >= 24: Array(socketAddress[8..<24])
        default: nil
        }
    }
}
