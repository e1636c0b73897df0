import ArgumentParser
import Files
import Foundation
import HTTP
import Jobs
import TLS

/// Where `vintner serve` listens, and how much it takes from whom.
struct ListenOptions: ParsableArguments {
    @Option(help: "The address to listen on.")
    var host = "127.0.0.1"
    @Option(help: "The port to listen on; 0 picks a free one.")
    var port = 8080
    @Option(help: "A UNIX socket to listen on, which this user alone may open; beside the port.")
    var unixSocket: String?
    @Flag(name: .customLong("no-tcp"), help: "Listen on the UNIX socket alone.")
    var isWithoutTCP = false
    @Option(
        help: "The certificate to show, its chain behind it (PEM); with --tls-key. SIGHUP reads both again.")
    var tlsCert: String?
    @Option(help: "The key of the certificate (PEM, not encrypted); others must not be able to read it.")
    var tlsKey: String?
    @Flag(help: "Serve other addresses than loopback although nothing is encrypted.")
    var insecureHTTP = false
    @Option(
        help: "A further name that clients may call this server by, with or without a port; may be repeated.")
    var allowedHost: [String] = []
    @Option(help: "Changes per second that a token may make, four seconds' worth at once; 0: any number.")
    var writesPerSecond = 50
    @Option(help: "Wrong credentials that an address may send in a minute; what follows is 429.")
    var credentialFailures = 10
    @Option(help: "Jobs that may wait, paused ones included, of all tokens together.")
    var maxQueued = 10_000
    @Option(help: "The same of one named token; 0: any number. The owner's token is free of it.")
    var maxQueuedPerToken = 100
    @Option(
        help: "Connections that an address may have; 0: any number. By default 64, on loopback any number.")
    var connectionsPerAddress: Int?
    @Option(help: "How far the threads that answer give way to those that train, as nice counts: 0 to 19.")
    var nice = 5

    var isLoopback: Bool { ["127.0.0.1", "::1", "localhost"].contains(host) }

    /// Whether every byte that leaves the machine is encrypted, or none leaves.
    var isPrivate: Bool { isLoopback || isWithoutTCP || tlsCert != nil }

    func validate() throws {
        guard (0...65_535).contains(port) else {
            throw ValidationError("--port is a number from 0 to 65535, not \(port).")
        }
        guard !isWithoutTCP || unixSocket != nil || !Self.inherited.isEmpty else {
            throw ValidationError("--no-tcp leaves nothing to listen on without --unix-socket.")
        }
        guard (tlsCert == nil) == (tlsKey == nil) else {
            throw ValidationError("--tls-cert and --tls-key go together.")
        }
        guard isPrivate || insecureHTTP else {
            throw ValidationError(
                "Serving \(host) would send tokens and data in the clear; name a certificate by --tls-cert "
                    + "and --tls-key, put a TLS proxy in front of a loopback address, or say --insecure-http."
            )
        }
        guard (0...100_000).contains(writesPerSecond) else {
            throw ValidationError("--writes-per-second is a number from 0 to 100000, not \(writesPerSecond).")
        }
        guard (1...1_000_000).contains(credentialFailures) else {
            throw ValidationError(
                "--credential-failures is a number from 1 to 1000000, not \(credentialFailures).")
        }
        guard (1...1_000_000).contains(maxQueued), (0...1_000_000).contains(maxQueuedPerToken) else {
            throw ValidationError("--max-queued and --max-queued-per-token are numbers up to 1000000.")
        }
        guard (0...19).contains(nice) else {
            throw ValidationError("--nice is a number from 0 to 19, not \(nice).")
        }
        guard (0...1_000_000).contains(connectionsPerAddress ?? 0) else {
            throw ValidationError("--connections-per-address is a number from 0 to 1000000.")
        }
    }

    /// How many jobs may wait.
    var queueLimits: QueueLimits {
        QueueLimits(
            total: maxQueued, perToken: maxQueuedPerToken > 0 ? maxQueuedPerToken : nil,
            exempt: [NamedToken.owner, ServeCommand.anonymous])
    }

    /// What the server is told.
    func configuration() throws -> ServerConfiguration {
        var configuration = ServerConfiguration()
        configuration.isOnTCP = !isWithoutTCP
        configuration.niceness = nice
        // Sockets know addresses alone.
        (configuration.host, configuration.port) = (host == "localhost" ? "127.0.0.1" : host, port)
        configuration.unixSocket = unixSocket
        configuration.inherited = Self.inherited
        configuration.mayBeExposed = insecureHTTP || tlsCert != nil
        configuration.identity = try identity()
        configuration.allowedHosts = Set(allowedHost)
        configuration.writesPerSecond = Double(writesPerSecond)
        configuration.writeBurst = 4 * writesPerSecond
        configuration.failuresPerMinute = credentialFailures
        configuration.connectionsPerPeerMax = connectionsPerAddress ?? (isLoopback ? 0 : 64)
        return configuration
    }

    /// The certificate and its key as the files have them now; nil where none were named.
    func identity() throws -> TLSIdentity? {
        guard let tlsCert, let tlsKey else { return nil }
        var status = stat()
        if unsafe stat(tlsKey, &status) == 0, status.st_mode & 0o007 != 0 {
            throw IdentityError(
                text: "\(tlsKey) can be read or written by anybody; take that away: chmod 600 \(tlsKey)")
        }
        let certificate = try readFile(tlsCert, limit: 1 << 20)
        let key = try readFile(tlsKey, limit: 1 << 20)
        do { return try TLSIdentity(certificate: certificate, key: key) } catch {
            throw IdentityError(text: "\(tlsCert) with \(tlsKey): \(error)")
        }
    }

    /// Why a certificate is not served.
    struct IdentityError: Error, CustomStringConvertible {
        let text: String
        var description: String { text }
    }

    /// The sockets that systemd opened for this process (sd_listen_fds(3)).
    static var inherited: [Int32] {
        let environment = ProcessInfo.processInfo.environment
        guard environment["LISTEN_PID"].flatMap(Int32.init) == getpid(),
            let count = environment["LISTEN_FDS"].flatMap(Int32.init), (1...16).contains(count)
        else { return [] }
        return Array(3..<3 + count)
    }
}
