/// One file that is compiled into the binary: a page of the dashboard or a migration.
///
/// Holds a name and a place in the table, never the content, so listing assets costs next to nothing.
public struct Asset: Sendable, Equatable {
    /// Where the file lies: `public/js/main.js`, `migrations/0001_initial.sql`.
    public let name: String
    let index: Int

    /// The content, copied out of the binary by each call.
    public var bytes: [UInt8] { EmbeddedFile.bytes(at: index) }

    /// The content's size in bytes.
    public var byteCount: Int { EmbeddedFile.byteCount(at: index) }

    /// The content as text; bytes that are not UTF-8 become U+FFFD.
    public var text: String { String(decoding: bytes, as: UTF8.self) }

    /// The media type to serve the file with, derived from its extension.
    public var contentType: String {
        switch name.split(separator: ".").last {
        case "html": "text/html; charset=utf-8"
        case "css": "text/css; charset=utf-8"
        case "js": "text/javascript; charset=utf-8"
        case "svg": "image/svg+xml"
        case "json": "application/json"
        case "sql", "txt": "text/plain; charset=utf-8"
        default: "application/octet-stream"
        }
    }

    /// A strong validator, quoted as the `ETag` header wants it: size and FNV-1a digest of the content.
    ///
    /// Not cryptographic, and need not be: it only tells two builds' files apart.
    public var etag: String {
        var digest: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { digest = (digest ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return "\"\(String(byteCount, radix: 16))-\(String(digest, radix: 16))\""
    }
}
