import Foundation
import Glibc

/// Who started the process and wants to know how it does: systemd, by the protocol of sd_notify(3).
struct ServiceManager: Sendable {
    /// The socket's path; `@` stands for an abstract name.
    private let path: String
    /// The time within which it wants to hear of us; nil where it does not watch.
    let watchSeconds: Double?

    /// Nil where nobody asks.
    init?(_ environment: [String: String] = ProcessInfo.processInfo.environment) {
        guard let path = environment["NOTIFY_SOCKET"], path.hasPrefix("/") || path.hasPrefix("@"),
            (2...Self.pathByteCountMax).contains(path.utf8.count)
        else { return nil }
        self.path = path
        let isOurs = environment["WATCHDOG_PID"].map { Int32($0) == getpid() } ?? true
        let microseconds = environment["WATCHDOG_USEC"].flatMap(Double.init).flatMap { $0 > 0 ? $0 : nil }
        watchSeconds = isOurs ? microseconds.map { $0 / 1e6 } : nil
    }

    /// Says that the process answers from now on.
    func ready() { tell("READY=1") }

    /// Says that it is about to end.
    func stopping() { tell("STOPPING=1") }

    /// Tells three times within the time asked for that the process does what it is there for, as long as
    /// `isWell` says so; its end is then the service manager's to bring about.
    func watch(_ isWell: @escaping @Sendable () -> Bool) {
        guard let watchSeconds else { return }
        Thread.detachNewThread {
            while true {
                if isWell() { tell("WATCHDOG=1") }
                usleep(UInt32(min(1e6 * watchSeconds / 3, 6e7)))
            }
        }
    }

    private static let pathByteCountMax = 107

    /// Sends a message; one that does not arrive is not missed.
    private func tell(_ text: String) {
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var name = Array(path.utf8)
        if name[0] == UInt8(ascii: "@") { name[0] = 0 }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: name) }
        let byteCount = socklen_t(MemoryLayout<sa_family_t>.size + name.count)
        let message = Array(text.utf8)
        unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                _ = unsafe sendto(
                    descriptor, message, message.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT),
                    pointer, byteCount)
            }
        }
    }
}
