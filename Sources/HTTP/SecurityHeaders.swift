/// Header fields that every answer carries.
enum SecurityHeaders {
    /// Completes an answer; what a handler set stays.
    static func apply(to response: inout Response, requestID: String, over transport: Transport) {
        if transport == .encrypted {
            response.headers.addIfMissing("Strict-Transport-Security", "max-age=31536000")
        }
        response.headers.addIfMissing("X-Request-Id", requestID)
        response.headers.addIfMissing(
            "Content-Security-Policy",
            "default-src 'self'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'; "
                + "base-uri 'none'; form-action 'self'")
        response.headers.addIfMissing("X-Content-Type-Options", "nosniff")
        response.headers.addIfMissing("X-Frame-Options", "DENY")
        response.headers.addIfMissing("Referrer-Policy", "no-referrer")
        response.headers.addIfMissing("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.addIfMissing("Cross-Origin-Opener-Policy", "same-origin")
        response.headers.addIfMissing("Cache-Control", "no-store")
    }
}
