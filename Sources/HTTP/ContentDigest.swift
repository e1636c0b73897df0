/// The field `Content-Digest` (RFC 9530): what the body of a request must hash to.
enum ContentDigest {
    /// The SHA-256 that it names; `nil` where it names none.
    ///
    /// - Parameter field: As in `sha-256=:...:`; other algorithms beside it are passed over.
    /// - Returns: 32 bytes.
    /// - Throws: `Problem` 400 `invalid_header` where the digest is malformed.
    static func sha256(in field: String) throws(Problem) -> [UInt8]? {
        for member in field.split(separator: ",") {
            let parts = member.split(separator: "=", maxSplits: 1).map { $0.trimmingSpaces() }
            guard parts.first?.lowercased() == "sha-256" else { continue }
            guard parts.count == 2, let bytes = bytes(parts[1]), bytes.count == 32 else {
                throw Problem(
                    .badRequest, "invalid_header", "Content-Digest must be sha-256=:BASE64:, of 32 bytes.")
            }
            return bytes
        }
        return nil
    }

    /// A byte sequence of structured fields: base64 between colons.
    private static func bytes(_ text: String) -> [UInt8]? {
        guard text.utf8.count > 2, text.hasPrefix(":"), text.hasSuffix(":") else { return nil }
        let digits = Array(text.utf8.dropFirst().dropLast())
        guard digits.count % 4 == 0 else { return nil }
        let content = digits.prefix { $0 != UInt8(ascii: "=") }
        guard digits.count - content.count <= 2, digits[content.count...].allSatisfy({ $0 == 61 }) else {
            return nil
        }
        var bytes: [UInt8] = []
        var (bits, count) = (0, 0)
        for digit in content {
            guard let value = value(of: digit) else { return nil }
            bits = (bits << 6 | value) & 0xFFFFFF
            count += 6
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> count))
            }
        }
        return bytes
    }

    private static func value(of digit: UInt8) -> Int? {
        switch digit {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): Int(digit) - 65
        case UInt8(ascii: "a")...UInt8(ascii: "z"): Int(digit) - 97 + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(digit) - 48 + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}

extension Request {
    /// The SHA-256 that the body must have, by `Content-Digest`; `nil` where the client names none.
    public func contentSHA256() throws(Problem) -> [UInt8]? {
        guard let field = headers["Content-Digest"] else { return nil }
        return try ContentDigest.sha256(in: field)
    }

    /// Bytes of the body as announced; `nil` when it comes in chunks.
    public var contentLength: Int? { headers["Content-Length"].flatMap { Int($0) } }
}
