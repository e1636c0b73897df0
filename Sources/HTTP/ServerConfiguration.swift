public import TLS

/// How a server listens and what it allows.
public struct ServerConfiguration: Sendable {
    /// Whether there is a TCP socket at all.
    public var isOnTCP = true
    /// A literal IPv4 or IPv6 address.
    public var host = "127.0.0.1"
    /// 0 takes any free port.
    public var port = 8080
    /// What is shown to those who come by TCP, which is encrypted then.
    public var identity: TLSIdentity?
    /// Where a UNIX socket is made that its owner alone may use.
    public var unixSocket: String?
    /// Listening sockets that the process was started with; one for TCP takes the place of `host` and `port`.
    public var inherited: [Int32] = []
    /// Whether one of them may be for TCP on another address than loopback.
    public var mayBeExposed = false
    /// Further names that clients may call the server by, beside the loopback names and `host`.
    ///
    /// `name` stands for itself and for `name:port` with the server's own port; `name:port` for itself alone.
    public var allowedHosts: Set<String> = []
    /// Threads that read requests and send answers.
    public var connectionThreads = 4
    /// Threads that run handlers which may block; so many changes at most share a sync of the disk.
    public var handlerThreads = 16
    /// How far the threads give way to others of the process, as `nice` counts; 0 = not at all.
    public var niceness = 0
    /// Threads that take bodies which are not kept in memory.
    public var bodyThreads = 2
    /// Handlers that may wait for a thread before clients are told to come back.
    public var queuedHandlersMax = 1024
    public var connectionsMax = 2048
    /// 0 = no limit; on loopback all clients share one address.
    public var connectionsPerPeerMax = 0
    /// Silence after which a connection is closed.
    public var idleSeconds = 15
    /// Header and target of one request, in bytes.
    public var headerByteCountMax = 65_536
    /// Bodies kept in memory until they are answered, in bytes; those of up to 64 KiB are always taken.
    public var bodiesByteCountMax = 256 << 20
    /// The time a client has for sending a header.
    public var headerSeconds = 10.0
    /// A body slower than 1 KiB/s is cut after this time.
    public var bodySeconds = 30.0
    /// The time a client has for reading an answer, beside what its size grants at 64 KiB/s.
    public var responseSeconds = 60.0
    /// The age at which a connection is closed after its answer.
    public var connectionAgeSeconds = 600.0
    /// Clients that may wait at once, for long polls and event streams together.
    public var waitersMax = 1536
    /// The longest long poll.
    public var waitSecondsMax = 600.0
    /// The silence after which an event stream gets a comment line, which finds dead clients.
    public var heartbeatSeconds = 15.0
    /// How often connections are looked after.
    public var watchdogSeconds = 0.5
    /// How often the credentials of who waits are looked at again.
    public var dismissalSeconds = 5.0
    /// Requests that change something, per second and caller, before 429; 0 = no limit.
    public var writesPerSecond = 50.0
    /// How many of them may come at once after a silence.
    public var writeBurst = 200
    /// Wrong credentials per minute and peer before 429.
    public var failuresPerMinute = 10
    /// Counts connections and answers.
    public var meter = RequestMeter()
    /// Told of each request that was to change something, with its answer; called from many threads.
    public var audit: @Sendable (AuditEntry) -> Void = { _ in }
    /// Whether it takes requests that change nothing too.
    public var auditsReads: @Sendable () -> Bool = { false }
    /// Takes what an operator should read; called from many threads.
    public var log: @Sendable (_ level: LogLevel, _ message: String, _ requestID: String?) -> Void = {
        _, _, _ in
    }

    /// Makes a configuration with the usual values.
    public init() {}
}

/// How much a log line matters.
public enum LogLevel: String, Sendable, CaseIterable {
    /// In the order of urgency.
    case debug, info, notice, warning, error
}
