import Files
import Formats
import Foundation
import HTTP
import Synchronization
import Testing

@testable import vintner

@Suite("Pruned models are sent with all their zeros") final class WholeModelsTests {
    private let folder = "\(NSTemporaryDirectory())vintner-wholes-\(UUID().uuidString)"

    init() throws { try Folder.make(folder) }

    deinit { try? Folder.removeTree(folder) }

    /// A file of one tensor of 32 rows, every ninth element of which is `value`.
    private func store(_ name: String, _ value: Float, columns: Int = 100) throws -> (path: String, [Float]) {
        let path = "\(folder)/\(name)"
        let values = (0..<32 * columns).map { $0 % 9 == 0 ? value : 0 }
        let tensor = try #require(SparseTensor("w", shape: [32, columns], values: values))
        let writer = try SafetensorsWriter(
            path, tensors: tensor.integerTensors + [tensor.compressedTensor, tensor.bitmaskTensor])
        try tensor.appendIntegers(to: writer)
        try tensor.appendValues(to: writer)
        try tensor.appendBits(to: writer)
        _ = try writer.commit()
        return (path, values)
    }

    private func floats(_ source: any ByteSource) throws -> [Float] {
        let path = "\(folder)/read"
        try Data(source.read(0..<source.byteCount)).write(to: URL(filePath: path))
        return try SafetensorsReader(path).floats("w")
    }

    @Test("everybody gets the same bytes; a whole file needs none of this")
    func sends() throws {
        let wholes = WholeModels()
        let (path, values) = try store("a", 1.5)
        for _ in 0..<2 {
            let source = try #require(try wholes.source(of: "a", at: path, isSent: true))
            #expect(try floats(source) == values)
        }
        let writer = try SafetensorsWriter("\(folder)/dense", tensors: [("w", .float32, [1])])
        try writer.append(([1] as [Float]).span)
        _ = try writer.commit()
        for _ in 0..<2 {
            #expect(try wholes.source(of: "dense", at: "\(folder)/dense", isSent: true) == nil)
        }
    }

    @Test("for HEAD only the header is read, and a missing file is one for both")
    func asksForSize() throws {
        let wholes = WholeModels()
        let (path, _) = try store("a", 1)
        // What the last row has is damaged, which only who reads it can notice.
        var bytes = try readFile(path, limit: 1 << 20)
        bytes[bytes.count - 1] |= 0x80
        try Data(bytes).write(to: URL(filePath: path))
        let head = try #require(try wholes.source(of: "a", at: path, isSent: false))
        #expect(head.byteCount > 32 * 100 * 4)
        #expect(throws: FormatError.self) { try wholes.source(of: "a", at: path, isSent: true) }
        try Folder.removeFile(path)
        for isSent in [true, false] {
            #expect(throws: (any Error).self) { try wholes.source(of: "a", at: path, isSent: isSent) }
        }
    }

    @Test("what is known takes no more than it may: who is served stays, others go or have to wait")
    func isBounded() throws {
        let (first, values) = try store("a", 1)
        let (second, _) = try store("b", 2)
        let layout = try #require(try WholeLayout(SafetensorsReader(first)))
        let wholes = WholeModels(byteCountMax: layout.memoryByteCount)
        var source = try wholes.source(of: "a", at: first, isSent: true)
        let busy = #expect(throws: Problem.self) { try wholes.source(of: "b", at: second, isSent: true) }
        #expect(busy?.status.code == 503 && busy?.code == "downloads_busy")
        #expect(busy?.headers["Retry-After"] == "5")
        #expect(try floats(try #require(source)) == values)
        // Many of the same model share what is known of it.
        let again = try #require(try wholes.source(of: "a", at: first, isSent: true))
        source = nil
        #expect(throws: Problem.self) { try wholes.source(of: "b", at: second, isSent: false) }
        #expect(try floats(again) == values)
    }

    @Test("who is served no longer makes room")
    func makesRoom() throws {
        let (first, _) = try store("a", 1)
        let (second, others) = try store("b", 2)
        let layout = try #require(try WholeLayout(SafetensorsReader(first)))
        let wholes = WholeModels(byteCountMax: layout.memoryByteCount)
        for _ in 0..<3 {
            #expect(try wholes.source(of: "a", at: first, isSent: true) != nil)
            #expect(try floats(try #require(try wholes.source(of: "b", at: second, isSent: true))) == others)
        }
    }

    @Test("threads that ask for the same models at once all get them")
    func concurrent() throws {
        let files = try (0..<3).map { try store("f\($0)", Float($0 + 1), columns: 1000) }
        let wholes = WholeModels()
        let found = Mutex<[[String]]>([[], [], []])
        DispatchQueue.concurrentPerform(iterations: WholeModels.waitingMax) { index in
            let (path, _) = files[index % 3]
            let source = try? wholes.source(of: "f\(index % 3)", at: path, isSent: true)
            guard let bytes = try? source?.read(0..<1 << 20) else { return }
            found.withLock { $0[index % 3].append(SHA256.digest(of: bytes).hex) }
        }
        let sums = found.withLock { $0 }
        #expect(sums.map(\.count) == [3, 3, 2])
        #expect(sums.allSatisfy { Set($0).count == 1 } && Set(sums.joined()).count == 3)
    }
}
