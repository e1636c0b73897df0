import Glibc

/// Why a server could not start or a file could not be served.
public enum HTTPError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The address could not be listened on.
    case cannotListen(host: String, port: Int, errno: Int32)
    /// The path could not be listened on.
    case cannotListenLocally(path: String, errno: Int32)
    /// A descriptor that was handed to the process is no listening socket.
    case notListening(descriptor: Int32)
    /// A socket that was handed to the process can be reached from elsewhere.
    case exposed(descriptor: Int32)
    /// The library refused to start.
    case cannotStart(address: String)
    /// Another major version of libmicrohttpd than the one this was written against.
    case unsupportedLibrary(version: String)
    /// A file that should be served could not be opened.
    case cannotOpen(errno: Int32)
    /// What makes a body made another part than the one that was due.
    case cutShort(expected: Int, found: Int)
    /// The system gave no random bytes for a secret.
    case noRandomness(cause: String)

    /// What was attempted and how it failed.
    public var description: String {
        switch self {
        case .cannotListen(let host, let port, let errno):
            "cannot listen on \(host), port \(port): \(systemMessage(errno))"
        case .cannotListenLocally(let path, let errno):
            switch errno {
            case EADDRINUSE: "cannot listen on \(path): a server listens there already"
            case ENOTSOCK: "cannot listen on \(path): there is something that is no socket"
            default: "cannot listen on \(path): \(systemMessage(errno))"
            }
        case .notListening(let descriptor):
            "descriptor \(descriptor), which this process was started with, is no listening socket"
        case .exposed(let descriptor):
            "descriptor \(descriptor), which this process was started with, listens beyond loopback: "
                + "that takes tokens, and a certificate or --insecure-http"
        case .cannotStart(let address): "libmicrohttpd did not start on \(address)"
        case .unsupportedLibrary(let version): "libmicrohttpd \(version) is not a version this service knows"
        case .cannotOpen(let errno): "cannot open a file to serve: \(systemMessage(errno))"
        case .cutShort(let expected, let found):
            "expected \(expected) bytes of a body, found \(found)"
        case .noRandomness(let cause): "cannot make a secret: \(cause)"
        }
    }
}
