import Glibc
import Synchronization

/// What each connection is doing and since when; cuts those that take too long.
///
/// libmicrohttpd's own timeout counts silence only: a byte now and then keeps a slot for ever. Sockets
/// are shut down under the table's lock, and the library removes a connection here before it closes
/// the socket, so a number that was given to another file meanwhile is never hit.
final class ConnectionTable: Sendable {
    /// What a connection is waiting for.
    enum Phase: Sendable, Equatable {
        /// The first header.
        case header
        /// The body, of which so many bytes have come.
        case body(byteCount: Int)
        /// The handler.
        case handling
        /// The client, which reads an answer of so many bytes.
        case answering(byteCount: Int)
        /// A stream's next event, or its client.
        case streaming
        /// The next request.
        case idle
    }

    private struct Entry {
        let socket: Int32
        let start: ContinuousClock.Instant
        var phase = Phase.header
        var phaseStart: ContinuousClock.Instant
        /// Bytes of the body that had come when its speed began to be measured anew.
        var bodyStart = 0
    }

    private let entries = Mutex<[ConnectionID: Entry]>([:])
    /// How long the speed of a body is measured before it is measured anew.
    private let window: Duration

    init(bodySeconds: Double) { window = .seconds(2 * bodySeconds) }

    func add(_ id: ConnectionID, socket: Int32) {
        let now = ContinuousClock.now
        entries.withLock { $0[id] = Entry(socket: socket, start: now, phaseStart: now) }
    }

    func remove(_ id: ConnectionID) { entries.withLock { $0[id] = nil } }

    /// Notes what a connection does from now on.
    func enter(_ phase: Phase, _ id: ConnectionID) {
        let now = ContinuousClock.now
        entries.withLock { entries in
            guard var entry = entries[id] else { return }
            defer { entries[id] = entry }
            guard case .body(let byteCount) = phase, case .body(let before) = entry.phase else {
                (entry.phase, entry.phaseStart, entry.bodyStart) = (phase, now, 0)
                return
            }
            // The clock of the body goes on, but haste at its start does not excuse it for ever.
            if now - entry.phaseStart > window { (entry.phaseStart, entry.bodyStart) = (now, before) }
            entry.phase = .body(byteCount: byteCount)
        }
    }

    /// How long a connection exists, in seconds.
    func age(of id: ConnectionID) -> Double {
        entries.withLock { $0[id].map { seconds(since: $0.start) } } ?? 0
    }

    var count: Int { entries.withLock { $0.count } }

    /// Cuts every connection that is overdue.
    ///
    /// - Parameters:
    ///   - configuration: The limits.
    ///   - isClosing: Whether connections without a request are overdue too.
    /// - Returns: How many were cut.
    func cutOverdue(_ configuration: ServerConfiguration, isClosing: Bool) -> Int {
        entries.withLock { entries in
            var count = 0
            for entry in entries.values where Self.isOverdue(entry, configuration, isClosing) {
                shutdown(entry.socket, Int32(SHUT_RDWR))
                count += 1
            }
            return count
        }
    }

    private static func isOverdue(
        _ entry: Entry, _ configuration: ServerConfiguration, _ isClosing: Bool
    ) -> Bool {
        let elapsed = seconds(since: entry.phaseStart)
        switch entry.phase {
        case .header: return elapsed > configuration.headerSeconds || isClosing
        case .body(let byteCount):
            return elapsed > configuration.bodySeconds
                && Double(byteCount - entry.bodyStart) < 1024 * elapsed
        case .handling, .streaming: return false
        case .answering(let byteCount):
            return elapsed > configuration.responseSeconds + Double(byteCount) / 65_536
        // A header that trickles in after an answer is indistinguishable from silence here.
        case .idle:
            return isClosing || elapsed > Double(configuration.idleSeconds) + configuration.headerSeconds
        }
    }

    /// Which of these connections' clients have closed their side.
    func departed(among ids: [ConnectionID]) -> Set<ConnectionID> {
        entries.withLock { entries in
            let known = ids.filter { entries[$0] != nil }
            // Room for POLLRDHUP, which Glibc's module hides without _GNU_SOURCE.
            let closed: Int16 = 0x2000
            var polled = known.map { pollfd(fd: entries[$0]?.socket ?? -1, events: closed, revents: 0) }
            guard unsafe poll(&polled, nfds_t(polled.count), 0) > 0 else { return [] }
            let gone = closed | Int16(POLLHUP) | Int16(POLLERR)
            return Set(zip(known, polled).filter { $0.1.revents & gone != 0 }.map(\.0))
        }
    }
}

/// Seconds from `instant` until now.
private func seconds(since instant: ContinuousClock.Instant) -> Double {
    (ContinuousClock.now - instant) / .seconds(1)
}
