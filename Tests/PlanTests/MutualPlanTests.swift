import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Two plans that teach each other") struct MutualPlanTests {
    /// Models whose inputs and outputs are of the same shapes.
    static let pairs = [
        (
            ModelCase(
                "of samples", "[6]",
                """
                {"type": "linear", "out_features": 9}, {"type": "tanh"}, {"type": "linear", "out_features": 7}
                """, batch: 6),
            ModelCase("", "[6]", #"{"type": "linear", "out_features": 7}"#, batch: 6)
        ),
        (
            ModelCase("of tokens", "[4, 5]", #"{"type": "linear", "out_features": 6}"#, batch: 6),
            ModelCase(
                "", "[4, 5]",
                """
                {"type": "linear", "out_features": 3}, {"type": "gelu"}, {"type": "linear", "out_features": 6}
                """, batch: 6)
        ),
        (
            ModelCase(
                "of an image", "[3, 4, 5]",
                """
                {"type": "conv2d", "out_channels": 4, "kernel_size": 2}, {"type": "relu"},
                {"type": "flatten"}, {"type": "linear", "out_features": 5}
                """, batch: 6),
            ModelCase(
                "", "[3, 4, 5]",
                """
                {"type": "conv2d", "out_channels": 4, "kernel_size": 3}, {"type": "batch_norm"},
                {"type": "silu"}, {"type": "flatten"}, {"type": "linear", "out_features": 5}
                """, batch: 6)
        ),
    ]

    private struct Student {
        let probe: Subject
        let plan: ExecutionPlan
        let batch: (arena: Arena, input: Slot, target: Slot)

        init(_ probe: Subject, _ loss: LossKind, on engine: DNNEngine) throws {
            self.probe = probe
            let store: ParameterStore
            let arena: Arena
            (plan, store, arena) = try Program.gradientPlan(
                probe.graph, batch: probe.batch, loss: loss, on: engine)
            for (id, values) in zip(probe.graph.parameterIDs, probe.reference.parameters) {
                try store.write(values.map { Float($0) }, to: id, in: arena, on: engine)
            }
            batch = try probe.delivered(loss)
            try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        }

        /// The outputs that the reference makes.
        var outputs: [Double] { probe.reference.forward(probe.input, batch: probe.batch) }

        /// Central differences of the student's own parameters, by what the other says as it is.
        func expectDifferences(
            _ loss: ReferenceDistillation, by other: [Double], on engine: DNNEngine
        ) throws {
            let width = probe.graph[probe.graph.output].channels
            func value(_ model: ReferenceModel) -> Double {
                loss.value(
                    model.forward(probe.input, batch: probe.batch), other, probe.labels, width: width)
            }
            for id in probe.graph.parameterIDs where probe.graph[id].role.isLearned {
                let gradient = try #require(try plan.gradient(of: id, on: engine))
                for place in stride(from: 0, to: gradient.count, by: max(1, gradient.count / 6)) {
                    let ends = [1e-6, -1e-6].map { h in
                        var moved = probe.reference
                        moved.parameters[id.index][place] += h
                        return value(moved)
                    }
                    let difference = (ends[0] - ends[1]) / 2e-6
                    #expect(
                        abs(Double(gradient[place]) - difference) <= GradientTests.tolerance(gradient),
                        "\(probe.graph[id].name)[\(place)]: \(gradient[place]) against \(difference)")
                }
            }
        }
    }

    /// The bound is that of a plan with a teacher: the other's outputs, in float32 too, err by 1e-6 at most,
    /// and so do the gradients.
    @Test(
        "have the gradients of central differences, the other's outputs held as they are",
        arguments: pairs.indices, DistillationPlanTests.softs)
    func differences(index: Int, soft: DistillationLoss.Soft) throws {
        let (settings, engine) = (DistillationPlanTests.settings(soft), try DNNEngine())
        let loss = LossKind.distillation(settings, oneHot: true)
        let pair = Self.pairs[index]
        var first = try Subject(pair.0.model, batch: 6, seed: 1)
        first.labels[1] = ReferenceLoss.ignored
        var second = try Subject(pair.1.model, batch: 6, seed: 2, input: first.input)
        second.labels = first.labels
        let (one, other) = (try Student(first, loss, on: engine), try Student(second, loss, on: engine))
        let (said, heard) = (try #require(one.plan.taughtPlace), try #require(other.plan.taughtPlace))
        let copy = try Arena(byteCount: heard.slot.byteCount)
        let place = Place(Slot(offset: 0, byteCount: heard.slot.byteCount), in: copy)
        try one.plan.bind(.teacher, to: place)
        try other.plan.bind(.teacher, to: said)
        var inner = LossResult()
        let outer = try one.plan.run(first.state()) { () throws(PlanError) in
            inner = try other.plan.run(second.state()) {
                copy.copy(heard.slot, of: heard.arena, to: place.slot)
            }
        }
        let reference = DistillationPlanTests.reference(settings)
        let width = first.graph[first.graph.output].channels
        let outputs = (one.outputs, other.outputs)
        for (result, expected) in [
            (outer, reference.value(outputs.0, outputs.1, first.labels, width: width)),
            (inner, reference.value(outputs.1, outputs.0, first.labels, width: width)),
        ] {
            let found = result.lossSum / Double(result.counted)
            #expect(abs(found - expected) < 1e-5 * max(1, expected))
        }
        #expect(inner.agreed == outer.agreed)
        try one.expectDifferences(reference, by: outputs.1, on: engine)
        try other.expectDifferences(reference, by: outputs.0, on: engine)
    }

    @Test("give both the very loss that a teacher with these outputs would give them")
    func teacher() throws {
        let engine = try DNNEngine()
        let loss = LossKind.distillation(DistillationPlanTests.settings(.klDivergence), oneHot: true)
        let first = try Student(Subject(Self.pairs[0].0.model, batch: 6), loss, on: engine)
        let said = try #require(first.plan.taughtPlace)
        var seen: [Float] = []
        let zeros = try Arena(byteCount: said.slot.byteCount)
        try first.plan.bind(.teacher, to: Place(said.slot.moved(to: 0), in: zeros))
        let halted = try first.plan.run(first.probe.state()) {
            seen = said.arena.read(said.slot, as: Float.self)
        }
        #expect(try first.plan.run(first.probe.state()).lossSum == halted.lossSum)
        let expected = first.outputs
        #expect(seen.count == expected.count)
        #expect(zip(seen, expected).allSatisfy { abs(Double($0) - $1) < 1e-5 })
    }
}

extension Slot {
    fileprivate func moved(to offset: Int) -> Slot { Slot(offset: offset, byteCount: byteCount) }
}
