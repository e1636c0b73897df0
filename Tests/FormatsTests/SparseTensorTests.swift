import Files
import Foundation
import Testing

@testable import Formats

@Suite("A tensor without its zeros") final class SparseTensorTests {
    let folder: String

    init() throws {
        folder = NSTemporaryDirectory() + "vintner-sparse-" + UUID().uuidString
        try Folder.make(folder)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// Every fourth element, on the average, by a fixed sequence.
    private static func values(_ count: Int) -> [Float] {
        var state = UInt64(count) &* 0x9E37_79B9_7F4A_7C15 | 1
        return (0..<count).map { _ in
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state % 4 == 0 ? Float(Int64(bitPattern: state) >> 40) / 1024 : 0
        }
    }

    private func write(_ tensor: SparseTensor, beside dense: [Float], to name: String) throws -> String {
        let path = "\(folder)/\(name)"
        let writer = try SafetensorsWriter(
            path,
            tensors: tensor.integerTensors + [("first", .float32, [dense.count]), tensor.compressedTensor]
                + [tensor.bitmaskTensor, ("bytes", .uint8, [3])], metadata: ["format": "pt"])
        try tensor.appendIntegers(to: writer)
        try writer.append(dense.span)
        try tensor.appendValues(to: writer)
        try tensor.appendBits(to: writer)
        try writer.append([1, 2, 3].span as Span<UInt8>)
        _ = try writer.commit()
        return path
    }

    /// The bytes of the file with all its zeros.
    private func makeWhole(_ path: String) throws -> [UInt8] {
        let layout = try #require(try WholeLayout(SafetensorsReader(path)))
        let reader = try RandomReader(path)
        return try WholeFile(layout, from: reader).read(0..<layout.byteCount, from: reader)
    }

    @Test(
        "comes back bit for bit, and makes the file that it was spared",
        arguments: [[300], [16, 8], [37, 61], [50, 20, 5, 5], [9, 1, 64], [1, 200], [3, 257]])
    func roundTrip(shape: [Int]) throws {
        var values = Self.values(shape.reduce(1, *))
        values[0] = -0.0
        values[values.count - 1] = .nan
        for index in 0..<min(8, values.count / shape[0]) { values[index + 1] = 0 }
        let tensor = try #require(SparseTensor("w.weight", shape: shape, values: values))
        let path = try write(tensor, beside: [1, 2], to: "a")
        let reader = try SafetensorsReader(path)
        let found = try reader.floats("w.weight", shape: shape)
        #expect(found.map(\.bitPattern) == values.map(\.bitPattern))
        #expect(try reader.floats("first") == [1, 2])
        #expect(throws: FormatError.self) { try reader.floats("w.weight", shape: shape + [1]) }
        #expect(throws: FormatError.self) { try reader.floats("other.weight") }

        let writer = try SafetensorsWriter(
            folder + "/whole",
            tensors: [("first", .float32, [2]), ("w.weight", .float32, shape), ("bytes", .uint8, [3])],
            metadata: ["format": "pt"])
        try writer.append([1, 2].span as Span<Float>)
        try writer.append(values.span)
        try writer.append([1, 2, 3].span as Span<UInt8>)
        let whole = try writer.commit()
        #expect(try makeWhole(path) == readFile(folder + "/whole", limit: 1 << 20))
        let size = Folder.status(of: path)?.byteCount ?? .max
        #expect(values.count < 1000 || Double(size) < 0.5 * Double(whole.byteCount))
    }

    @Test("is not made where a tenth would not be saved")
    func isWorthwhile() {
        #expect(SparseTensor("a", shape: [10, 10], values: Self.values(100)) != nil)
        #expect(SparseTensor("a", shape: [10, 10], values: [Float](repeating: 1, count: 100)) == nil)
        #expect(SparseTensor("a", shape: [100, 1], values: Self.values(100)) == nil)
        #expect(SparseTensor("a", shape: [0, 10], values: []) == nil)
        #expect(SparseTensor("a", shape: [2, 2], values: Self.values(5)) == nil)
        var values = [Float](repeating: 0, count: 1000)
        for index in 0..<870 { values[index] = 1 }
        #expect(SparseTensor("a", shape: [1, 1000], values: values) == nil)
        for index in 0..<20 { values[index] = 0 }
        #expect(SparseTensor("a", shape: [1, 1000], values: values) != nil)
    }

    /// The parts of a tensor that do not go together, and what the refusal says.
    struct Fault: Sendable {
        let shape: [Int64]
        let bits: [UInt8]
        let values: Int
        let reason: String
    }

    /// What is wrong with the parts of a 2x9 tensor.
    static let faults: [Fault] = [
        Fault(shape: [2, 9], bits: [1, 0, 1, 1], values: 2, reason: "has 3 bits for 2 elements"),
        Fault(shape: [2, 9], bits: [1, 2, 1, 0], values: 3, reason: "has bits behind the last column"),
        Fault(
            shape: [2, 17], bits: [1, 0, 1, 0], values: 2,
            reason: "needs 6 bytes of bits, its bitmask is U8 [4]"),
        Fault(shape: [1 << 40, 9], bits: [1, 0, 1, 0], values: 2, reason: "has an impossible shape"),
        Fault(shape: [-2, 9], bits: [1, 0, 1, 0], values: 2, reason: "has an impossible shape"),
        Fault(
            shape: [1 << 30, 1 << 30, 1 << 30], bits: [1, 0, 1, 0], values: 2,
            reason: "has an impossible shape"),
        Fault(
            shape: [1, 1, 1, 1, 1, 1, 1, 2, 9], bits: [1, 0, 1, 0], values: 2,
            reason: "has an impossible shape of 9 dimensions"),
        Fault(
            shape: [1 << 20, 1 << 20], bits: [1, 0, 1, 0], values: 2,
            reason: "needs 137438953472 bytes of bits"),
    ]

    @Test("is refused with a reason where its parts do not go together", arguments: faults)
    func refuses(fault: Fault) throws {
        let path = folder + "/bad"
        let writer = try SafetensorsWriter(
            path,
            tensors: [
                ("w.shape", .int64, [fault.shape.count]), ("w.compressed", .float32, [fault.values]),
                ("w.bitmask", .uint8, [fault.bits.count]),
            ])
        try writer.append(fault.shape.span)
        try writer.append([Float](repeating: 1, count: fault.values).span)
        try writer.append(fault.bits.span)
        _ = try writer.commit()
        let reader = try SafetensorsReader(path)
        let error = #expect(throws: FormatError.self) { try reader.floats("w") }
        let text = error?.description ?? ""
        #expect(text.contains(fault.reason), "\(text)")
    }

    @Test(
        "codes come back, and make the file that they were spared",
        arguments: [[16, 40], [500], [20, 8, 3, 3]])
    func codes(shape: [Int]) throws {
        let codes = Self.values(shape.reduce(1, *)).map { $0 == 0 ? 0 : Int8(max(-127, min(127, $0))) }
        let tensor = try #require(SparseTensor("w.weight", shape: shape, codes: codes))
        let path = "\(folder)/codes"
        let writer = try SafetensorsWriter(
            path,
            tensors: tensor.integerTensors + [("first", .float32, [1])]
                + [tensor.compressedTensor, tensor.bitmaskTensor])
        try tensor.appendIntegers(to: writer)
        try writer.append([1].span as Span<Float>)
        try tensor.appendValues(to: writer)
        try tensor.appendBits(to: writer)
        let receipt = try writer.commit()
        let reader = try SafetensorsReader(path)
        #expect(try reader.codes("w.weight", shape: shape) == codes)
        #expect(throws: FormatError.self) { try reader.codes("w.weight", shape: shape + [1]) }
        // Floats are asked for where there are codes, and the other way round.
        #expect(throws: FormatError.self) { try reader.floats("w.weight") }
        #expect(throws: FormatError.self) { try reader.codes("first", shape: [1]) }

        try Data(makeWhole(path)).write(to: URL(filePath: "\(folder)/whole"))
        let expanded = try SafetensorsReader("\(folder)/whole")
        #expect(try expanded.entry("w.weight").element == .int8 && WholeLayout(expanded) == nil)
        #expect(try expanded.codes("w.weight", shape: shape) == codes)
        #expect(receipt.byteCount < (try makeWhole(path).count))
        #expect(SparseTensor("w", shape: [8], codes: [1, 2, 3, 0, 0, 0, 0, 0]) == nil, "saves nothing")
    }
}
