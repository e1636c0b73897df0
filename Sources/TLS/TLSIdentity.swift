import CGnuTLS
import Synchronization

/// A certificate with its chain and its key: what a server shows.
///
/// `@unchecked Sendable`: nothing is changed after `init`, and GnuTLS only reads it.
@safe public final class TLSIdentity: @unchecked Sendable {
    /// When the certificate ends, in Unix seconds.
    public let expiresAt: Int
    private let chain: UnsafeMutablePointer<gnutls_pcert_st>
    private let chainCount: UInt32
    private let key: gnutls_privkey_t

    /// More than any chain has.
    private static let chainCountMax = 16
    /// The one to show; the others may still be in use by handshakes that began before.
    private static let shown = Mutex<[TLSIdentity]>([])

    /// Reads a chain, the server's own certificate first, and the key that belongs to it.
    ///
    /// - Parameters:
    ///   - certificate: The chain (PEM).
    ///   - key: The key, not encrypted (PEM).
    /// - Throws: `TLSError.badIdentity` when one is unreadable or they do not belong together.
    public init(certificate: [UInt8], key: [UInt8]) throws(TLSError) {
        expiresAt = try Self.tryTogether(certificate, key)
        var made: gnutls_privkey_t?
        try Self.check(unsafe gnutls_privkey_init(&made))
        guard let made = unsafe made else { throw .badIdentity(reason: "no memory is left") }
        let chain = UnsafeMutablePointer<gnutls_pcert_st>.allocate(capacity: Self.chainCountMax)
        var count = UInt32(Self.chainCountMax)
        do throws(TLSError) {
            try Self.check(
                unsafe withDatum(key) {
                    unsafe gnutls_privkey_import_x509_raw(made, $0, GNUTLS_X509_FMT_PEM, nil, 0)
                })
            try Self.check(
                unsafe withDatum(certificate) {
                    unsafe gnutls_pcert_list_import_x509_raw(chain, &count, $0, GNUTLS_X509_FMT_PEM, 0)
                })
        } catch {
            unsafe gnutls_privkey_deinit(made)
            unsafe chain.deallocate()
            throw error
        }
        unsafe (self.chain, chainCount, self.key) = (chain, count, made)
    }

    deinit {
        for index in 0..<Int(chainCount) { unsafe gnutls_pcert_deinit(chain + index) }
        unsafe chain.deallocate()
        unsafe gnutls_privkey_deinit(key)
    }

    /// Shows it to every client from now on; connections that are open stay.
    public func show() { Self.shown.withLock { $0.append(self) } }

    /// When the one that is shown ends, in Unix seconds.
    public static var shownExpiry: Int? { shown.withLock { $0.last?.expiresAt } }

    /// What libmicrohttpd is given as `MHD_OPTION_HTTPS_CERT_CALLBACK`.
    public static var callback: UnsafeRawPointer {
        unsafe unsafeBitCast(onHandshake, to: UnsafeRawPointer.self)
    }

    fileprivate static func present(
        _ chain: UnsafeMutablePointer<UnsafeMutablePointer<gnutls_pcert_st>?>,
        _ count: UnsafeMutablePointer<UInt32>, _ key: UnsafeMutablePointer<gnutls_privkey_t?>
    ) -> Int32 {
        shown.withLock { shown in
            guard let identity = shown.last else { return -1 }
            unsafe chain.pointee = identity.chain
            unsafe count.pointee = identity.chainCount
            unsafe key.pointee = identity.key
            return 0
        }
    }

    /// Whether key and certificate belong together.
    ///
    /// - Returns: When the certificate ends.
    private static func tryTogether(_ certificate: [UInt8], _ key: [UInt8]) throws(TLSError) -> Int {
        var made: gnutls_certificate_credentials_t?
        try check(unsafe gnutls_certificate_allocate_credentials(&made))
        guard let credentials = unsafe made else { throw .badIdentity(reason: "no memory is left") }
        defer { unsafe gnutls_certificate_free_credentials(credentials) }
        try check(
            unsafe withDatum(certificate) { certificate in
                unsafe withDatum(key) { key in
                    unsafe gnutls_certificate_set_x509_key_mem2(
                        credentials, certificate, key, GNUTLS_X509_FMT_PEM, nil, 0)
                }
            })
        var list: UnsafeMutablePointer<gnutls_x509_crt_t?>?
        var count: UInt32 = 0
        try check(unsafe gnutls_certificate_get_x509_crt(credentials, 0, &list, &count))
        var end = 0
        for index in 0..<Int(count) {
            guard let certificate = unsafe list?[index] else { continue }
            if index == 0 { end = unsafe gnutls_x509_crt_get_expiration_time(certificate) }
            unsafe gnutls_x509_crt_deinit(certificate)
        }
        unsafe releaseList(list)
        return end
    }

    private static func check(_ status: Int32) throws(TLSError) {
        guard status < 0 else { return }
        throw .badIdentity(reason: gnutlsText(status))
    }
}

/// Hands GnuTLS what it frees with its own allocator.
private func releaseList(_ list: UnsafeMutablePointer<gnutls_x509_crt_t?>?) {
    unsafe cgnutls_free(UnsafeMutableRawPointer(list))
}

private let onHandshake:
    @convention(c) (
        gnutls_session_t?, UnsafePointer<gnutls_datum_t>?, Int32, UnsafePointer<gnutls_pk_algorithm_t>?,
        Int32,
        UnsafeMutablePointer<UnsafeMutablePointer<gnutls_pcert_st>?>?, UnsafeMutablePointer<UInt32>?,
        UnsafeMutablePointer<gnutls_privkey_t?>?
    ) -> Int32 = { _, _, _, _, _, chain, count, key in
        guard let chain = unsafe chain, let count = unsafe count, let key = unsafe key else { return -1 }
        return unsafe TLSIdentity.present(chain, count, key)
    }

/// Calls GnuTLS with bytes that it only reads.
func withDatum<Answer>(_ bytes: [UInt8], _ body: (UnsafePointer<gnutls_datum_t>) -> Answer) -> Answer {
    unsafe bytes.withUnsafeBufferPointer { buffer in
        var datum = unsafe gnutls_datum_t(
            data: UnsafeMutablePointer(mutating: buffer.baseAddress), size: UInt32(clamping: buffer.count))
        return unsafe body(&datum)
    }
}

/// What GnuTLS says of a status.
func gnutlsText(_ status: Int32) -> String {
    unsafe gnutls_strerror(status).map { unsafe String(cString: $0) } ?? "status \(status)"
}
