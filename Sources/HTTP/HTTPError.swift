/// Why a server could not start or a file could not be served.
public enum HTTPError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The address could not be listened on.
    case cannotListen(host: String, port: Int, errno: Int32)
    /// The library refused to start.
    case cannotStart(host: String, port: Int)
    /// Another major version of libmicrohttpd than the one this was written against.
    case unsupportedLibrary(version: String)
    /// A file that should be served could not be opened.
    case cannotOpen(errno: Int32)
    /// The system gave no random bytes for a secret.
    case noRandomness(cause: String)

    /// What was attempted and how it failed.
    public var description: String {
        switch self {
        case .cannotListen(let host, let port, let errno):
            "cannot listen on \(host), port \(port): \(systemMessage(errno))"
        case .cannotStart(let host, let port): "libmicrohttpd did not start on \(host), port \(port)"
        case .unsupportedLibrary(let version): "libmicrohttpd \(version) is not a version this service knows"
        case .cannotOpen(let errno): "cannot open a file to serve: \(systemMessage(errno))"
        case .noRandomness(let cause): "cannot make a secret: \(cause)"
        }
    }
}
