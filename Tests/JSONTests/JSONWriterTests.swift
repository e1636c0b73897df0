import JSON
import Testing

@Suite("Writing JSON") struct JSONWriterTests {
    @Test("reads back what it wrote", arguments: 0..<200)
    func roundTrips(seed: UInt64) throws {
        var random = Seeded(seed)
        let value = Self.randomValue(&random, depth: 0)
        #expect(try JSONValue(parsing: value.encodedBytes()) == value)
        #expect(try JSONValue(parsing: value.encodedBytes(pretty: true)) == value)
    }

    static func randomValue(_ random: inout Seeded, depth: Int) -> JSONValue {
        switch random.below(depth < 4 ? 8 : 6) {
        case 0: return nil
        case 1: return .bool(random.below(2) == 0)
        case 2: return .integer(Int64(bitPattern: random.next()))
        case 3:
            let double = Double(bitPattern: random.next())
            return double.isFinite ? .number(double) : 0.1
        case 4, 5:
            let scalars = (0..<random.below(12)).compactMap { _ in
                UnicodeScalar(UInt32(random.below(0x11_0000)))
            }
            return .string(String(String.UnicodeScalarView(scalars)))
        case 6: return .array((0..<random.below(5)).map { _ in randomValue(&random, depth: depth + 1) })
        default:
            return .object(
                JSONObject((0..<random.below(30)).map { ("k\($0)", randomValue(&random, depth: depth + 1)) }))
        }
    }

    @Test("escapes what must be and writes no number that is none")
    func escapes() {
        #expect(JSONValue.string("\"\\\n\t\r\u{1}\u{1F}é/").encoded() == #""\"\\\n\t\r\u0001\u001fé/""#)
        #expect(
            JSONValue.array([.number(.nan), .number(.infinity), 0.1, 3.0]).encoded() == "[null,null,0.1,3.0]")
    }

    @Test("keeps members in order and indents on request")
    func indents() {
        let value: JSONValue = ["b": [1, []], "a": [:]]
        #expect(value.encoded() == #"{"b":[1,[]],"a":{}}"#)
        #expect(value.encoded(pretty: true) == "{\n  \"b\": [\n    1,\n    []\n  ],\n  \"a\": {}\n}")
    }

    @Test("streams in chunks that join to the whole")
    func streams() throws {
        var chunks: [[UInt8]] = []
        var writer = JSONWriter(chunkByteCount: 64) { chunks.append($0) }
        writer.beginArray()
        for index in 0..<1000 { writer.integer(Int64(index)) }
        writer.endArray()
        #expect(writer.finish().isEmpty)
        #expect(chunks.count > 40)
        #expect(try JSONValue(parsing: chunks.flatMap(\.self)) == .array((0..<1000).map { .integer($0) }))
    }
}

@Suite("A JSON object") struct JSONObjectTests {
    @Test("finds, replaces and removes members, small and large", arguments: [3, 17, 200])
    func edits(count: Int) {
        var object = JSONObject((0..<count).map { ("k\($0)", .integer(Int64($0))) })
        object["k1"] = "new"
        object["k0"] = nil
        object["k0"] = nil
        #expect(object["k1"] == "new" && object["k0"] == nil && object["k2"] == 2)
        #expect(object.keys == (1..<count).map { "k\($0)" })
        #expect(!object.insert("k2", 9) && object.insert("z", 9))
        #expect(object["z"] == 9 && object.count == count)
    }

    @Test("is equal whatever the order")
    func comparesWithoutOrder() {
        #expect((["a": 1, "b": 2] as JSONValue) == ["b": 2, "a": 1])
        #expect((["a": 1, "b": 2] as JSONValue) != ["b": 2, "a": 2])
        #expect((["a": 1] as JSONValue) != ["a": 1, "b": nil])
    }

    @Test("reads numbers exactly or not at all")
    func readsNumbers() {
        #expect(JSONValue.number(3).intValue == 3 && JSONValue.number(3.5).intValue == nil)
        #expect(JSONValue.number(1e300).intValue == nil && JSONValue.integer(3).doubleValue == 3)
        #expect((["a": [10, 20]] as JSONValue)["a"]?[1] == 20 && (["a": [10]] as JSONValue)["a"]?[1] == nil)
    }
}
