import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("A plan that compares layers with a teacher's") struct FeaturePlanTests {
    private static func options(
        fuses: Bool = true, segments: Int = 1, _ precision: ElementType = .float32
    ) -> LoweringOptions {
        var options = LoweringOptions()
        (options.fuses, options.segments, options.precision) = (fuses, segments, precision)
        return options
    }

    @Test("has the gradients of central differences, of the adapters too", arguments: FeatureCase.all)
    func differences(subject: FeatureCase) throws {
        let features = try FeatureProbe(subject)
        let (probe, run) = (features.probe, try features.run())
        let values = probe.reference.values(probe.input, batch: probe.batch)
        let expected = features.loss(probe.reference, values)
        let found = run.result.lossSum / Double(run.result.counted)
        #expect(abs(found - expected) < 1e-5 * max(1, expected))
        let hard = probe.loss(FeatureProbe.kind, probe.reference)
        let share = run.result.featureSum / Double(run.result.counted)
        #expect(abs(share - (expected - hard)) < 1e-5 * max(1, expected))
        for (id, gradient) in run.gradients.sorted(by: { $0.key.index < $1.key.index }) {
            var random = CounterRandom(seed: UInt64(id.index), purpose: .test)
            let direction = gradient.map { _ in random.below(2) == 0 ? -1.0 : 1.0 }
            let along = zip(gradient, direction).reduce(0) { $0 + Double($1.0) * $1.1 }
            let difference = features.slope(along: direction, of: id, values)
            // Their errors have random signs and so add like √n.
            let bound = 2 * Double(gradient.count).squareRoot() * GradientTests.tolerance(gradient)
            #expect(
                abs(along - difference) <= bound, "\(probe.graph[id].name): \(along) against \(difference)")
            #expect(gradient.contains { $0 != 0 }, "\(probe.graph[id].name)")
        }
        #expect(run.gradients.count == probe.graph.parameters.filter(\.isTrained).count)
    }

    private static func expectClose(
        _ one: [Graph.ParameterID: [Float]], _ other: [Graph.ParameterID: [Float]], _ graph: Graph,
        _ bound: ([Float]) -> Double
    ) {
        #expect(one.count == other.count)
        for (id, gradient) in one {
            let error = zip(gradient, other[id] ?? []).map { abs(Double($0 - $1)) }.max() ?? .infinity
            #expect(error <= bound(gradient), "\(graph[id].name)")
        }
    }

    @Test("is that of the same model without fusions", arguments: FeatureCase.all)
    func unfused(subject: FeatureCase) throws {
        let features = try FeatureProbe(subject)
        let (one, other) = (try features.run(), try features.run(Self.options(fuses: false)))
        #expect(abs(one.result.lossSum - other.result.lossSum) < 1e-5 * max(1, other.result.lossSum))
        Self.expectClose(one.gradients, other.gradients, features.probe.graph) {
            2 * GradientTests.tolerance($0)
        }
    }

    /// The same calls on the same numbers: not a bit may differ.
    @Test(
        "gives the same bits where activations are computed again", arguments: FeatureCase.all,
        [ElementType.float32, .bfloat16])
    func recomputed(subject: FeatureCase, precision: ElementType) throws {
        let features = try FeatureProbe(subject)
        let kept = try features.run(Self.options(precision))
        #expect(kept.result.lossSum.isFinite)
        for segments in [2, 3, 7] {
            let again = try features.run(Self.options(segments: segments, precision))
            #expect(again.result == kept.result && again.gradients == kept.gradients, "\(segments) segments")
        }
    }

    /// Features round to 2^-9 of their size, as does what they are made of, a few tens of tensors deep;
    /// errors of random sign add like their root, and a mean of squares doubles them.
    @Test("is float32's in bfloat16 but for rounding", arguments: FeatureCase.all)
    func bfloat16(subject: FeatureCase) throws {
        let features = try FeatureProbe(subject)
        let (wide, narrow) = (try features.run().result, try features.run(Self.options(.bfloat16)).result)
        #expect(abs(narrow.featureSum - wide.featureSum) < 0.03 * wide.featureSum)
    }

    @Test("agrees on one, two and three threads", arguments: FeatureCase.all)
    func threads(subject: FeatureCase) throws {
        let features = try FeatureProbe(subject)
        let runs = try [1, 2, 3].map { count in
            ThreadTeam.use(count)
            let (first, again) = (try features.run(), try features.run())
            #expect(first.result == again.result && first.gradients == again.gradients)
            return first
        }
        ThreadTeam.use(1)
        for run in runs {
            Self.expectClose(run.gradients, runs[0].gradients, features.probe.graph) {
                2 * GradientTests.tolerance($0)
            }
        }
    }

    private static func program(
        _ probe: Subject, _ optimizer: OptimizerOptions, batches: [Int]
    ) throws -> Program {
        let program = try Program(
            probe.graph,
            .init(
                loss: FeatureProbe.kind, optimizer: optimizer, trainingBatches: batches,
                evaluationBatches: [probe.batch]), on: DNNEngine())
        try program.allocate()
        for (id, values) in zip(probe.graph.parameterIDs, probe.reference.parameters) {
            try program.write(values.map { Float($0) }, to: id)
        }
        return program
    }

    /// The gradients differ by the order of their sums; clipping scales both alike.
    @Test("moves parameters alike by a whole batch and by its parts", arguments: [Double?.none, 0.1])
    func accumulation(clipNorm: Double?) throws {
        // Without batch normalisation, which sees the parts.
        let features = try FeatureProbe(FeatureCase.all[3])
        let probe = features.probe
        let batch = try probe.delivered(FeatureProbe.kind)
        func step(_ parts: [Int], accumulates: Bool) throws -> [[Float]] {
            let optimizer = OptimizerOptions(clipNorm: clipNorm, accumulates: accumulates)
            let program = try Self.program(probe, optimizer, batches: Array(Set(parts)))
            let row = batch.input.byteCount / probe.batch
            var first = 0
            for (index, count) in parts.enumerated() {
                var state = probe.state(learningRate: 0.05)
                (state.microBatch, state.inverseSamples) = (UInt32(index), 1 / Float(probe.batch))
                let plan = try #require(
                    program.trainingPlan(batch: count) ?? program.accumulationPlan(batch: count))
                try plan.bindBatch(
                    input: Slot(offset: first * row, byteCount: count * row),
                    target: Slot(offset: batch.target.offset + first * 4, byteCount: count * 4),
                    in: batch.arena)
                try features.bind(plan, first..<first + count)
                _ = try plan.run(state)
                first += count
            }
            if let update = program.updatePlan { _ = try update.run(probe.state(learningRate: 0.05)) }
            return try program.graph.parameterIDs.map { try program.read($0) }
        }
        let whole = try step([3], accumulates: false)
        let start = probe.reference.parameters.map { $0.map { Float($0) } }
        #expect(zip(whole, start).allSatisfy { $0 != $1 }, "everything moves")
        for parts in [[3], [2, 1], [1, 1, 1]] {
            for (one, other) in zip(try step(parts, accumulates: true), whole) {
                let error = zip(one, other).map { abs($0 - $1) }.max() ?? .infinity
                #expect(error <= 1e-6, "\(parts)")
            }
        }
    }

    @Test("is evaluated without features, as fused as ever", arguments: FeatureCase.all)
    func evaluation(subject: FeatureCase) throws {
        let probe = try FeatureProbe(subject).probe
        let program = try Self.program(probe, OptimizerOptions(), batches: [probe.batch])
        let plan = try #require(program.evaluationPlan(batch: probe.batch))
        var plain = try Subject(subject.student.model, batch: probe.batch).graph
        if let adapters = subject.adapters { plain = try plain.adapted(by: adapters, at: "") }
        let alone = try Self.program(
            Subject(plain, batch: probe.batch), OptimizerOptions(), batches: [probe.batch])
        #expect(plan.summary == alone.evaluationPlan(batch: probe.batch)?.summary)
        let batch = try probe.delivered(FeatureProbe.kind)
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        #expect(try plan.run(probe.state()).featureSum == 0)
    }

    /// All layers at once, and each alone: between the others everything is fused.
    @Test("of a teacher keeps what its layers make", arguments: FeatureCase.all)
    func teacher(subject: FeatureCase) throws {
        var probe = try Subject(subject.teacher.model, batch: subject.teacher.batch)
        probe.reference.usesRunningStatistics = true
        let graph = probe.graph
        let expected = probe.reference.values(probe.input, batch: probe.batch)
        let layers = graph.layers.map(\.output)
        for kept in [layers] + layers.map({ [$0] }) {
            var options = Program.Options(
                loss: .crossEntropy(labelSmoothing: 0), optimizer: OptimizerOptions(), trainingBatches: [],
                evaluationBatches: [probe.batch])
            (options.evaluatesLoss, options.lowering.kept) = (false, Set(kept))
            let program = try Program(graph, options, on: DNNEngine())
            try program.allocate()
            for (id, values) in zip(graph.parameterIDs, probe.reference.parameters) {
                try program.write(values.map { Float($0) }, to: id)
            }
            let plan = try #require(program.evaluationPlan(batch: probe.batch))
            let batch = try probe.delivered(FeatureProbe.kind)
            try plan.bind(.input, to: Place(batch.input, in: batch.arena))
            _ = try plan.run(probe.state())
            for value in kept {
                let place = try #require(plan.place(of: value))
                let found = logicalOrder(
                    place.arena.read(place.slot, as: Float.self).map(Double.init), of: graph[value],
                    batch: probe.batch)
                let wanted = expected[value.index]
                // A few sums of up to 2^8 products of numbers below 2^4.
                let error = zip(found, wanted).map { abs($0 - $1) }.max() ?? .infinity
                let size = max(1, wanted.map(abs).max() ?? 0)
                #expect(found.count == wanted.count && error < 1e-5 * size, "\(value.index) of \(kept.count)")
            }
            #expect(plan.place(of: graph.input) == nil)
        }
    }

    @Test("has nothing but the adapters more to keep where activations are computed again")
    func memory() throws {
        let blocks = (0..<8).map { #"{"type": "transformer_block", "name": "b\#($0)", "heads": 2}"# }
        let layers = blocks.joined(separator: ", ") + #", {"type": "linear", "out_features": 3}"#
        let graph = try Subject(#"{"input": [32, 16], "layers": [\#(layers)]}"#, batch: 1).graph
        let comparisons = (0..<4).map {
            FeatureComparison(
                student: "b\(2 * $0)", teacher: "b\($0)", adapter: FeatureComparison.Adapter.none)
        }
        func byteCount(_ graph: Graph) throws -> Int {
            try Program(
                graph,
                .init(
                    loss: FeatureProbe.kind, optimizer: OptimizerOptions(), trainingBatches: [16],
                    evaluationBatches: [], lowering: Self.options(segments: 4)), on: DNNEngine()
            ).byteCount
        }
        let (alone, compared) = (
            try byteCount(graph), try byteCount(try graph.comparing(comparisons, with: graph, at: ""))
        )
        // One gradient of 16 samples of 32 by 16 floats, and little beside it.
        #expect(compared <= alone + 16 * 32 * 16 * 4 * 2)
    }
}
