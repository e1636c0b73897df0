import Files
import Foundation
import Jobs

/// Sends messages to webhooks over HTTP, signed as Standard Webhooks has it.
///
/// Only to hosts that the operator named; a name must not lead to this machine or its neighbourhood
/// unless that was allowed, and the address that was looked at is the one that is called.
struct HTTPWebhookSender: WebhookSender {
    let hosts: [WebhookHost]
    /// Whether names may stand for private addresses.
    let allowsPrivate: Bool
    /// Certificates to trust instead of the system's (PEM).
    let authority: [UInt8]?

    /// The other side has so long to answer.
    static let seconds = 10
    /// No longer head of an answer is read, and nothing behind it.
    private static let headByteCountMax = 16_384

    func fault(of url: String) -> (code: String, detail: String)? {
        guard let address = WebhookAddress(url) else {
            return (
                "invalid_value", "expected an http or https URL of plain ASCII, without a user or a fragment"
            )
        }
        guard hosts.contains(where: { $0.covers(address) }) else {
            return (
                "host_not_allowed", "the operator did not allow \(address.authority) (--webhook-host)"
            )
        }
        return nil
    }

    func send(_ delivery: WebhookDelivery, to webhook: Webhook, at now: Timestamp) -> WebhookAnswer {
        if let fault = fault(of: webhook.url) { return .failure(fault.detail) }
        guard let address = WebhookAddress(webhook.url), let body = delivery.body else {
            return .failure("there is nothing to send")
        }
        do throws(WebhookError) {
            let connection = try WebhookConnection(
                address, allowsPrivate: allowsPrivate || Self.isLiteral(address.host), trusting: authority,
                seconds: Self.seconds)
            connection.write(Self.request(delivery, body, address, webhook.secrets(at: now), now))
            return .status(try Self.status(of: connection))
        } catch {
            return .failure(error.description)
        }
    }

    /// Whether an operator who names it can only have meant that very place.
    static func isLiteral(_ host: String) -> Bool {
        host == "localhost" || host.contains(":") || host.allSatisfy { $0.isNumber || $0 == "." }
    }

    /// The whole request.
    static func request(
        _ delivery: WebhookDelivery, _ body: String, _ address: WebhookAddress,
        _ secrets: [[UInt8]], _ now: Timestamp
    ) -> [UInt8] {
        let seconds = now.milliseconds / 1000
        let signatures = secrets.map { signature(of: body, id: delivery.id, at: seconds, by: $0) }
        let head = [
            "POST \(address.target) HTTP/1.1", "Host: \(address.authority)",
            "User-Agent: vintner/\(Version.current)", "Accept: */*", "Content-Type: application/json",
            "Content-Length: \(body.utf8.count)", "webhook-id: \(delivery.id)",
            "webhook-timestamp: \(seconds)",
            "webhook-signature: \(signatures.joined(separator: " "))",
            "Connection: close", "", "",
        ].joined(separator: "\r\n")
        return Array((head + body).utf8)
    }

    /// The signature of one attempt, as Standard Webhooks 1.0 has it.
    static func signature(of body: String, id: DeliveryID, at seconds: Int64, by secret: [UInt8]) -> String {
        let signed = HMAC.sha256(key: secret, message: Array("\(id).\(seconds).\(body)".utf8))
        return "v1,\(Data(signed).base64EncodedString())"
    }

    /// The status of the answer; what comes with it is not read.
    private static func status(of connection: WebhookConnection) throws(WebhookError) -> Int {
        var bytes: [UInt8] = []
        while bytes.count < headByteCountMax {
            let chunk = try connection.read()
            if chunk.isEmpty { break }
            bytes += chunk
            if let status = status(in: bytes) { return status }
        }
        throw WebhookError(description: bytes.isEmpty ? "no answer" : "the answer is no HTTP")
    }

    /// The first status in what was received so far that is not one of an interim answer.
    static func status(in bytes: [UInt8]) -> Int? {
        var rest = bytes[...]
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            let words = String(decoding: rest[..<end], as: UTF8.self).split(separator: " ")
            guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1].prefix(3)),
                (100...999).contains(status)
            else { return nil }
            if status >= 200 { return status }
            // Behind an interim answer's head, which ends with an empty line, comes another.
            guard let gap = rest.firstRange(of: Array("\r\n\r\n".utf8)) else { return nil }
            rest = rest[gap.upperBound...]
        }
        return nil
    }
}
