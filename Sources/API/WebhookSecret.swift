import Foundation
import JSON

/// Secrets of webhooks as Standard Webhooks writes them: `whsec_` and base64.
enum WebhookSecret {
    private static let prefix = "whsec_"

    static func text(of bytes: [UInt8]) -> String { prefix + Data(bytes).base64EncodedString() }

    /// Reads a secret; nil, and a violation, for what is none.
    static func bytes(of text: String, _ log: ViolationLog) -> [UInt8]? {
        if text.hasPrefix(prefix), let bytes = Data(base64Encoded: String(text.dropFirst(prefix.count))),
            (24...64).contains(bytes.count)
        {
            return Array(bytes)
        }
        log.add("/secret", "invalid_value", "expected \(prefix) and 24 to 64 bytes in base64")
        return nil
    }
}
