import Tensor
import TestSupport
import Testing

@testable import Kernels

@Suite("Weights as products in bfloat16 read them") struct WeightCopyTests {
    /// From `source` to `target`, and what oneDNN's own reorder makes of the same weights.
    private static func copies(
        _ layer: LinearCase, from source: TensorLayout, to target: TensorLayout, implementation: String
    ) throws {
        let engine = try DNNEngine()
        var values = randomFloats(layer.inputs * layer.outputs, seed: 5)
        // What rounds to an even neighbour, up to infinity, and what is no number.
        for (place, value) in [0x1.01p0, 0x1.03p0, 0x1.FFp127, Float.nan].enumerated()
        where place < values.count { values[place] = Float(value) }
        let weights = try Reorder.convert(values, from: layer.plain(), to: source, on: engine)
        let kernel = try WeightCopy.prepare(from: source, to: target, on: engine)
        #expect(kernel.implementation == implementation)
        let found = try KernelRun(kernel, [.floats(weights)]).bytes(1)
        let reorder = try Reorder.prepare(from: source, to: target, on: engine)
        let expected = try KernelRun(reorder, [.floats(weights)]).bytes(1)
        let (ours, theirs) = (halves(found), halves(expected))
        // Any NaN will do.
        let wrong = ours.indices.filter { ours[$0] != theirs[$0] && !(isNaN(ours[$0]) && isNaN(theirs[$0])) }
        #expect(wrong.isEmpty && ours.count == theirs.count, "\(layer.testDescription)")
    }

    private static func halves(_ bytes: [UInt8]) -> [UInt16] {
        stride(from: 0, to: bytes.count, by: 2).map { UInt16(bytes[$0]) | UInt16(bytes[$0 + 1]) << 8 }
    }

    private static func isNaN(_ half: UInt16) -> Bool { half & 0x7FFF > 0x7F80 }

    @Test("are what oneDNN makes of float32 blocks", arguments: LinearCase.all)
    func blocks(layer: LinearCase) throws {
        for threads in 1...3 {
            ThreadTeam.use(threads)
            try Self.copies(
                layer, from: layer.weights(), to: layer.weights(.bfloat16), implementation: "ck_copy_weights")
        }
    }

    @Test("are what oneDNN makes of a plain matrix, turned or not", arguments: LinearCase.all)
    func plain(layer: LinearCase) throws {
        let turned = LinearCase(
            rows: layer.rows, inputs: layer.outputs, outputs: layer.inputs, block: layer.block)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            for target in [try layer.weights(.bfloat16), try turned.weights(.bfloat16).transposed()] {
                try Self.copies(layer, from: layer.plain(), to: target, implementation: "ck_pack_weights")
            }
        }
    }

    @Test("turned in float32 are what oneDNN makes of the blocks", arguments: LinearCase.all, [16, 32, 64])
    func turned(layer: LinearCase, block: Int) throws {
        let turned = LinearCase(rows: 1, inputs: layer.outputs, outputs: layer.inputs, block: block)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            try Self.copies(
                layer, from: layer.weights(), to: turned.weights().transposed(),
                implementation: "ck_turn_weights")
        }
    }

    @Test("have a float32 layout with the same blocks, if they lie in blocks at all")
    func masters() throws {
        let layer = LinearCase.all[1]
        #expect(WeightCopy.master(of: try layer.weights(.bfloat16)) == (try layer.weights()))
        #expect(WeightCopy.master(of: try layer.weights()) == nil)
        #expect(WeightCopy.master(of: try layer.plain().storing(.bfloat16)) == nil)
        #expect(WeightCopy.master(of: try layer.weights(.bfloat16).transposed()) == nil)
    }
}
