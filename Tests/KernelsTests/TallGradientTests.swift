import Tensor
import TestSupport
import Testing

@testable import Kernels

@Suite("A linear layer's weight gradient over many rows") struct TallGradientTests {
    /// Every width of a block, chunks of rows that are not whole, inputs in place and gathered.
    static let layers = [
        LinearCase(rows: 512, inputs: 16, outputs: 16, block: 16),
        LinearCase(rows: 700, inputs: 48, outputs: 32, block: 32),
        LinearCase(rows: 513, inputs: 32, outputs: 128, block: 64),
        LinearCase(rows: 640, inputs: 16, outputs: 256, block: 64),
        LinearCase(rows: 577, inputs: 80, outputs: 160, block: 32),
    ]

    private static func run(_ layer: LinearCase, _ hasBias: Bool = true) throws -> KernelRun {
        var shape = layer.shape
        shape.hasBias = hasBias
        let kernel = try #require(
            try TallGradient.gradients(shape, .float32, weights: layer.weights()))
        let operands = [layer.rows * layer.inputs, layer.rows * layer.outputs].enumerated().map {
            index, count in
            Given.floats(randomFloats(count, seed: UInt64(index + 1)))
        }
        return try KernelRun(kernel, operands)
    }

    @Test("is that of a float64 loop", arguments: layers)
    func oracle(layer: LinearCase) throws {
        let engine = try DNNEngine()
        guard try TallGradient.gradients(layer.shape, .float32, weights: layer.weights()) != nil else {
            return
        }
        let input = randomFloats(layer.rows * layer.inputs, seed: 1)
        let gradient = randomFloats(layer.rows * layer.outputs, seed: 2)
        let reference = LinearReference(layer, input, gradient)
        for threads in 1...3 {
            ThreadTeam.use(threads)
            let found = try Self.run(layer)
            let plain = try Reorder.convert(
                found.floats(2), from: layer.weights(), to: layer.plain(), on: engine)
            reference.expect(plain, found.floats(3))
            #expect(try Self.run(layer).bytes(2) == found.bytes(2))
            #expect(try Self.run(layer, false).bytes(2) == found.bytes(2))
        }
    }

    @Test("is left to others for few rows, many weights, odd widths, other layouts and bfloat16")
    func others() throws {
        func isTaken(
            _ layer: LinearCase, _ element: ElementType = .float32, _ weights: TensorLayout? = nil
        ) throws -> Bool {
            try TallGradient.gradients(layer.shape, element, weights: weights ?? layer.weights()) != nil
        }
        let layer = Self.layers[2]
        #expect(try !isTaken(LinearCase(rows: 511, inputs: 32, outputs: 128, block: 64)))
        #expect(try !isTaken(LinearCase(rows: 600, inputs: 1024, outputs: 256, block: 64)))
        #expect(try !isTaken(LinearCase(rows: 600, inputs: 33, outputs: 64, block: 64)))
        #expect(try !isTaken(LinearCase(rows: 600, inputs: 32, outputs: 65, block: 64)))
        #expect(try !isTaken(layer, .float32, layer.plain()))
        #expect(try !isTaken(layer, .bfloat16))
    }
}
