import Files
import Foundation
import Testing

@testable import Formats

@Suite("Hostile safetensors are refused with a reason") final class HostileSafetensorsTests {
    let folder: String

    init() throws {
        folder = NSTemporaryDirectory() + "vintner-hostile-" + UUID().uuidString
        try Folder.make(folder)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// A file with this header, its true length in front and `dataByteCount` bytes behind.
    static func file(_ header: String, dataByteCount: Int) -> [UInt8] {
        let json = Array(header.utf8)
        let length = (0..<8).map { UInt8(truncatingIfNeeded: json.count >> (8 * $0)) }
        return length + json + [UInt8](repeating: 1, count: dataByteCount)
    }

    private func refusal(_ bytes: [UInt8]) throws -> String {
        try Data(bytes).write(to: URL(fileURLWithPath: folder + "/f"))
        return try #require(throws: FormatError.self) { try SafetensorsReader(folder + "/f") }.description
    }

    static let headers: [(header: String, dataByteCount: Int, reason: String)] = [
        ("[]", 0, "the header does not start with '{'"),
        (" {}", 0, "the header does not start with '{'"),
        ("", 0, "the header does not start with '{'"),
        ("{", 0, "the header is not JSON"),
        ("{}x", 0, "the header is not JSON"),
        (#"{"a":1,"a":2}"#, 0, "the header is not JSON"),
        (#"{"a":1}"#, 0, "\"a\" needs exactly dtype, shape and two data_offsets"),
        (tensor(extra: #","more":1"#), 8, "needs exactly"),
        (tensor(shape: "[2.0]"), 8, "needs exactly"),
        (tensor(shape: #"["2"]"#), 8, "needs exactly"),
        (tensor(offsets: "[0]"), 8, "needs exactly"),
        (tensor(offsets: "[0,8,8]"), 8, "needs exactly"),
        (tensor(type: "F33"), 8, "has the type \"F33\"; known are F64, F32"),
        (tensor(shape: "[-2]"), 8, "has an impossible shape"),
        (tensor(shape: "[1,1,1,1,1,1,1,1,2]"), 8, "has an impossible shape of 9 dimensions"),
        (tensor(shape: "[4194305,4194305,211106198978564]"), 4, "has an impossible shape"),
        (tensor(shape: "[2147483648,2147483648,2147483648]"), 4, "has an impossible shape"),
        (tensor(shape: "[65536,65536]"), 8, "needs 17179869184 bytes for F32 [65536, 65536]"),
        (tensor(offsets: "[0,12]"), 12, "needs 8 bytes for F32 [2], its offsets are [0, 12]"),
        (tensor(offsets: "[8,0]"), 8, "its offsets are [8, 0]"),
        (tensor(offsets: "[-8,0]"), 8, "its offsets are [-8, 0]"),
        (tensor(offsets: "[4,12]"), 12, "\"a\" starts at 4 where 0 was expected"),
        (tensor(), 7, "its tensors end at byte 8 of 7 bytes of data"),
        (tensor(), 9, "its tensors end at byte 8 of 9 bytes of data"),
        ("{}", 1, "its tensors end at byte 0 of 1 bytes of data"),
        (#"{"__metadata__":[]}"#, 0, "__metadata__ is an empty array, not an object"),
        (#"{"__metadata__":{"a":1}}"#, 0, "\"a\" in __metadata__ is 1, not a string"),
        (
            String(tensor().dropLast()) + ","
                + tensor(name: "b", offsets: "[4,12]").dropFirst(), 12,
            "\"b\" starts at 4 where 8 was expected"
        ),
        (
            String(tensor().dropLast()) + ","
                + tensor(name: "b", offsets: "[12,20]").dropFirst(), 20,
            "\"b\" starts at 12 where 8 was expected"
        ),
    ]

    /// A header of one good tensor with one thing changed.
    static func tensor(
        name: String = "a", type: String = "F32", shape: String = "[2]", offsets: String = "[0,8]",
        extra: String = ""
    ) -> String {
        #"{"\#(name)":{"dtype":"\#(type)","shape":\#(shape),"data_offsets":\#(offsets)\#(extra)}}"#
    }

    @Test("the unchanged tensor would be accepted")
    func control() throws {
        try Data(Self.file(Self.tensor(), dataByteCount: 8)).write(to: URL(fileURLWithPath: folder + "/f"))
        #expect(try SafetensorsReader(folder + "/f").entry("a").shape == [2])
    }

    @Test("headers", arguments: headers)
    func refusesHeader(header: String, dataByteCount: Int, reason: String) throws {
        let message = try refusal(Self.file(header, dataByteCount: dataByteCount))
        #expect(message.contains(reason))
        #expect(message.hasPrefix(folder + "/f is not a valid safetensors file: "))
    }

    @Test(
        "lengths that exceed the limit or the file",
        arguments: [
            (UInt64.max, "claims 18446744073709551615 bytes of at most 1048576"),
            (UInt64(1) << 21, "claims 2097152 bytes of at most 1048576"), (3, "claims 3 of 10 bytes"),
        ])
    func refusesLength(length: UInt64, reason: String) throws {
        let prefix = (0..<8).map { UInt8(truncatingIfNeeded: length >> UInt64(8 * $0)) }
        #expect(try refusal(prefix + Array("{}".utf8)).contains(reason))
        #expect(try refusal([1, 2, 3]).contains("it has 3 bytes, fewer than the 8 of a length"))
        #expect(try refusal([]).contains("it has 0 bytes"))
    }

    @Test("a good file with any one byte of its header changed is read or refused, never trusted blindly")
    func flippedBytes() throws {
        let good = Self.file(Self.tensor(), dataByteCount: 8)
        var refused = 0
        for index in 0..<good.count - 8 {
            var bytes = good
            bytes[index] ^= 0x15
            try Data(bytes).write(to: URL(fileURLWithPath: folder + "/f"))
            do throws(FormatError) {
                let file = try SafetensorsReader(folder + "/f")
                for entry in file.entries {
                    let count = try file.bytes(entry.name).count
                    #expect(count == entry.range.count)
                }
            } catch { refused += 1 }
        }
        #expect(refused > good.count / 2)
    }

    @Test("sizes are what wide arithmetic makes of them, or refused where that is too much")
    func sizes() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<200_000 {
            // Extents of all magnitudes; shapes that nearly overflow are as frequent as small ones.
            let shape = (0..<Int.random(in: 0...9, using: &random)).map { _ in
                Int(bitPattern: UInt(random.next() >> UInt64.random(in: 0...63, using: &random)))
            }
            let element = StoredElement.allCases.randomElement(using: &random) ?? .float32
            var exact: UInt128? = shape.count <= TensorEntry.rankMax ? UInt128(element.byteCount) : nil
            for extent in shape {
                guard let product = exact, (0...1 << 31).contains(extent) else {
                    exact = nil
                    break
                }
                let next = product * UInt128(extent)
                exact = next <= UInt128(Int.max) ? next : nil
            }
            let found = TensorEntry.byteCount(element, shape)
            if found != exact.map({ Int($0) }) { Issue.record("\(element) \(shape): \(found ?? -1)") }
        }
    }
}
