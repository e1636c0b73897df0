import Kernels
import Tensor
import TestSupport
import Testing

/// What an operand holds before a run.
enum Given {
    case floats([Float])
    case integers([Int32])
    case bytes([UInt8])
    case state(StepState)
    /// NaN everywhere, so that what is not written shows.
    case unwritten
    /// The same bytes as an earlier operand.
    case sharing(Int)
}

/// One run of a prepared kernel in an arena of its own, with guards between the operands.
struct KernelRun {
    let arena: Arena
    private var slots: [Slot] = []
    /// NaN as float32 and as bfloat16: a kernel that reads beyond an operand and multiplies by 0 shows.
    private static let guardWords = [UInt32](repeating: 0xFFA5_FFA5, count: 16)

    /// Binds, runs, and checks that nothing outside the operands was written.
    init(_ kernel: any PreparedKernel, _ given: [Given]) throws {
        var guards: [Slot] = []
        var end = 0
        func take(_ byteCount: Int) -> Slot {
            defer { end += (byteCount + Arena.alignment - 1) / Arena.alignment * Arena.alignment }
            return Slot(offset: end, byteCount: byteCount)
        }
        for (index, operand) in kernel.operands.enumerated() {
            if index < given.count, case .sharing(let other) = given[index] {
                slots.append(slots[other])
                continue
            }
            slots.append(take(operand.byteCount))
            guards.append(take(Arena.alignment))
        }
        arena = try Arena(byteCount: end)
        arena.write([UInt8](repeating: 0xFF, count: end), to: Slot(offset: 0, byteCount: end))
        for slot in guards { arena.write(Self.guardWords, to: slot) }
        for (index, slot) in slots.enumerated() {
            switch index < given.count ? given[index] : .unwritten {
            case .floats(let values): arena.write(values, to: slot)
            case .integers(let values): arena.write(values, to: slot)
            case .bytes(let values): arena.write(values, to: slot)
            case .state(let state): state.store(to: slot, in: arena)
            case .unwritten: arena.write([UInt8](repeating: 0xFF, count: slot.byteCount), to: slot)
            case .sharing: break
            }
            try kernel.bind(index, to: slot, in: arena)
        }
        try kernel.run()
        for slot in guards {
            #expect(arena.read(slot, as: UInt32.self) == Self.guardWords, "\(kernel.implementation) overran")
        }
    }

    func floats(_ operand: Int) -> [Float] { arena.read(slots[operand], as: Float.self) }
    func doubles(_ operand: Int) -> [Double] { arena.read(slots[operand], as: Double.self) }
    func bytes(_ operand: Int) -> [UInt8] { arena.read(slots[operand], as: UInt8.self) }
    func integers(_ operand: Int) -> [Int32] { arena.read(slots[operand], as: Int32.self) }
    func loss(_ operand: Int) -> LossResult { LossResult.load(from: slots[operand], in: arena) }
    func norm(_ operand: Int) -> GradientNorm { GradientNorm.load(from: slots[operand], in: arena) }
}

/// Every element within its own bound.
func expectClose(
    _ found: [Float], _ expected: [Float], within bounds: [Float], _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard found.count == expected.count, bounds.count == expected.count else {
        Issue.record(
            "\(what): \(found.count) elements for \(expected.count)", sourceLocation: sourceLocation)
        return
    }
    // Written so that NaN counts as wrong.
    let wrong = expected.indices.first { !(abs(found[$0] - expected[$0]) <= bounds[$0]) }
    guard let wrong else { return }
    Issue.record(
        "\(what)[\(wrong)]: \(found[wrong]) for \(expected[wrong]), bound \(bounds[wrong])",
        sourceLocation: sourceLocation)
}

/// Every element within one bound.
func expectClose(
    _ found: [Float], _ expected: [Float], within bound: Float, _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    expectClose(
        found, expected, within: [Float](repeating: bound, count: expected.count), what,
        sourceLocation: sourceLocation)
}

func magnitude(_ values: [Float]) -> Float { values.map(abs).max() ?? 0 }

func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }

let epsilon = Float.ulpOfOne
