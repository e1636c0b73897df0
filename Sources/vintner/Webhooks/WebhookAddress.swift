import ArgumentParser

/// Where a webhook is told: the parts of its URL.
struct WebhookAddress: Equatable, Sendable {
    let isEncrypted: Bool
    /// In lower case; an IPv6 address without its brackets.
    let host: String
    let port: Int
    /// What the request line names: path and query.
    let target: String

    /// What the Host field says.
    var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == (isEncrypted ? 443 : 80) ? name : "\(name):\(port)"
    }

    /// Reads `http://` and `https://` URLs of plain ASCII without a user; nil for anything else.
    init?(_ text: String) {
        guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != 0x5C }) else { return nil }
        let parts = text.split(separator: "://", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let scheme = parts.first?.lowercased(), ["http", "https"].contains(scheme)
        else { return nil }
        isEncrypted = scheme == "https"
        let rest = parts[1].prefix { $0 != "#" }
        guard rest.count == parts[1].count else { return nil }
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        guard let found = Self.hostAndPort(authority) else { return nil }
        (host, port) = (found.host, found.port ?? (isEncrypted ? 443 : 80))
        let tail = rest.dropFirst(authority.count)
        target = tail.hasPrefix("/") ? String(tail) : "/\(tail)"
    }

    /// Reads `NAME`, `NAME:PORT`, `[ADDRESS]` and `[ADDRESS]:PORT`.
    static func hostAndPort(_ text: Substring) -> (host: String, port: Int?)? {
        var (name, rest) = (text.prefix { $0 != ":" }, text.drop { $0 != ":" })
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            name = text[text.index(after: text.startIndex)..<end]
            rest = text[text.index(after: end)...]
            guard name.contains(":"), name.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." }) else {
                return nil
            }
        } else {
            guard !name.isEmpty, name.count <= 253,
                name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber) || "-._".contains($0) })
            else { return nil }
        }
        let host = name.lowercased()
        if rest.isEmpty { return (host, nil) }
        let digits = rest.dropFirst()
        guard rest.hasPrefix(":"), digits.allSatisfy(\.isNumber), let port = Int(digits),
            (1...65_535).contains(port)
        else { return nil }
        return (host, port)
    }
}

/// A host that may be told of jobs: what `--webhook-host` names.
struct WebhookHost: ExpressibleByArgument, Equatable, Sendable {
    let host: String
    /// Nil for the ports of http and https.
    let port: Int?

    init?(argument: String) {
        guard let found = WebhookAddress.hostAndPort(argument[...]) else { return nil }
        (host, port) = (found.host, found.port)
    }

    /// Whether it covers an address.
    func covers(_ address: WebhookAddress) -> Bool {
        host == address.host && (port.map { $0 == address.port } ?? [80, 443].contains(address.port))
    }
}

/// Tells addresses that anybody may be at from those of this machine and its neighbourhood.
enum AddressRange {
    /// Whether an address (4 or 16 bytes) leads out into the public network.
    ///
    /// By the registries of special-purpose addresses (RFC 6890); an IPv6 address that carries an IPv4
    /// one is as that is.
    static func isPublic(_ address: [UInt8]) -> Bool {
        switch address.count {
        case 4: !reserved4.contains { matches(address, $0.prefix, bits: $0.bits) }
        case 16: isPublic6(address)
        default: false
        }
    }

    private static let reserved4: [(prefix: [UInt8], bits: Int)] = [
        ([0], 8), ([10], 8), ([100, 64], 10), ([127], 8), ([169, 254], 16), ([172, 16], 12),
        ([192, 0, 0], 24), ([192, 0, 2], 24), ([192, 88, 99], 24), ([192, 168], 16), ([198, 18], 15),
        ([198, 51, 100], 24), ([203, 0, 113], 24), ([224], 4), ([240], 4),
    ]

    private static func isPublic6(_ address: [UInt8]) -> Bool {
        let zeros = [UInt8](repeating: 0, count: 12)
        // Mapped and compatible addresses, NAT64, and 6to4.
        if matches(address, zeros.dropLast(2) + [255, 255], bits: 96) || matches(address, zeros, bits: 96)
            || matches(address, [0, 0x64, 0xFF, 0x9B] + zeros.prefix(8), bits: 96)
        {
            return isPublic(Array(address[12...]))
        }
        if matches(address, [0x20, 0x02], bits: 16) { return isPublic(Array(address[2..<6])) }
        // Of what is given out at all, not Teredo and other protocols, and not documentation.
        return matches(address, [0x20], bits: 3) && !matches(address, [0x20, 0x01, 0], bits: 23)
            && !matches(address, [0x20, 0x01, 0x0D, 0xB8], bits: 32)
            && !matches(address, [0x3F, 0xFF, 0], bits: 20)
    }

    private static func matches(_ address: [UInt8], _ prefix: some Collection<UInt8>, bits: Int) -> Bool {
        let prefix = Array(prefix) + [UInt8](repeating: 0, count: max(0, (bits + 7) / 8 - prefix.count))
        for index in 0..<(bits + 7) / 8 {
            let mask: UInt8 = bits - 8 * index >= 8 ? 0xFF : ~(0xFF >> UInt8(bits - 8 * index))
            if (address[index] ^ prefix[index]) & mask != 0 { return false }
        }
        return true
    }
}
