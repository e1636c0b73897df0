import Graph
import Kernels
import Tensor
import TestSupport
import Testing

@testable import Plan

/// Models of random form, and what must hold for each of them.
@Suite("Plans of random models") struct LifetimeTests {
    static let seeds: Range<UInt64> = 0..<60

    private static func subject(_ seed: UInt64, dropout: Double = 0) throws -> Subject {
        try Subject(RandomModel(seed: seed, dropout: dropout).text, batch: 3, seed: seed)
    }

    @Test("compute the gradients of the double-precision model", arguments: seeds)
    func gradients(seed: UInt64) throws {
        let probe = try Self.subject(seed)
        let kind = LossKind.crossEntropy(labelSmoothing: 0)
        let run = try GradientRun(probe, kind)
        let expected = probe.loss(kind, probe.reference)
        #expect(abs(run.loss - expected) < 1e-5 * max(1, expected))
        let values = probe.reference.values(probe.input, batch: probe.batch)
        for (id, gradient) in run.gradients {
            GradientTests.checkDirection(gradient, of: id, probe, kind, values)
        }
    }

    /// How a plan is made.
    struct Way: Sendable, CustomTestStringConvertible {
        var precision = ElementType.float32
        /// Whether bfloat16 is widened, as on a machine without kernels for it.
        var widening: Bool?
        /// Parts of the forward pass, all but the last computed again.
        var segments = 1
        /// Parts of the batch.
        var parts = [3]
        var clipNorm: Double?

        var testDescription: String {
            "\(precision)\(widening == true ? " widened" : ""), \(segments) segments, parts of \(parts)"
        }
    }

    static let ways = [
        Way(), Way(precision: .bfloat16), Way(precision: .bfloat16, widening: true, segments: 3),
        Way(segments: 2), Way(precision: .bfloat16, segments: 4, clipNorm: 1), Way(parts: [2, 1]),
        Way(precision: .bfloat16, segments: 3, parts: [2, 1], clipNorm: 1),
    ]

    @Test("read only what they wrote and nobody has written over", arguments: seeds, ways)
    func owners(seed: UInt64, way: Way) throws {
        let probe = try Self.subject(seed, dropout: 0.3)
        var lowering = LoweringOptions()
        (lowering.precision, lowering.segments) = (way.precision, way.segments)
        var optimizer = OptimizerOptions.sgd(momentum: 0.9)
        (optimizer.accumulates, optimizer.clipNorm) = (way.parts.count > 1, way.clipNorm)
        let program = try Program(
            probe.graph,
            .init(
                loss: .crossEntropy(labelSmoothing: 0), optimizer: optimizer, trainingBatches: way.parts,
                evaluationBatches: [2], lowering: lowering), on: DNNEngine(widening: way.widening))
        let plans = program.stepPlans(way.parts) + [program.evaluationPlan(batch: 2)].compactMap(\.self)
        // A step's parts, the update by what they have gathered, and the evaluation.
        #expect(plans.count == (way.parts.count > 1 ? way.parts.count + 2 : 2))
        for plan in plans {
            var replay = PlanReplay(plan, storeByteCount: program.store.byteCount)
            try replay.check()
        }
    }
}

/// A plan's steps replayed over its slots, without computing: who wrote each line of the arena last.
///
/// Independent of the lifetimes that the planner was told.
struct PlanReplay {
    let plan: ExecutionPlan
    let storeByteCount: Int
    private var owners: [Int?]

    init(_ plan: ExecutionPlan, storeByteCount: Int) {
        self.plan = plan
        self.storeByteCount = storeByteCount
        owners = Array(repeating: nil, count: plan.end / Arena.alignment + 1)
    }

    /// Expects that every read finds its own buffer's bytes, and that nothing lies outside of its slot.
    mutating func check() throws {
        // A second run finds what was prepared for the first.
        let steps = plan.steps.enumerated().map { (index: $0, step: $1) }
        let preparation = plan.preparation.map { (index: 0, step: $0) }
        for (index, step) in preparation + steps + steps {
            let uses = Array(zip(step.operands, step.kernel.operands))
            for (id, operand) in uses where try isPlaced(id, operand, step) && operand.access != .write {
                let buffer = plan.buffers[id.index]
                // A scratchpad, or an output that several calls write in parts, is empty before the first.
                if operand.access == .readWrite, buffer.lifetime?.lowerBound == index { continue }
                let isOwn = try lines(of: id, operand).allSatisfy { owners[$0] == id.index }
                #expect(isOwn, "\(step.label) reads \(buffer.label), which is gone or was never written")
            }
            for (id, operand) in uses where try isPlaced(id, operand, step) && operand.access != .read {
                for line in try lines(of: id, operand) { owners[line] = id.index }
            }
        }
    }

    /// Whether an operand lies where the planner put it; expects that what lies elsewhere fits there.
    private func isPlaced(_ id: BufferID, _ operand: Operand, _ step: PlanStep) throws -> Bool {
        let buffer = plan.buffers[id.index]
        switch buffer.home {
        case .persistent(let slot):
            #expect(slot.end <= storeByteCount && operand.byteCount <= slot.byteCount, "\(step.label)")
            return false
        case .external, .constant: return false
        case .transient:
            guard operand.byteCount > 0 else { return false }
            let slot = try #require(buffer.slot, "\(buffer.label) has no place")
            #expect(slot.offset >= storeByteCount && slot.end <= plan.end, "\(buffer.label) lies outside")
            #expect(operand.byteCount <= slot.byteCount, "\(step.label) reaches beyond \(buffer.label)")
            return true
        }
    }

    private func lines(of id: BufferID, _ operand: Operand) throws -> ClosedRange<Int> {
        let slot = try #require(plan.buffers[id.index].slot)
        return (slot.offset / Arena.alignment)...((slot.offset + operand.byteCount - 1) / Arena.alignment)
    }
}
