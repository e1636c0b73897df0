import CGnuTLS

/// The client's end of an encrypted connection over a socket that somebody else owns.
@safe public final class TLSConnection {
    private let session: gnutls_session_t
    private let credentials: gnutls_certificate_credentials_t
    private let patience: Duration
    /// GnuTLS keeps the address of the name and reads it during the handshake.
    private let name: UnsafeMutablePointer<CChar>

    /// Greets a server and checks that it is the one that was meant.
    ///
    /// - Parameters:
    ///   - descriptor: A connected socket, which must stay open; its time limits hold.
    ///   - host: The name or address that the certificate must be for.
    ///   - authority: Certificates to trust (PEM); nil for those of the system.
    ///   - seconds: The time limit of the socket.
    /// - Throws: `TLSError` when the server is not trusted.
    public init(
        descriptor: Int32, host: String, authority: [UInt8]?, seconds: Int
    ) throws(TLSError) {
        patience = .milliseconds(seconds * 900)
        var made: gnutls_certificate_credentials_t?
        guard unsafe gnutls_certificate_allocate_credentials(&made) == 0, let credentials = unsafe made else {
            throw .handshake(reason: "no memory is left")
        }
        var begun: gnutls_session_t?
        guard unsafe cgnutls_init_client(&begun) == 0, let session = unsafe begun else {
            unsafe gnutls_certificate_free_credentials(credentials)
            throw .handshake(reason: "no memory is left")
        }
        let name = host.utf8CString
        let copy = UnsafeMutablePointer<CChar>.allocate(capacity: name.count)
        for (index, character) in name.enumerated() { unsafe copy[index] = character }
        unsafe (self.session, self.credentials, self.name) = (session, credentials, copy)
        try trust(authority)
        try expect(host)
        unsafe cgnutls_set_socket(session, descriptor)
        var status: Int32
        repeat { status = unsafe gnutls_handshake(session) } while isPassing(status)
        guard status == 0 else { throw .handshake(reason: reason(status)) }
    }

    deinit {
        unsafe gnutls_bye(session, GNUTLS_SHUT_WR)
        unsafe gnutls_deinit(session)
        unsafe gnutls_certificate_free_credentials(credentials)
        unsafe name.deallocate()
    }

    /// Sends everything.
    public func write(_ bytes: [UInt8]) throws(TLSError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let sent = unsafe rest.withUnsafeBytes {
                unsafe gnutls_record_send(session, $0.baseAddress, $0.count)
            }
            if sent < 0, cgnutls_is_interrupted(sent) != 0 { continue }
            guard sent > 0 else { throw .broken(reason: gnutlsText(Int32(clamping: sent))) }
            rest = rest.dropFirst(sent)
        }
    }

    /// Receives what is there, at most `count` bytes; nothing where the other side has closed.
    public func read(upTo count: Int) throws(TLSError) -> [UInt8] {
        let start = ContinuousClock.now
        var bytes = [UInt8](repeating: 0, count: count)
        while true {
            let received = unsafe bytes.withUnsafeMutableBytes {
                unsafe gnutls_record_recv(session, $0.baseAddress, $0.count)
            }
            if received >= 0 { return Array(bytes[..<received]) }
            // Whether an answer is whole is for HTTP to say: it knows its length.
            if cgnutls_is_premature_end(received) != 0 { return [] }
            // A ticket for another session came, and no data with it; or the socket's time is over.
            let isEarly = ContinuousClock.now - start < patience
            if cgnutls_is_interrupted(received) != 0 || cgnutls_is_again(received) != 0 && isEarly {
                continue
            }
            throw .broken(
                reason: cgnutls_is_again(received) != 0
                    ? "nothing came for too long" : gnutlsText(Int32(clamping: received)))
        }
    }

    private func trust(_ authority: [UInt8]?) throws(TLSError) {
        let count: Int32
        if let authority {
            count = unsafe withDatum(authority) {
                unsafe gnutls_certificate_set_x509_trust_mem(credentials, $0, GNUTLS_X509_FMT_PEM)
            }
            guard count > 0 else {
                throw .badAuthority(reason: count == 0 ? "there is none" : gnutlsText(count))
            }
        } else {
            count = unsafe gnutls_certificate_set_x509_system_trust(credentials)
            guard count >= 0 else { throw .badAuthority(reason: gnutlsText(count)) }
        }
        var status = unsafe gnutls_priority_set_direct(session, TLSConnection.priorities, nil)
        if status == 0 {
            status = unsafe gnutls_credentials_set(
                session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials))
        }
        guard status == 0 else { throw .handshake(reason: gnutlsText(status)) }
    }

    private func expect(_ host: String) throws(TLSError) {
        // The name to ask for; an address is none, but is checked all the same.
        let isAddress = host.contains(":") || host.allSatisfy { $0.isNumber || $0 == "." }
        if !isAddress {
            let status = unsafe gnutls_server_name_set(session, GNUTLS_NAME_DNS, host, host.utf8.count)
            guard status == 0 else { throw .handshake(reason: gnutlsText(status)) }
        }
        unsafe gnutls_session_set_verify_cert(session, name, 0)
    }

    /// What is spoken: nothing older than TLS 1.2.
    public static let priorities = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

    private func isPassing(_ status: Int32) -> Bool {
        cgnutls_is_interrupted(Int(status)) != 0
            || status < 0 && gnutls_error_is_fatal(status) == 0 && cgnutls_is_again(Int(status)) == 0
    }

    private func reason(_ status: Int32) -> String {
        guard cgnutls_is_unverified(Int(status)) != 0 else { return gnutlsText(status) }
        var text = unsafe gnutls_datum_t()
        let faults = unsafe gnutls_session_get_verify_cert_status(session)
        guard unsafe gnutls_certificate_verification_status_print(faults, GNUTLS_CRT_X509, &text, 0) == 0,
            let start = unsafe text.data
        else { return gnutlsText(status) }
        defer { unsafe cgnutls_free(start) }
        let bytes = unsafe UnsafeBufferPointer(start: start, count: Int(text.size))
        return unsafe String(decoding: bytes, as: UTF8.self).split(separator: " ").joined(separator: " ")
    }
}
