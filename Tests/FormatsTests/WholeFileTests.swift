import Files
import Foundation
import JSON
import TestSupport
import Testing

@testable import Formats

@Suite("A file with all its zeros") final class WholeFileTests {
    let folder: String

    init() throws {
        folder = NSTemporaryDirectory() + "vintner-whole-" + UUID().uuidString
        try Folder.make(folder)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private typealias Tensor = (name: String, element: StoredElement, shape: [Int], bytes: [UInt8])

    /// A tensor's elements, one in `gap` of which is not zero, and what stands for it.
    private static func sparse(
        _ name: String, _ element: StoredElement, _ shape: [Int], gap: UInt64, _ state: inout UInt64
    ) -> (whole: Tensor, parts: [Tensor]) {
        func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state >> 33
        }
        let width = element.byteCount
        let rows = shape.count > 1 ? shape[0] : 1
        let columns = shape.reduce(1, *) / rows
        let rowBytes = (columns + 7) / 8
        var bits = [UInt8](repeating: 0, count: rows * rowBytes)
        var whole = [UInt8](repeating: 0, count: rows * columns * width)
        var values: [UInt8] = []
        for place in 0..<rows * columns where next() % gap == 0 {
            let value = (0..<width).map { _ in UInt8(truncatingIfNeeded: next()) }
            whole.replaceSubrange(place * width..<place * width + width, with: value)
            values += value
            bits[place / columns * rowBytes + place % columns / 8] |= 1 << UInt8(place % columns % 8)
        }
        let extents = shape.flatMap { extent in (0..<8).map { UInt8(truncatingIfNeeded: extent >> (8 * $0)) }
        }
        return (
            (name, element, shape, whole),
            [
                (name + ".shape", .int64, [shape.count], extents),
                (name + ".compressed", element, [values.count / width], values),
                (name + ".bitmask", .uint8, [rows, rowBytes], bits),
            ]
        )
    }

    /// The bytes of a file with these tensors.
    private static func file(_ tensors: [Tensor]) throws -> [UInt8] {
        let header = try SafetensorsHeader(
            tensors.map { ($0.name, $0.element, $0.shape) }, metadata: ["format": "pt"], path: "")
        let byName = Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0.bytes) })
        return header.encoded() + header.entries.flatMap { byName[$0.name] ?? [] }
    }

    private func store(_ bytes: [UInt8]) throws -> String {
        let path = "\(folder)/\(UUID().uuidString)"
        try Data(bytes).write(to: URL(filePath: path))
        return path
    }

    private func open(_ bytes: [UInt8]) throws -> (WholeFile, RandomReader) {
        let path = try store(bytes)
        let layout = try #require(try WholeLayout(SafetensorsReader(path)))
        let reader = try RandomReader(path)
        return (try WholeFile(layout, from: reader), reader)
    }

    @Test("has every number as it is stored, whatever its type", arguments: StoredElement.allCases)
    func everyType(_ element: StoredElement) throws {
        var state = UInt64(element.byteCount)
        let first = Self.sparse("a.weight", element, [37, 61], gap: 4, &state)
        let second = Self.sparse("b.weight", element, [5, 4, 3, 3], gap: 2, &state)
        let beside: Tensor = ("a.bias", .float32, [3], (0..<12).map { UInt8($0) })
        let (whole, reader) = try open(Self.file(first.parts + [beside] + second.parts))
        let expected = try Self.file([first.whole, beside, second.whole])
        #expect(whole.byteCount == expected.count)
        #expect(try whole.read(0..<expected.count, from: reader) == expected)
        // In pieces that cut through elements, rows and tensors.
        for step in [1, 7, 1000] {
            var joined: [UInt8] = []
            for start in stride(from: 0, to: expected.count, by: step) {
                joined += try whole.read(start..<start + step, from: reader)
            }
            #expect(joined == expected, "in pieces of \(step)")
        }
        #expect(try whole.read(expected.count..<expected.count + 9, from: reader).isEmpty)
    }

    @Test("is found anywhere in tensors of many blocks", arguments: [[3, 300_000], [70_000, 1], [500_001]])
    func manyBlocks(shape: [Int]) throws {
        var state = UInt64(shape[0])
        let tensor = Self.sparse("w", .int8, shape, gap: 3, &state)
        let (whole, reader) = try open(Self.file(tensor.parts))
        let expected = try Self.file([tensor.whole])
        for number in 0..<60 {
            let start = number * expected.count / 60
            let end = min(expected.count, start + 1 + number * 40)
            #expect(try whole.read(start..<end, from: reader)[...] == expected[start..<end], "at \(start)")
        }
    }

    @Test("is not made of one that is whole; what it keeps is known and small")
    func layout() throws {
        let dense: Tensor = ("a", .float32, [2], [UInt8](repeating: 1, count: 8))
        #expect(try WholeLayout(SafetensorsReader(store(Self.file([dense])))) == nil)
        var state: UInt64 = 1
        let tensor = Self.sparse("w", .int8, [4096, 512], gap: 100, &state)
        let path = try store(Self.file(tensor.parts))
        let layout = try #require(try WholeLayout(SafetensorsReader(path)))
        #expect(layout.byteCount == (try Self.file([tensor.whole]).count))
        #expect(layout.blockCount == 16 && layout.memoryByteCount < 1000)
    }

    @Test("is refused with a reason where its parts do not go together", arguments: SparseTensorTests.faults)
    func refuses(fault: SparseTensorTests.Fault) throws {
        let extents = fault.shape.flatMap { extent in
            (0..<8).map { UInt8(truncatingIfNeeded: extent >> (8 * $0)) }
        }
        let path = try store(
            Self.file([
                ("w.shape", .int64, [fault.shape.count], extents),
                ("w.compressed", .float16, [fault.values], [UInt8](repeating: 1, count: 2 * fault.values)),
                ("w.bitmask", .uint8, [fault.bits.count], fault.bits),
            ]))
        let error = #expect(throws: FormatError.self) {
            guard let layout = try WholeLayout(SafetensorsReader(path)) else { return }
            _ = try WholeFile(layout, from: RandomReader(path))
        }
        #expect(error?.description.contains(fault.reason) == true, "\(String(describing: error))")
    }

    @Test("ends with a reason where the stored file has changed meanwhile")
    func changes() throws {
        var state: UInt64 = 3
        let tensor = Self.sparse("w", .float16, [40, 50], gap: 3, &state)
        let bytes = try Self.file(tensor.parts)
        let path = try store(bytes)
        let layout = try #require(try WholeLayout(SafetensorsReader(path)))
        let whole = try WholeFile(layout, from: RandomReader(path))
        // All bits are set, as nobody counted them.
        let filled = try RandomReader(store(bytes.dropLast(280) + [UInt8](repeating: 255, count: 280)))
        #expect(throws: FormatError.self) { try whole.read(0..<whole.byteCount, from: filled) }
        let shorter = try RandomReader(store(bytes.dropLast()))
        let error = #expect(throws: FormatError.self) { try whole.read(0..<10, from: shorter) }
        #expect(error?.description.hasSuffix("it changed while it was read.") == true)
    }
}
