/// Header fields that every answer carries.
enum SecurityHeaders {
    private static let fields = Headers(
        dictionaryLiteral: (
            "Content-Security-Policy",
            "default-src 'self'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'; "
                + "base-uri 'none'; form-action 'self'"
        ),
        ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"), ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"), ("Cache-Control", "no-store"))

    /// Completes an answer; what a handler set stays.
    static func apply(to response: inout Response, requestID: String, over transport: Transport) {
        if transport == .encrypted {
            response.headers.addIfMissing("Strict-Transport-Security", "max-age=31536000")
        }
        response.headers.addIfMissing("X-Request-Id", requestID)
        response.headers.addMissing(fields)
    }
}
