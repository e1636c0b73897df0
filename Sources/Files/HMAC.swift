import CNettle

/// Keyed hashes (RFC 2104), computed by nettle.
public enum HMAC {
    /// The HMAC-SHA256 of a message: 32 bytes.
    public static func sha256(key: [UInt8], message: [UInt8]) -> [UInt8] {
        var context = hmac_sha256_ctx()
        unsafe nettle_hmac_sha256_set_key(&context, key.count, key)
        unsafe nettle_hmac_sha256_update(&context, message.count, message)
        var bytes = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_SIZE))
        unsafe nettle_hmac_sha256_digest(&context, bytes.count, &bytes)
        return bytes
    }
}
