import Graph
import JSON
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Models of every layer, against PyTorch") struct FixtureModelTests {
    static let names = FixtureModel.names(in: "models")

    /// How a plan is made.
    struct Way: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var precision = ElementType.float32
        var fuses = true
        var threads = 2
        /// Whether bfloat16 is widened, as on a machine without kernels for it.
        var widening: Bool?

        /// The largest error of a tensor that this makes of one of norm `size`.
        ///
        /// Fixtures are float64. A float32 number is a sum of at most 2^10 products whose factors have come
        /// through some eight layers: 8 √2^10 ε. bfloat16 rounds everything that layers leave, which PyTorch
        /// has tried out by random numbers: `rounding` is the largest error of 32 runs. As the plan's error
        /// is one more such draw, twice that is not passed but by chances of 10^-6; and where a kink near a
        /// number makes that much, some 2^-8 of the elements fall on its other side, which changes the norm
        /// by √2^-8, in three layers at most.
        func tolerance(_ size: Double, rounding: Double) -> Double {
            let float32 = 8 * 32 * Double(Float.ulpOfOne) * size
            return precision == .float32 ? float32 : min(2 * rounding, 3 * 0x1p-4 * size) + float32
        }

        var lowering: LoweringOptions {
            var options = LoweringOptions()
            (options.precision, options.fuses) = (precision, fuses)
            return options
        }
    }

    static let ways = [
        Way(testDescription: "float32"), Way(testDescription: "float32, unfused", fuses: false, threads: 1),
        Way(testDescription: "float32, three threads", threads: 3),
        Way(testDescription: "bfloat16", precision: .bfloat16),
        Way(testDescription: "bfloat16, unfused", precision: .bfloat16, fuses: false),
        Way(testDescription: "bfloat16, widened", precision: .bfloat16, widening: true),
    ]

    @Test("agree in loss and every gradient", arguments: names, ways)
    func agree(name: String, way: Way) throws {
        let model = try FixtureModel(name, in: "models")
        ThreadTeam.use(way.threads)
        let engine = try DNNEngine(widening: way.widening)
        let (plan, store, arena) = try Program.gradientPlan(
            model.graph, batch: model.batch, loss: .crossEntropy(labelSmoothing: 0), lowering: way.lowering,
            on: engine)
        for id in model.graph.parameterIDs {
            try store.write(model.parameter(id), to: id, in: arena, on: engine)
        }
        let batch = try model.delivered()
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        let result = try plan.run(model.state)
        #expect(Int(result.counted) == model.counted)
        let expected = Double(try model.fixture.floats("\(name)/loss")[0])
        let loss = result.lossSum / Double(model.counted)
        let tolerance = way.tolerance(max(1, expected), rounding: try model.rounding(of: ""))
        #expect(abs(loss - expected) <= tolerance, "loss \(loss) for \(expected)")

        let learned = model.graph.parameterIDs.filter { model.graph[$0].role.isLearned }
        let gradients = try learned.map {
            try model.fixture.floats("\(name)/gradient/\(model.graph[$0].name)")
        }
        // A gradient that ought to be 0, as of a bias in front of a norm, is what rounding leaves of others.
        let floor = 0.1 * Self.norm(gradients.flatMap(\.self))
        for (id, wanted) in zip(learned, gradients) {
            let found = try #require(try plan.gradient(of: id, on: engine))
            try #require(found.count == wanted.count)
            let error = Self.norm(zip(found, wanted).map { $0 - $1 })
            let name = model.graph[id].name
            let tolerance = way.tolerance(
                max(floor, Self.norm(wanted)), rounding: try model.rounding(of: name))
            #expect(error <= tolerance, "\(name)")
        }
    }

    private static func norm(_ values: [Float]) -> Double {
        values.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
    }

    @Test("name their parameters as PyTorch does", arguments: names)
    func nameParameters(name: String) throws {
        let model = try FixtureModel(name, in: "models")
        for parameter in model.graph.parameters {
            let kind = parameter.role.isLearned ? "parameter" : "statistic"
            let tensor = "\(name)/\(kind)/\(parameter.name)"
            #expect(try model.fixture.shape(tensor) == parameter.shape.dimensions)
        }
    }

    static let normed = names.filter { name in
        (try? FixtureModel(name, in: "models"))?.graph.parameters.contains { !$0.role.isLearned } ?? false
    }

    @Test("move the running statistics of their norms alike", arguments: normed)
    func moveStatistics(name: String) throws {
        let model = try FixtureModel(name, in: "models")
        ThreadTeam.use(2)
        let batch = try model.batch
        let program = try Program(
            model.graph,
            .init(
                loss: .crossEntropy(labelSmoothing: 0), optimizer: .sgd(), trainingBatches: [batch],
                evaluationBatches: []), on: DNNEngine())
        try program.allocate()
        for id in model.graph.parameterIDs { try program.write(model.parameter(id), to: id) }
        let plan = try #require(program.trainingPlan(batch: batch))
        let data = try model.delivered()
        try plan.bindBatch(input: data.input, target: data.target, in: data.arena)
        _ = try plan.run(model.state)
        for id in model.graph.parameterIDs where !model.graph[id].role.isLearned {
            let wanted = try model.fixture.floats("\(name)/statistic/\(model.graph[id].name)")
            for (found, wanted) in zip(try program.read(id), wanted) {
                // Means over at most 2^8 numbers that have come through two layers.
                #expect(abs(found - wanted) <= 64 * .ulpOfOne * max(1, abs(wanted)), "\(found) for \(wanted)")
            }
        }
    }
}
