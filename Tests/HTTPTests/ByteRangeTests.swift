import Testing

@testable import HTTP

@Suite("Ranges of bytes") struct ByteRangeTests {
    @Test(
        "are those of RFC 9110",
        arguments: [
            ("bytes=0-0", .part(0..<1)), ("bytes=2-5", .part(2..<6)), ("bytes=2-", .part(2..<10)),
            ("bytes=-3", .part(7..<10)), ("bytes=-30", .part(0..<10)), ("bytes=5-99", .part(5..<10)),
            ("Bytes = 5 - 6", .part(5..<7)), ("bytes=9-9", .part(9..<10)),
            ("bytes=0-99999999999999999999999", .part(0..<10)),
            ("bytes=10-", .unsatisfiable), ("bytes=10-11", .unsatisfiable), ("bytes=-0", .unsatisfiable),
            ("bytes=99999999999999999999999-", .unsatisfiable),
            ("bytes=5-2", .whole), ("bytes=0-1,3-4", .whole), ("bytes=", .whole), ("bytes=-", .whole),
            ("bytes=a-b", .whole), ("bytes=+1-2", .whole), ("bytes=--1", .whole), ("lines=0-1", .whole),
            ("0-1", .whole), ("", .whole),
        ] as [(String, ByteRange)])
    func reads(header: String, expected: ByteRange) {
        #expect(ByteRange(header, of: 10) == expected)
    }

    @Test("of nothing cannot be had", arguments: ["bytes=0-", "bytes=-1", "bytes=0-0"])
    func empty(header: String) {
        #expect(ByteRange(header, of: 0) == .unsatisfiable)
    }

    @Test("are for GET, and with If-Range for the same version alone")
    func conditions() {
        func range(_ method: Method, _ headers: Headers) -> ByteRange {
            Request(method, path: ["a"], headers: headers).byteRange(of: 10, etag: "\"v1\"")
        }
        #expect(range(.get, ["Range": "bytes=1-2"]) == .part(1..<3))
        #expect(range(.head, ["Range": "bytes=1-2"]) == .whole)
        #expect(range(.get, [:]) == .whole)
        #expect(range(.get, ["Range": "bytes=1-2", "If-Range": "\"v1\""]) == .part(1..<3))
        for other in ["\"v0\"", "W/\"v1\"", "Sat, 21 Nov 2026 10:00:00 GMT"] {
            #expect(range(.get, ["Range": "bytes=1-2", "If-Range": other]) == .whole)
        }
    }
}
