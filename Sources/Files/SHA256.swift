import CNettle

/// An incremental SHA-256 (FIPS 180-4), computed by nettle.
///
/// A value: a copy continues on its own from the bytes hashed so far.
@safe public struct SHA256 {
    private var context = sha256_ctx()

    /// Starts with no bytes.
    public init() { unsafe nettle_sha256_init(&context) }

    /// Adds `bytes` at the end of what was hashed so far.
    public mutating func update(_ bytes: RawSpan) {
        unsafe bytes.withUnsafeBytes { buffer in
            guard let start = buffer.baseAddress else { return }
            unsafe nettle_sha256_update(
                &context, buffer.count, start.assumingMemoryBound(to: UInt8.self))
        }
    }

    /// Adds `bytes` at the end of what was hashed so far.
    public mutating func update(_ bytes: [UInt8]) {
        unsafe update(bytes.span.bytes)
    }

    /// The hash of everything added so far; more may be added afterwards.
    public func digest() -> Digest {
        var copy = context
        var bytes = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_SIZE))
        unsafe nettle_sha256_digest(&copy, bytes.count, &bytes)
        return Digest(bytes: bytes)
    }

    /// The hash of `bytes`.
    public static func digest(of bytes: [UInt8]) -> Digest {
        var hash = SHA256()
        hash.update(bytes)
        return hash.digest()
    }

    /// The hash of the file at `path`, read in chunks.
    public static func digest(ofFile path: String) throws(FileError) -> Digest {
        let reader = try FileReader(path)
        var hash = SHA256()
        while true {
            let chunk = try reader.read(upTo: 1 << 18)
            if chunk.isEmpty { return hash.digest() }
            hash.update(chunk)
        }
    }

    /// Thirty-two bytes that name a content.
    public struct Digest: Sendable, Hashable, CustomStringConvertible {
        /// The 32 bytes.
        public let bytes: [UInt8]

        /// Sixty-four lower-case hexadecimal digits.
        public var hex: String { Self.hex(bytes) }

        /// The same as `hex`.
        public var description: String { hex }

        /// Two lower-case hexadecimal digits for each byte.
        public static func hex(_ bytes: [UInt8]) -> String {
            let digits = [UInt8]("0123456789abcdef".utf8)
            var text: [UInt8] = []
            text.reserveCapacity(2 * bytes.count)
            for byte in bytes {
                text.append(digits[Int(byte >> 4)])
                text.append(digits[Int(byte & 15)])
            }
            return String(decoding: text, as: UTF8.self)
        }
    }
}

/// Whether two secrets are equal, in a time that depends on their lengths alone.
public func constantTimeEquals(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    return unsafe nettle_memeql_sec(left, right, left.count) != 0
}
