import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

/// Layers that are trained for bytes, against the double-precision model of the rounded weights whose layers
/// round what they read.
@Suite("A plan that rounds computes as bytes will") struct RoundedPlanTests {
    /// Dropout draws its own numbers in training; `RoundingTests` has what it does to codes.
    static let models = QuantizedPlanTests.models.filter { !$0.contains("dropout") }
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0.1)

    /// A model, which of its layers round, and by what.
    private struct Case {
        var subject: Subject
        var options: RoundedLayers
        var ranges: [Graph.ValueID: [Float]] = [:]
        private let seed: UInt64
        private var scales: [Graph.ValueID: ActivationScale] = [:]

        /// Ranges leave out a tenth on either side of what the layers read unrounded.
        init(_ model: String, leavingOut left: Int? = nil, evaluates: Bool = false, seed: UInt64) throws {
            self.seed = seed
            subject = try Subject(model, batch: 3, seed: seed)
            subject.reference.usesRunningStatistics = evaluates
            let graph = subject.graph
            let layers = graph.nodeIDs.filter { graph.quantizableWeight(of: $0) != nil }
            options = RoundedLayers(
                layers: Set(layers.enumerated().filter { $0.offset != left }.map(\.element)))
            let values = subject.reference.values(subject.input, batch: 3)
            for owner in options.owners(in: graph) {
                let (low, high) = (values[owner.index].min() ?? 0, values[owner.index].max() ?? 0)
                let scale = ActivationScale(low: Float(0.9 * low), high: Float(0.9 * high))
                let found = try #require(scale)
                scales[owner] = found
                ranges[owner] = [Float(low), Float(high), found.scale, Float(found.zeroPoint)]
            }
            for id in options.layers {
                let weight = try #require(graph.quantizableWeight(of: id))
                let rows = graph[weight].shape[0]
                let values = subject.reference.parameters[weight.index].map { Float($0) }
                let (codes, steps) = Quantization.weights(
                    values, factors: [Float](repeating: 1, count: rows),
                    least: [Float](repeating: 1e-30, count: rows))
                subject.reference.parameters[weight.index] = codes.enumerated().map {
                    Double(Float($1) * steps[$0 / (codes.count / rows)])
                }
                let scale = try scale(of: id)
                subject.reference.inputRounding[id] = { Double(scale.value(of: scale.code(of: Float($0)))) }
            }
        }

        /// The first of some draws in which no layer reads a number so near to the middle between two codes
        /// that float32 might take another one than float64: sums of 2^6 terms err by 1e-6 of 255 steps.
        static func clear(
            _ model: String, leavingOut left: Int? = nil, evaluates: Bool = false
        ) throws -> Case {
            for seed in UInt64(8)..<40 {
                let found = try Case(model, leavingOut: left, evaluates: evaluates, seed: seed)
                let values = found.subject.reference.values(found.subject.input, batch: 3)
                let isClear = try found.options.layers.allSatisfy { id in
                    let scale = try found.scale(of: id)
                    return values[found.subject.graph[id].inputs[0].index].allSatisfy {
                        let place = $0 / Double(scale.scale) + Double(scale.zeroPoint)
                        return abs(abs(place - place.rounded()) - 0.5) > 2e-4
                    }
                }
                if isClear { return found }
            }
            throw Unclear()
        }

        private struct Unclear: Error {}

        var lowering: LoweringOptions {
            var lowering = LoweringOptions()
            lowering.rounded = options
            return lowering
        }

        func scale(of id: Graph.NodeID) throws -> ActivationScale {
            try #require(scales[ByteFlow(subject.graph).owner(of: subject.graph[id].inputs[0])])
        }

        /// The unrounded parameters: rounding what is rounded gives the same again, but for its scale's last
        /// bit, so that the plan shall do it once.
        func given() -> [[Float]] {
            let whole = Subject(subject.graph, batch: 3, seed: seed)
            return whole.reference.parameters.map { $0.map { Float($0) } }
        }

        /// The same model with every rounding replaced by what it adds to each number, or by a constant where
        /// that is cut off: its slopes are those that pass straight through.
        func smooth() throws -> Subject {
            var smooth = subject
            let values = subject.reference.values(subject.input, batch: 3)
            for id in options.layers {
                let scale = try scale(of: id)
                let inputs = values[subject.graph[id].inputs[0].index]
                let places = inputs.map { $0 / Double(scale.scale) + Double(scale.zeroPoint) }
                let passes = places.map { $0 > -0.5 && $0 < Double(scale.codeMax) + 0.5 }
                let rounded = inputs.map { Double(scale.value(of: scale.code(of: Float($0)))) }
                smooth.reference.inputRounding[id] = nil
                smooth.reference.inputChanges[id] = { given in
                    given.indices.map { passes[$0] ? given[$0] + (rounded[$0] - inputs[$0]) : rounded[$0] }
                }
                #expect(passes.contains(false) || inputs.allSatisfy { $0 >= 0 })
            }
            return smooth
        }
    }

    @Test("outputs are those of rounded numbers", arguments: models, [nil, 0, 1] as [Int?])
    func outputs(model: String, left: Int?) throws {
        let subject = try Case.clear(model, leavingOut: left, evaluates: true)
        let reference = subject.subject.reference
        let graph = subject.subject.graph
        let program = try Program(
            graph,
            .init(
                loss: Self.loss, optimizer: .sgd(), trainingBatches: [3], evaluationBatches: [3],
                lowering: subject.lowering), on: DNNEngine())
        try program.allocate()
        for (id, values) in zip(graph.parameterIDs, subject.given()) { try program.write(values, to: id) }
        #expect(program.rangeOwners.map(\.index) == subject.ranges.keys.map(\.index).sorted())
        for (owner, range) in subject.ranges { program.setRange(range, of: owner) }
        let plan = try #require(program.evaluationPlan(batch: 3))
        let batch = try subject.subject.delivered(Self.loss)
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        _ = try plan.run(subject.subject.state())
        let found = logicalOrder(plan.output().map { Double($0) }, of: graph[graph.output], batch: 3)
        let expected = reference.forward(subject.subject.input, batch: 3)
        let size = expected.map(abs).max() ?? 0
        let error = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
        // Sums of at most 2^10 float32 terms; a code that is another one would show as 1e-3 at least.
        #expect(error <= 1e-5 * size, "off by \(error) of \(size)")
        #expect(size > 0.01)
    }

    @Test("gradients pass straight through, by central differences", arguments: models, [nil, 1] as [Int?])
    func gradients(model: String, left: Int?) throws {
        let subject = try Case.clear(model, leavingOut: left)
        let smooth = try subject.smooth()
        let run = try GradientRun(
            subject.subject, Self.loss, subject.lowering, parameters: subject.given(), ranges: subject.ranges)
        let expected = smooth.loss(Self.loss, smooth.reference)
        #expect(abs(run.loss - expected) < 1e-5 * max(1, expected))
        let values = smooth.reference.values(smooth.input, batch: 3)
        for (id, gradient) in run.gradients.sorted(by: { $0.key.index < $1.key.index }) {
            GradientTests.checkDirection(gradient, of: id, smooth, Self.loss, values)
        }
        #expect(run.gradients.count == smooth.graph.parameters.filter(\.isTrained).count)
    }

    @Test("a forward pass that is repeated rounds alike") func repeated() throws {
        let subject = try Case.clear(Self.models[3])
        var parts = subject.lowering
        parts.segments = 3
        let runs = try [subject.lowering, parts].map {
            try GradientRun(
                subject.subject, Self.loss, $0, parameters: subject.given(), ranges: subject.ranges)
        }
        #expect(runs[0].loss == runs[1].loss)
        try runs[1].expectGradients(of: runs[0], subject.subject.graph, .float32)
    }

    @Test("ranges follow what is trained on, until they are frozen") func ranges() throws {
        let subject = try Case.clear(Self.models[1])
        let graph = subject.subject.graph
        var lowering = subject.lowering
        lowering.rounded?.rate = 0.5
        let program = try Program(
            graph,
            .init(
                loss: Self.loss, optimizer: .sgd(), trainingBatches: [3], evaluationBatches: [3],
                lowering: lowering), on: DNNEngine())
        try program.allocate()
        for (id, values) in zip(graph.parameterIDs, subject.given()) { try program.write(values, to: id) }
        let batch = try subject.subject.delivered(Self.loss)
        let pixels = batch.arena.read(batch.input, as: Float.self)
        let owners = program.rangeOwners
        #expect(owners.count == 2 && owners[0] == graph.input)
        func run(_ plan: ExecutionPlan?, moves: Bool) throws {
            let plan = try #require(plan)
            try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
            var state = subject.subject.state(learningRate: 0)
            state.movesRanges = moves ? 1 : 0
            _ = try plan.run(state)
        }
        // Evaluations look, and touch nothing.
        try run(program.evaluationPlan(batch: 3), moves: true)
        #expect(program.range(of: graph.input) == [0, 0, 0, 0])
        try run(program.trainingPlan(batch: 3), moves: true)
        let first = owners.map { program.range(of: $0) }
        #expect(first[0][0] == pixels.min() && first[0][1] == pixels.max())
        // A ReLU's output, in front of which a maximum pooling passes codes on.
        #expect(first[1][0] == 0 && first[1][1] > 0 && first[1][2] == first[1][1] / 255)
        batch.arena.write(pixels.map { 3 * $0 }, to: batch.input)
        try run(program.trainingPlan(batch: 3), moves: true)
        #expect(abs(program.range(of: graph.input)[1] - 2 * first[0][1]) <= first[0][1].ulp * 4)
        let second = owners.map { program.range(of: $0) }
        #expect(second[1][1] > first[1][1])
        try run(program.trainingPlan(batch: 3), moves: false)
        #expect(owners.map { program.range(of: $0) } == second)
    }
}
