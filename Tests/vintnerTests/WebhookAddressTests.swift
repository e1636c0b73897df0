import Files
import Foundation
import HTTP
import JSON
import Jobs
import Logging
import Testing

@testable import vintner

@Suite("Where webhooks may be sent") struct WebhookAddressTests {
    @Test("a URL is taken apart as it is")
    func readsAddresses() throws {
        let plain = try #require(WebhookAddress("https://Hooks.Example/a/b?c=d"))
        #expect(plain.host == "hooks.example" && plain.port == 443 && plain.target == "/a/b?c=d")
        #expect(plain.isEncrypted && plain.authority == "hooks.example")
        let local = try #require(WebhookAddress("http://[::1]:8081"))
        #expect(local.host == "::1" && local.port == 8081 && local.target == "/")
        #expect(!local.isEncrypted && local.authority == "[::1]:8081")
        #expect(WebhookAddress("http://a.example?x")?.target == "/?x")
    }

    @Test(
        "what is no plain address is refused",
        arguments: [
            "", "a.example", "ftp://a.example/", "https://", "https:///x", "https://user@a.example/",
            "https://a.example:0/", "https://a.example:65536/", "https://a.example:/", "https://a.example/#x",
            "https://a.example/\r\nX: y", "https://a.exa mple/", "https://a.example\\@b.example/",
            "https://ä.example/", "https://[::1/", "https://[a]/", "https://[::1]x/", "javascript:alert(1)",
        ])
    func refuses(_ text: String) { #expect(WebhookAddress(text) == nil) }

    @Test("a host is allowed on the ports of the web, or on the one that is named, and nowhere else")
    func covers() throws {
        let sender = HTTPWebhookSender(
            hosts: try ["a.example", "b.example:8443", "[::1]:1"].map {
                try #require(WebhookHost(argument: $0))
            },
            allowsPrivate: false, authority: nil)
        for url in ["http://a.example/", "https://A.example/x", "https://b.example:8443/", "http://[::1]:1/"]
        {
            #expect(sender.fault(of: url) == nil, "\(url)")
        }
        for url in [
            "https://a.example:8443/", "https://b.example/", "https://c.example/", "https://a.example.c/",
            "http://[::1]/", "https://x.a.example/", "http://127.0.0.1/",
        ] {
            #expect(sender.fault(of: url)?.code == "host_not_allowed", "\(url)")
        }
        #expect(WebhookHost(argument: "a b") == nil && WebhookHost(argument: "https://a.example") == nil)
    }

    @Test(
        "addresses of this machine and its neighbourhood are private",
        arguments: [
            ("8.8.8.8", true), ("172.32.0.1", true), ("100.128.0.1", true), ("192.169.0.1", true),
            ("0.0.0.0", false), ("10.1.2.3", false), ("100.64.0.1", false), ("127.0.0.1", false),
            ("127.255.0.1", false), ("169.254.169.254", false), ("172.16.0.1", false),
            ("172.31.255.255", false), ("192.168.1.1", false), ("198.19.0.1", false), ("224.0.0.1", false),
            ("255.255.255.255", false), ("2606:4700::1111", true), ("::", false), ("::1", false),
            ("::ffff:127.0.0.1", false), ("::ffff:8.8.8.8", true), ("::127.0.0.1", false),
            ("64:ff9b::7f00:1", false), ("64:ff9b::808:808", true), ("2002:7f00:1::", false),
            ("2002:808:808::", true), ("fc00::1", false), ("fd12::1", false), ("fe80::1", false),
            ("ff02::1", false), ("2001::1", false), ("2001:db8::1", false), ("4000::1", false),
        ])
    func ranges(_ text: String, _ isPublic: Bool) throws {
        #expect(AddressRange.isPublic(try Self.bytes(text)) == isPublic)
    }

    private static func bytes(_ text: String) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: text.contains(":") ? 16 : 4)
        let family = text.contains(":") ? AF_INET6 : AF_INET
        let status = unsafe inet_pton(family, text, &bytes)
        try #require(status == 1)
        return bytes
    }

    @Test("a request has the body's length, and a signature that each secret makes")
    func signs() throws {
        let delivery = WebhookDelivery(
            id: IdentifierGenerator().next(at: Timestamp(milliseconds: 1)),
            to: IdentifierGenerator().next(at: Timestamp(milliseconds: 1)), type: "job.failed", jobID: nil,
            data: ["name": "é"], at: Timestamp(milliseconds: 1))
        let body = try #require(delivery.body)
        let address = try #require(WebhookAddress("https://a.example/x"))
        let request = HTTPWebhookSender.request(
            delivery, body, address, [[1, 2, 3], [4]], Timestamp(milliseconds: 1_700_000_000_999))
        let text = String(decoding: request, as: UTF8.self)
        let parts = text.components(separatedBy: "\r\n\r\n")
        #expect(parts.count == 2 && parts[1] == body)
        let lines = parts[0].components(separatedBy: "\r\n")
        #expect(lines[0] == "POST /x HTTP/1.1" && lines.contains("Host: a.example"))
        #expect(
            lines.contains("Content-Length: \(body.utf8.count)")
                && lines.contains("webhook-id: \(delivery.id)"))
        let keys: [[UInt8]] = [[1, 2, 3], [4]]
        let signatures = keys.map { key in
            let hash = HMAC.sha256(key: key, message: Array("\(delivery.id).1700000000.\(body)".utf8))
            return "v1,\(Data(hash).base64EncodedString())"
        }
        #expect(lines.contains("webhook-signature: \(signatures.joined(separator: " "))"))
    }

    @Test("an answer's status is read from its first line, interim answers left out")
    func readsStatuses() {
        func status(_ text: String) -> Int? { HTTPWebhookSender.status(in: Array(text.utf8)) }
        #expect(status("HTTP/1.1 204 No Content\r\n") == 204 && status("HTTP/1.0 500\r\n") == 500)
        #expect(status("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n") == 200)
        for text in [
            "", "HTTP/1.1 20", "HTTP/1.1 100 Continue\r\n", "SSH-2.0\r\n", "HTTP/1.1 abc\r\n", "\r\n",
        ] {
            #expect(status(text) == nil, "\(text)")
        }
    }
}

@Suite("Looking names up") struct NameLookupTests {
    private func deadline(milliseconds: UInt64) -> UInt64 {
        SystemTime().monotonicNanoseconds() + milliseconds * 1_000_000
    }

    @Test("leads to the addresses of a name")
    func finds() throws {
        let found = try NameLookup.shared.addresses(
            of: "127.0.0.1", port: 80, until: deadline(milliseconds: 10_000))
        #expect(found.map(\.bytes) == [[127, 0, 0, 1]])
        let sixth = try NameLookup.shared.addresses(
            of: "::1", port: 80, until: deadline(milliseconds: 10_000))
        #expect(sixth.map(\.bytes) == [[UInt8](repeating: 0, count: 15) + [1]])
    }

    @Test("that takes too long is given up, and only so many go on alone")
    func givesUp() {
        let gate = DispatchSemaphore(value: 0)
        let lookup = NameLookup { _, _ in
            gate.wait()
            return []
        }
        for _ in 0..<NameLookup.runningMax {
            let error = #expect(throws: WebhookError.self) {
                try lookup.addresses(of: "slow.example", port: 80, until: deadline(milliseconds: 1))
            }
            #expect(error?.description == "no address in time")
        }
        let error = #expect(throws: WebhookError.self) {
            try lookup.addresses(of: "slow.example", port: 80, until: deadline(milliseconds: 1))
        }
        #expect(error?.description == "too many names are being looked up")
        for _ in 0..<NameLookup.runningMax { gate.signal() }
    }
}

@Suite("The level of the log") struct LogSwitchTests {
    @Test("a signal goes to debug and back, also where the process began there")
    func toggles() {
        let level = LogSwitch(.notice)
        level.toggle()
        #expect(level.level == .debug)
        level.toggle()
        #expect(level.level == .notice)
        let loud = LogSwitch(.debug)
        loud.toggle()
        #expect(loud.level == .info)
        loud.set(.error)
        #expect(loud.level == .error)
    }

    @Test("every copy of a logger follows it")
    func isShared() {
        let level = LogSwitch(.info)
        let log = JSONLog.logger(level)
        #expect(log.logLevel == .info)
        level.set(.error)
        #expect(log.logLevel == .error)
    }
}
