import Foundation
import TLS

extension TLSIdentity {
    /// How long before its end a certificate is worth a warning.
    private static let warningSeconds = 7 * 86_400

    /// Whether clients refuse it by now.
    var hasEnded: Bool { secondsLeft <= 0 }

    /// What a person should know of its end; nil while it is good for a week.
    var note: String? {
        guard secondsLeft < Self.warningSeconds else { return nil }
        return hasEnded
            ? "ended \(-secondsLeft / 86_400) days ago" : "ends within \(secondsLeft / 86_400 + 1) days"
    }

    private var secondsLeft: Int { expiresAt - Int(Date().timeIntervalSince1970) }
}
