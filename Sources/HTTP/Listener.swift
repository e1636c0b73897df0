import CMicrohttpd
import Glibc

/// How requests travel.
public enum Transport: Sendable {
    /// TCP, readable by whoever is on the way.
    case plain
    /// TLS over TCP.
    case encrypted
    /// A UNIX socket: whoever may open its file.
    case local
}

/// A socket that connections come in by, and what that means for them.
final class Listener: Sendable {
    let descriptor: Int32
    let transport: Transport
    /// Its address, for people: `127.0.0.1:8080`, `unix:PATH`.
    let name: String
    /// 0 where there is none.
    let port: Int
    /// What clients may call us there; anything else is another site's name for our address.
    let hosts: Set<String>
    /// The file that goes when it closes; nil where somebody else made it.
    private let path: String?

    private static let backlog: Int32 = 511

    init(
        _ descriptor: Int32, _ transport: Transport, name: String, port: Int = 0, hosts: Set<String>,
        path: String? = nil
    ) {
        (self.descriptor, self.transport, self.name) = (descriptor, transport, name)
        (self.port, self.hosts, self.path) = (port, hosts, path)
    }

    /// Opens every socket that a configuration asks for; all of them or none.
    static func open(_ configuration: ServerConfiguration) throws(HTTPError) -> [Listener] {
        var opened: [Listener] = []
        do throws(HTTPError) {
            for descriptor in configuration.inherited {
                opened.append(try inherited(descriptor, configuration))
            }
            let isHandedTCP = opened.contains { $0.transport != .local }
            if configuration.isOnTCP, !isHandedTCP { opened.append(try tcp(configuration)) }
            if let path = configuration.unixSocket { opened.append(try local(path, configuration)) }
        } catch {
            for listener in opened { listener.close() }
            throw error
        }
        return opened
    }

    func close() {
        // The file first: whoever finds nobody listening would make one of its own there.
        if let path { unsafe _ = unlink(path) }
        Glibc.close(descriptor)
    }

    private static func tcp(_ configuration: ServerConfiguration) throws(HTTPError) -> Listener {
        let (host, port) = (configuration.host, configuration.port)
        guard let wanted = UInt16(exactly: port) else {
            throw .cannotListen(host: host, port: port, errno: EINVAL)
        }
        // A socket of our own: it closes on exec and tells the port that 0 became.
        var bound: UInt16 = 0
        let descriptor = unsafe cmhd_listen(host, wanted, backlog, &bound)
        guard descriptor >= 0 else { throw .cannotListen(host: host, port: port, errno: -descriptor) }
        return named(descriptor, configuration, port: Int(bound))
    }

    private static func named(
        _ descriptor: Int32, _ configuration: ServerConfiguration, port: Int
    ) -> Listener {
        let transport: Transport = configuration.identity == nil ? .plain : .encrypted
        let host = configuration.host.contains(":") ? "[\(configuration.host)]" : configuration.host
        return Listener(
            descriptor, transport, name: "\(host):\(port)", port: port,
            hosts: hosts(configuration, own: host, port, standard: transport == .encrypted ? 443 : 80))
    }

    private static func local(
        _ path: String, _ configuration: ServerConfiguration
    ) throws(HTTPError) -> Listener {
        var status = stat()
        if unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFSOCK {
            throw .cannotListenLocally(path: path, errno: ENOTSOCK)
        }
        let descriptor = unsafe cmhd_bind_local(path)
        guard descriptor >= 0 else { throw .cannotListenLocally(path: path, errno: -descriptor) }
        // Nobody can connect before it listens, and by then it has the right mode.
        guard unsafe chmod(path, 0o600) == 0, listen(descriptor, backlog) == 0 else {
            let code = errno
            Glibc.close(descriptor)
            throw .cannotListenLocally(path: path, errno: code)
        }
        return Listener(
            descriptor, .local, name: "unix:\(path)", hosts: localHosts(configuration), path: path)
    }

    /// A socket that whoever started the process has opened.
    private static func inherited(
        _ descriptor: Int32, _ configuration: ServerConfiguration
    ) throws(HTTPError) -> Listener {
        var port: UInt16 = 0
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        switch unsafe cmhd_listener_kind(descriptor, &port) {
        case 1: return named(descriptor, configuration, port: Int(port))
        case 2:
            guard configuration.mayBeExposed else { throw .exposed(descriptor: descriptor) }
            return named(descriptor, configuration, port: Int(port))
        case 3: return Listener(descriptor, .local, name: "unix:inherited", hosts: localHosts(configuration))
        default: throw .notListening(descriptor: descriptor)
        }
    }

    private static func hosts(
        _ configuration: ServerConfiguration, own: String, _ port: Int, standard: Int
    ) -> Set<String> {
        let names = ["127.0.0.1", "[::1]", "localhost", own.lowercased()]
        var hosts = Set(names.map { "\($0):\(port)" })
        for name in configuration.allowedHosts.map({ $0.lowercased() }) {
            hosts.insert(name)
            let hasPort = name.last != "]" && name.contains(":")
            if !hasPort { hosts.insert("\(name):\(port)") }
        }
        if port == standard { hosts.formUnion(names) }
        return hosts
    }

    /// Clients of a file have no name to call it by but this one; a proxy in front passes on its own.
    private static func localHosts(_ configuration: ServerConfiguration) -> Set<String> {
        Set(["localhost"] + configuration.allowedHosts.map { $0.lowercased() })
    }
}

/// What the library hands back with each of its calls: the server, and by which socket.
final class Entrance: Sendable {
    let core: ServerCore
    let listener: Listener

    init(_ core: ServerCore, _ listener: Listener) { (self.core, self.listener) = (core, listener) }
}
