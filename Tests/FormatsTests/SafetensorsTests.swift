import Files
import Foundation
import Testing

@testable import Formats

@Suite("Safetensors are exchanged with the reference implementation") final class SafetensorsTests {
    let folder: String

    init() throws {
        folder = NSTemporaryDirectory() + "vintner-formats-" + UUID().uuidString
        try Folder.make(folder)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// Where the committed fixtures lie.
    static func fixture(_ name: String) -> String {
        let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        return here.appendingPathComponent("Fixtures/\(name).safetensors").path
    }

    /// Writes the tensors that `make_fixtures.py` checks in `ours.safetensors`.
    private func writeOurs(to path: String) throws -> AtomicFile.Receipt {
        let writer = try SafetensorsWriter(
            path,
            tensors: [
                ("mask", .uint8, [3]), ("weight", .float32, [2, 3]), ("step", .int64, [2]),
                ("bias", .float32, [2]),
            ], metadata: ["step": "7", "format": "vintner"])
        #expect(writer.entries.map(\.name) == ["step", "weight", "bias", "mask"], "wider types first")
        try writer.append([7, -7].span as Span<Int64>)
        try writer.append([1, 2, 3, 4, 5, 0.5].span as Span<Float>)
        try writer.append([-1, 1].span as Span<Float>)
        try writer.append([1, 0, 1].span as Span<UInt8>)
        return try writer.commit()
    }

    @Test("texts are added to a file whose tensors stay as they are")
    func addedMetadata() throws {
        let path = "\(folder)/added.safetensors"
        _ = try writeOurs(to: path)
        let before = try SafetensorsReader(path)
        let receipt = try SafetensorsMetadata.add(["step": "8", "note": "more"], to: path)
        let after = try SafetensorsReader(path)
        #expect(after.metadata == ["step": "8", "format": "vintner", "note": "more"])
        #expect(after.entries == before.entries)
        for entry in before.entries { #expect(try before.bytes(entry.name) == after.bytes(entry.name)) }
        #expect(try SHA256.digest(ofFile: path) == receipt.sha256)
        try AtomicFile.write("no tensors", to: path)
        #expect(throws: FormatError.self) { try SafetensorsMetadata.add([:], to: path) }
    }

    @Test("a file of the reference implementation is read, every type and name")
    func reference() throws {
        let file = try SafetensorsReader(Self.fixture("reference"))
        let ramp: [Double] = (-3..<4).map { Double($0) / 4 }
        #expect(try file.doubles("float64") == ramp)
        #expect(try file.floats("float32", shape: [1, 7]) == ramp.map { Float($0) })
        #expect(try file.floats("float16") == ramp.map { Float($0) })
        #expect(try file.floats("bfloat16") == ramp.map { Float($0) })
        #expect(try file.integers("int64") == [.min, .max])
        #expect(try file.bytes("uint8") == [0, 128, 255])
        #expect(try file.floats("scalar", shape: []) == [2.5])
        #expect(try file.floats("empty", shape: [0, 3]).isEmpty)
        #expect(try file.floats("umlaut \"ä\"/1", shape: [2, 1, 1, 2]) == [1, 1, 1, 1])
        #expect(file.metadata == ["note": "a \"quoted\" word\n"])
    }

    @Test("our bytes are those that the reference implementation was shown")
    func sameBytes() throws {
        let receipt = try writeOurs(to: folder + "/a")
        let again = try writeOurs(to: folder + "/b")
        #expect(receipt == again)
        let bytes = try readFile(folder + "/a", limit: 9999)
        #expect(try bytes == readFile(Self.fixture("ours"), limit: 9999))
        #expect(receipt.sha256 == SHA256.digest(of: bytes) && receipt.byteCount == bytes.count)
        let prefix = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        #expect(prefix % 8 == 0, "the data starts aligned")
    }

    @Test("what was written is read back, bit for bit")
    func roundTrip() throws {
        let none: [Float] = []
        let values: [Float] = [.nan, -.infinity, -0.0, .leastNonzeroMagnitude, 1e38]
        let writer = try SafetensorsWriter(
            folder + "/f", tensors: [("x", .float32, [5]), ("none", .float32, [0])])
        try writer.append(values.span)
        try writer.append(none.span)
        _ = try writer.commit()
        let file = try SafetensorsReader(folder + "/f")
        #expect(try file.floats("x").map(\.bitPattern) == values.map(\.bitPattern))
        #expect(file.entries.map(\.elementCount) == [5, 0] && file.metadata.isEmpty)
    }

    @Test("what is missing or of another kind is named")
    func mismatches() throws {
        let path = Self.fixture("reference")
        let file = try SafetensorsReader(path)
        func message(_ body: () throws -> Void) throws -> String {
            try #require(throws: FormatError.self, performing: body).description
        }
        let missing = try message { _ = try file.floats("bias") }
        #expect(missing.hasPrefix("\(path) holds no tensor \"bias\"; it holds "))
        let shape = try message { _ = try file.floats("float32", shape: [7]) }
        #expect(shape == "\(path): expected \"float32\" to be [7], found F32 [1, 7].")
        let type = try message { _ = try file.floats("int64") }
        #expect(type == "\(path): expected \"int64\" to be F32, F16 or BF16, found I64 [1, 2].")
        #expect(try message { _ = try file.integers("float32") }.contains("to be I64, found F32"))
    }

    @Test("what was not announced is refused, and so is a file that lacks something")
    func unannounced() throws {
        let path = folder + "/f"
        let writer = try SafetensorsWriter(path, tensors: [("x", .float16, [2]), ("y", .uint8, [1])])
        func refusal(_ body: () throws -> Void) throws -> String {
            try #require(throws: FormatError.self, performing: body).description
        }
        let floats: [Float] = [1, 2]
        #expect(
            try refusal { try writer.append(floats.span) }
                == "\(path): expected \"x\" to be F16 [2], found 8 bytes of F32.")
        #expect(
            try refusal { _ = try writer.commit() } == "\(path): expected \"x\" to be F16 [2], found nothing."
        )
        let full = try SafetensorsWriter(path, tensors: [("x", .uint8, [1])])
        let byte: [UInt8] = [7]
        try full.append(byte.span)
        #expect(try refusal { try full.append(byte.span) }.contains("its 1 tensors are there"))
        _ = try full.commit()
        #expect(try SafetensorsReader(path).byte("x") == 7)
        #expect(throws: FormatError.self) { try SafetensorsReader(path).byte("y") }
    }

    @Test("an abandoned writer leaves no file, and impossible layouts are refused")
    func refusedLayouts() throws {
        do {
            let writer = try SafetensorsWriter(folder + "/f", tensors: [("x", .float32, [1])])
            try writer.append([1].span as Span<Float>)
        }
        #expect(throws: FormatError.self) {
            try SafetensorsWriter(folder + "/f", tensors: [("x", .float32, [1]), ("x", .float32, [1])])
        }
        #expect(throws: FormatError.self) {
            try SafetensorsWriter(folder + "/f", tensors: [("x", .float32, [1 << 31, 1 << 31, 4])])
        }
        #expect(throws: FormatError.self) {
            try SafetensorsWriter(folder + "/f", tensors: [("__metadata__", .float32, [1])])
        }
        #expect(try Folder.names(in: folder).isEmpty)
    }
}
