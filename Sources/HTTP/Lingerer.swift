import Glibc
import Threads

/// Reads on, for a while, what clients send whose request was answered by its header.
///
/// The library closes such a connection behind the answer. Bytes that come then, or lie there unread, would
/// make the kernel reset it, and many clients lose the answer by that: they send the whole body before they
/// read. A second descriptor of the socket keeps it open while what comes is thrown away (a lingering close).
final class Lingerer: Sendable {
    /// The most that is read of one client.
    static let byteCountMax = 8 << 20
    /// The longest time that one may take.
    private static let duration = Duration.seconds(5)
    /// More are closed at once.
    private static let countMax = 64
    private static let pollMilliseconds: Int32 = 20

    private struct Guest {
        let socket: Int32
        let end: ContinuousClock.Instant
        var byteCount: Int
    }

    private struct State {
        var guests: [Guest] = []
        var isRunning = false
        var isStopped = false
    }

    private let state = Monitor(State())

    /// Looks after a connection that the library is about to answer and close.
    ///
    /// - Parameters:
    ///   - socket: The connection's, which stays the caller's.
    ///   - byteCount: The body's announced size; nil where that is unknown.
    func adopt(_ socket: Int32, byteCount: UInt64?) {
        let most = Int(min(byteCount ?? .max, UInt64(Self.byteCountMax)))
        let isFirst = state.update { state in
            guard !state.isStopped, state.guests.count < Self.countMax else { return false }
            let own = fcntl(socket, F_DUPFD_CLOEXEC, 0)
            guard own >= 0 else { return false }
            state.guests.append(Guest(socket: own, end: .now + Self.duration, byteCount: most))
            defer { state.isRunning = true }
            return !state.isRunning
        }
        if isFirst { startThread { [self] in read() } }
    }

    /// Closes what is left, and adopts nobody any more.
    func stop() {
        state.update { state in
            state.isStopped = true
            for guest in state.guests { close(guest.socket) }
            state.guests = []
        }
    }

    private func read() {
        var room = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let isOver = state.update { state in
                var left: [Guest] = []
                for guest in state.guests {
                    if let guest = Self.served(guest, &room) { left.append(guest) }
                }
                state.guests = left
                state.isRunning = !state.guests.isEmpty
                return state.guests.isEmpty
            }
            guard !isOver else { return }
            var waiting = state.read {
                $0.guests.map { pollfd(fd: $0.socket, events: Int16(POLLIN), revents: 0) }
            }
            _ = unsafe poll(&waiting, nfds_t(waiting.count), Self.pollMilliseconds)
        }
    }

    /// Throws away what has come; nil, and closes the connection, when it is over.
    private static func served(_ guest: Guest, _ room: inout [UInt8]) -> Guest? {
        var guest = guest
        while guest.byteCount > 0, .now < guest.end {
            let count = unsafe recv(guest.socket, &room, room.count, Int32(MSG_DONTWAIT))
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN { return guest }
            guard count > 0 else { break }
            guest.byteCount -= count
        }
        close(guest.socket)
        return nil
    }
}
