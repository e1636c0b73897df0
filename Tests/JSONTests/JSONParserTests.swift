import JSON
import Testing

@Suite("Parsing JSON") struct JSONParserTests {
    static let accepted: [(String, JSONValue)] = [
        ("null", nil), (" true ", true), ("false", false), ("0", 0), ("-7", -7), ("-0", .number(-0.0)),
        ("9223372036854775807", .integer(.max)), ("-9223372036854775808", .integer(.min)),
        ("9223372036854775808", .number(9_223_372_036_854_775_808)), ("3.0", 3.0), ("1e3", 1000.0),
        ("1E-2", 0.01), ("5e-324", .number(.leastNonzeroMagnitude)), ("1e-999", 0.0), ("\"\"", ""),
        (#""a\"\\\/\b\f\n\r\tz""#, "a\"\\/\u{8}\u{C}\n\r\tz"), (#""\u00e9\ud83d\ude00""#, "é😀"),
        (#""\u0000""#, "\0"), ("[]", []), ("[1,[2],{}]", [1, [2], [:]]),
        (#"{"b":1,"a":{"c":null}}"#, ["b": 1, "a": ["c": nil]]),
    ]

    @Test("reads what RFC 8259 allows", arguments: accepted)
    func reads(text: String, value: JSONValue) throws {
        #expect(try JSONValue(parsing: text) == value)
    }

    static let refused: [(String, String)] = [
        ("", "the text ends too early at line 1, column 1 (byte 0)"),
        ("tru", "the text ends too early at line 1, column 4 (byte 3)"),
        ("nul!", "expected null, found \"!\" at line 1, column 4 (byte 3)"),
        ("[1,]", "expected a value, found \"]\" at line 1, column 4 (byte 3)"),
        ("[1 2]", "expected \",\" or \"]\", found \"2\" at line 1, column 4 (byte 3)"),
        ("{a:1}", "expected a key in quotes, found \"a\" at line 1, column 2 (byte 1)"),
        ("{\n\"a\":1,\n  \"a\":2}", "the key \"a\" appears twice at line 3, column 3 (byte 11)"),
        (#"{"a" 1}"#, "expected \":\", found \"1\" at line 1, column 6 (byte 5)"),
        ("1 2", "expected the end of the text, found \"2\" at line 1, column 3 (byte 2)"),
        ("1e999", "a number is too large for a double at line 1, column 1 (byte 0)"),
        ("-", "a number is malformed at line 1, column 1 (byte 0)"),
        ("01", "a number is malformed at line 1, column 1 (byte 0)"),
        ("1.", "a number is malformed at line 1, column 1 (byte 0)"),
        ("1e+", "a number is malformed at line 1, column 1 (byte 0)"),
        (".5", "expected a value, found \".\" at line 1, column 1 (byte 0)"),
        ("NaN", "expected a value, found \"N\" at line 1, column 1 (byte 0)"),
        (#""\ud800""#, "a string has half of a surrogate pair at line 1, column 2 (byte 1)"),
        (#""\udc00\ud800""#, "a string has half of a surrogate pair at line 1, column 2 (byte 1)"),
        (#""\ud800\u0041""#, "a string has half of a surrogate pair at line 1, column 2 (byte 1)"),
        (#""\x""#, "a string has an unknown escape at line 1, column 2 (byte 1)"),
        (#""\u12g4""#, "a string has an unknown escape at line 1, column 2 (byte 1)"),
        ("\"a\nb\"", "a string has an unescaped control character at line 1, column 3 (byte 2)"),
        ("\"abc", "the text ends too early at line 1, column 5 (byte 4)"),
        ("\u{FEFF}1", "expected a value, found byte 239 at line 1, column 1 (byte 0)"),
    ]

    @Test("refuses the rest and says where", arguments: refused)
    func refuses(text: String, message: String) {
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
        #expect(error?.description == message)
    }

    @Test(
        "refuses invalid UTF-8",
        arguments: [[0xFF], [0xC0, 0xAF], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80]])
    func refusesInvalidUTF8(bytes: [UInt8]) {
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22] + bytes + [0x22]) }
        #expect(error?.reason == .invalidUTF8)
    }

    @Test("takes 32 levels and no more, however deep the text is")
    func limitsDepth() throws {
        let nested = { (depth: Int) in
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try JSONValue(parsing: nested(32))
        for depth in [33, 100_000] {
            let error = #expect(throws: JSONError.self) { try JSONValue(parsing: nested(depth)) }
            #expect(error?.reason == .tooDeep(limit: 32))
        }
    }

    @Test("refuses a text beyond the limit before reading it")
    func limitsLength() {
        let limits = JSONLimits(depthMax: 4, byteCountMax: 8)
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: "[1,2,3,4]", limits: limits) }
        #expect(error?.reason == .tooLong(byteCount: 9, limit: 8))
    }

    @Test("survives random bytes", arguments: [1, 2, 3])
    func survivesGarbage(seed: UInt64) {
        var random = Seeded(seed)
        let alphabet = Array(#"{}[]",:\0123456789eE+-.truefalsn u"#.utf8) + [0, 0xFF, 0xC3]
        for _ in 0..<2000 {
            let bytes = (0..<random.below(60)).map { _ in alphabet[random.below(alphabet.count)] }
            if let value = try? JSONValue(parsing: bytes) {
                #expect((try? JSONValue(parsing: value.encodedBytes())) == value)
            }
        }
        let megabyte = (0..<1 << 20).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        #expect(throws: JSONError.self) { try JSONValue(parsing: megabyte) }
    }

    @Test("refuses a duplicate among 50,000 keys in linear time")
    func findsDuplicateAmongMany() {
        let members = (0..<50_000).map { "\"k\($0)\":0" } + ["\"k7\":1"]
        let error = #expect(throws: JSONError.self) {
            try JSONValue(parsing: "{" + members.joined(separator: ",") + "}")
        }
        #expect(error?.reason == .duplicateKey("k7"))
    }
}

/// SplitMix64: seeded randomness for tests.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }

    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}
