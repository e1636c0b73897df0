import Files
import Testing

@Suite("SHA-256 agrees with FIPS 180-4") struct SHA256Tests {
    static let vectors: [(text: String, hex: String)] = [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ]

    @Test("of the published vectors", arguments: vectors)
    func agrees(text: String, hex: String) {
        #expect(SHA256.digest(of: Array(text.utf8)).hex == hex)
    }

    @Test("however the bytes are cut, and a copy continues on its own")
    func incremental() {
        let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        for cut in [0, 1, 63, 64, 65, 999, 1000] {
            var hash = SHA256()
            hash.update(Array(bytes[..<cut]))
            var copy = hash
            hash.update(Array(bytes[cut...]))
            copy.update([0])
            #expect(hash.digest() == SHA256.digest(of: bytes))
            #expect(hash.digest() == SHA256.digest(of: bytes), "reading the digest changes nothing")
            #expect(copy.digest() == SHA256.digest(of: bytes[..<cut] + [0]))
        }
    }

    @Test("secrets compare by content and length")
    func comparison() {
        #expect(constantTimeEquals([], []))
        #expect(constantTimeEquals([1, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEquals([1, 2, 3], [1, 2, 4]))
        #expect(!constantTimeEquals([1, 2, 3], [1, 2]))
    }

    @Test("random bytes come in every count and differ", arguments: [0, 1, 32, 256, 257, 1000])
    func random(count: Int) throws {
        let first = try secureRandomBytes(count)
        #expect(first.count == count)
        // Sixteen equal random bytes have a chance of 2^-128.
        if count >= 16 { #expect(try secureRandomBytes(count) != first) }
    }
}
