import Tensor
import Testing

@Suite("Shape and Arena") struct ShapeTests {
    @Test("refuses shapes that cannot exist instead of overflowing")
    func hostileShapes() {
        #expect(throws: TensorError.self) { try Shape([1 << 31, 1 << 31, 1 << 31]) }
        #expect(throws: TensorError.self) { try Shape([Int.max, 2]) }
        #expect(throws: TensorError.self) { try Shape([3, 0]) }
        #expect(throws: TensorError.self) { try Shape([-1]) }
        #expect(throws: TensorError.self) { try Shape(Array(repeating: 1, count: 9)) }
        #expect(throws: TensorError.badShape([0], "has an extent below 1")) { try Shape([0]) }
    }

    @Test("counts its elements and prints as people write it")
    func counts() throws {
        let shape = try Shape([20, 12, 12])
        #expect(shape.elementCount == 2880)
        #expect(shape.description == "20x12x12")
        #expect(try Shape([]).elementCount == 1)
    }

    @Test("an arena is zeroed, aligned, and keeps slots apart")
    func arenaSlots() throws {
        let arena = try Arena(byteCount: 4096)
        let first = Slot(offset: 0, byteCount: 64)
        let second = Slot(offset: 64, byteCount: 128)
        #expect(arena.read(second, as: Float.self) == [Float](repeating: 0, count: 32))
        arena.write([Float](repeating: 1.5, count: 16), to: first)
        #expect(arena.read(second, as: Float.self).allSatisfy { $0 == 0 })
        #expect(arena.read(first, as: Float.self).allSatisfy { $0 == 1.5 })
        #expect(unsafe Int(bitPattern: arena.address(of: second)) % Arena.alignment == 0)
    }
}
