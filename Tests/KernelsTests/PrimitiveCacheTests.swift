import Kernels
import Tensor
import Testing

@Suite("The cache of primitives") struct PrimitiveCacheTests {
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
}
