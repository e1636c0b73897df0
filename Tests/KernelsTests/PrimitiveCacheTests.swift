import Kernels
import Synchronization
import Tensor
import Testing

@Suite("The cache of primitives", .serialized) struct PrimitiveCacheTests {
    /// Products of zeros with what is added to them behind: the attributes alone decide the result.
    private static func wrongResults(of thread: Int) throws -> [Float] {
        let engine = try DNNEngine()
        var wrong: [Float] = []
        for round in 0..<500 {
            let shift = Float(1 + (round + thread) % 3)
            let product = try InnerProduct.forward(
                InnerProductShape(batch: 16, inputs: 32, outputs: 48, hasBias: true),
                fusing: [.relu, .shifted(shift)], training: false, on: engine)
            let zeros = product.operands.map { Given.floats([Float](repeating: 0, count: $0.byteCount / 4)) }
            let found = try KernelRun(product, Array(zeros.prefix(3))).floats(3)
            wrong += found.filter { $0 != shift }
        }
        return wrong
    }

    @Test("gives nobody what another thread's primitives pushed out while it was found")
    func evictions() async throws {
        try PrimitiveCache.limit(to: 1)
        defer { #expect(throws: Never.self) { try PrimitiveCache.limit() } }
        try await withThrowingTaskGroup(of: [Float].self) { group in
            for thread in 0..<2 { group.addTask { try Self.wrongResults(of: thread) } }
            for try await wrong in group { #expect(wrong.isEmpty) }
        }
    }

    private final class Flag: Sendable {
        let isOver = Atomic(false)
    }

    private static func convolution(_ channels: Int) -> ConvolutionShape {
        var shape = ConvolutionShape(
            batch: 3, inChannels: 5, inHeight: 1, inWidth: 7, outChannels: channels, kernelHeight: 1,
            kernelWidth: 2)
        shape.dilationWidth = 2
        return shape
    }

    /// What a convolution of two taps over an odd number of channels makes of the same bytes, each time
    /// compiled anew; its taps' weights lie in pairs of channels.
    private static func results(_ rounds: Int) throws -> Set<[UInt8]> {
        let engine = try DNNEngine()
        var found: Set<[UInt8]> = []
        for _ in 0..<rounds {
            let kernel = try Convolution.forward(convolution(6), element: .bfloat16, on: engine)
            let given = kernel.operands.map { operand in
                Given.bytes((0..<operand.byteCount).map { $0.isMultiple(of: 2) ? UInt8($0 / 2 % 97) : 0x3F })
            }
            found.insert(try KernelRun(kernel, Array(given.prefix(3))).bytes(3))
            // They push it out of a cache of four, in which the other thread's is asked for too often to go.
            for channels in 7...10 {
                _ = try Convolution.forward(convolution(channels), element: .bfloat16, on: engine)
            }
        }
        return found
    }

    @Test("is found alike while another thread finds convolutions of another type")
    func neighbours() async throws {
        try PrimitiveCache.limit(to: 4)
        defer { #expect(throws: Never.self) { try PrimitiveCache.limit() } }
        try await withThrowingTaskGroup(of: Set<[UInt8]>.self) { group in
            let flag = Flag()
            group.addTask {
                defer { flag.isOver.store(true, ordering: .relaxed) }
                return try Self.results(300)
            }
            group.addTask {
                let engine = try DNNEngine()
                while !flag.isOver.load(ordering: .relaxed) {
                    _ = try Convolution.backwardData(Self.convolution(16), on: engine)
                }
                return []
            }
            for try await found in group { #expect(found.count <= 1) }
        }
    }
}
