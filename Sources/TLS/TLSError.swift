/// Why a certificate cannot be shown, or a server not be trusted.
public enum TLSError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The certificate, the key, or the two together are not usable.
    case badIdentity(reason: String)
    /// The certificates to trust could not be read.
    case badAuthority(reason: String)
    /// The other side could not be talked to, or is not who it should be.
    case handshake(reason: String)
    /// The connection broke.
    case broken(reason: String)

    /// What was attempted and how it failed.
    public var description: String {
        switch self {
        case .badIdentity(let reason): "the certificate and the key cannot be used: \(reason)"
        case .badAuthority(let reason): "the certificates to trust cannot be used: \(reason)"
        case .handshake(let reason): "no trust was established: \(reason)"
        case .broken(let reason): "the encrypted connection broke: \(reason)"
        }
    }
}
