import Glibc
import Synchronization
import TLS
import Threads

/// An HTTP/1.1 server on libmicrohttpd.
///
/// Block SIGPIPE and the signals you handle before `start`: its threads inherit the mask.
public final class Server: Sendable {
    private struct Running {
        let core: ServerCore
        let daemons: [DaemonHandle]
        let watchdog: Watchdog
        let listeners: [Listener]
    }

    /// The configuration as given; `port` says which port it became.
    public let configuration: ServerConfiguration
    private let router: Router
    private let authenticator: any Authenticator
    private let running = Mutex<Running?>(nil)

    /// Makes a server that does not listen yet.
    public init(_ configuration: ServerConfiguration, router: Router, authenticator: any Authenticator) {
        (self.configuration, self.router, self.authenticator) = (configuration, router, authenticator)
    }

    /// Listens and answers from now on.
    ///
    /// - Returns: The port; 0 without TCP.
    /// - Throws: `HTTPError` when the address is taken or not ours, or the library is not the one we know.
    @discardableResult
    public func start() throws(HTTPError) -> Int {
        try DaemonHandle.checkLibrary()
        let listeners = try Listener.open(configuration)
        configuration.identity?.show()
        let bell = Bell()
        let gate = Gate(
            authenticator: authenticator,
            limiter: FailureLimiter(perMinute: configuration.failuresPerMinute) { [configuration] text in
                configuration.log(.warning, text, nil)
            },
            writes: WriteLimiter(perSecond: configuration.writesPerSecond, burst: configuration.writeBurst))
        let soon = configuration.watchdogSeconds
        let started = givingWay(niceness: configuration.niceness) { [self] in
            let core = ServerCore(configuration, router: router, gate: gate) { deadline in
                if deadline - .now < .seconds(soon) { bell.strike() }
            }
            return Result { () throws(HTTPError) in (core, try startDaemons(core, listeners)) }
        }
        let (core, daemons) = try started.get()
        let watchdog = Watchdog(core, bell: bell)
        watchdog.start()
        running.withLock {
            $0 = Running(core: core, daemons: daemons, watchdog: watchdog, listeners: listeners)
        }
        return Self.port(of: listeners)
    }

    private func startDaemons(
        _ core: ServerCore, _ listeners: [Listener]
    ) throws(HTTPError) -> [DaemonHandle] {
        var daemons: [DaemonHandle] = []
        for listener in listeners {
            guard let daemon = DaemonHandle(core, listeningOn: listener) else {
                for daemon in daemons { daemon.stop() }
                for listener in listeners.dropFirst(daemons.count) { listener.close() }
                core.work.stop(seconds: 1)
                core.bodies.stop(seconds: 1)
                throw .cannotStart(address: listener.name)
            }
            daemons.append(daemon)
        }
        return daemons
    }

    private static func port(of listeners: [Listener]) -> Int { listeners.map(\.port).first { $0 > 0 } ?? 0 }

    /// The TCP port; `nil` while the server does not listen.
    public var port: Int? { running.withLock { $0.map { Self.port(of: $0.listeners) } } }
    /// Where it can be reached: `http://127.0.0.1:8080`, `unix:PATH`.
    public var addresses: [String] {
        running.withLock { $0?.listeners ?? [] }.map { listener in
            switch listener.transport {
            case .plain: "http://\(listener.name)"
            case .encrypted: "https://\(listener.name)"
            case .local: listener.name
            }
        }
    }
    /// Whether new work is refused.
    public var isDraining: Bool { running.withLock { $0?.core.isDraining } ?? false }
    /// Bytes of bodies that are in memory until they are answered.
    public var bodyByteCount: Int { running.withLock { $0?.core.bodyRoom.byteCount ?? 0 } }
    /// Whether the thread that looks after connections has done so lately.
    public var isTended: Bool { running.withLock { $0?.watchdog.hasLooked(within: .seconds(10)) ?? false } }
    /// Open connections.
    public var connectionCount: Int { running.withLock { $0?.core.connections.count } ?? 0 }
    /// Clients in long polls and event streams.
    public var waiterCount: Int { running.withLock { $0?.core.waiters.count } ?? 0 }

    /// Refuses new work from now on, while what runs goes on; `drain` includes it.
    public func startDraining() { running.withLock { $0?.core.startDraining() } }

    /// Stops listening, answers who waits, lets requests end, and closes what remains.
    ///
    /// The library aborts the process when it is stopped with a suspended connection, so each is
    /// resumed first.
    ///
    /// - Parameter seconds: How long requests may take to end.
    public func drain(seconds: Double = 10) {
        guard
            let running = running.withLock({ running in
                defer { running = nil }
                return running
            })
        else { return }
        let core = running.core
        core.startDraining()
        for daemon in running.daemons { daemon.quiesce() }
        core.waiters.close()
        Self.releaseWaiters(core)
        Self.wait(seconds: seconds, for: core)
        core.close()
        for exchange in core.liveExchanges { exchange.finish(ServerCore.draining.response) }
        Self.releaseWaiters(core)
        Self.wait(seconds: 1, for: core)
        running.watchdog.stop()
        // Whoever sleeps while a piece of its body is written is woken by the end of the writing.
        core.bodies.stop(seconds: 60)
        Self.releaseWaiters(core)
        for daemon in running.daemons { daemon.stop() }
        core.work.stop(seconds: 1)
    }

    private static func releaseWaiters(_ core: ServerCore) {
        for poll in core.waiters.polls { poll.exchange.tend(isLast: true) }
        for channel in core.waiters.channels { channel.finish() }
    }

    /// Cuts idle connections until none is left.
    private static func wait(seconds: Double, for core: ServerCore) {
        let end = ContinuousClock.now + .seconds(seconds)
        while core.connections.count > 0, ContinuousClock.now < end {
            _ = core.connections.cutOverdue(core.configuration, isClosing: true)
            usleep(5000)
        }
    }
}
