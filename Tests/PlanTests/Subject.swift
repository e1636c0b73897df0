import Graph
import JSON
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

/// A model, a batch of random data, and the same parameters on both sides.
struct Subject {
    let graph: Graph
    let batch: Int
    var reference: ReferenceModel
    /// In PyTorch's order; tokens as whole numbers.
    let input: [Double]
    /// One for each row of the output.
    var labels: [Int32]
    /// As many numbers as the output has, from 0 to 1; those of a row add up to 1.
    let shares: [Double]

    init(_ graph: Graph, batch: Int, seed: UInt64 = 1, input given: [Double]? = nil) {
        self.graph = graph
        self.batch = batch
        var random = CounterRandom(seed: seed, purpose: .test)
        func draw(_ count: Int, _ low: Float, _ high: Float) -> [Double] {
            (0..<count).map { _ in Double(low + (high - low) * random.uniform()) }
        }
        let parameters = graph.parameters.map { parameter in
            parameter.role == .runningVariance || parameter.role == .scale
                ? draw(parameter.shape.elementCount, 0.5, 1.5)
                : draw(parameter.shape.elementCount, -0.5, 0.5)
        }
        reference = ReferenceModel(graph, parameters: parameters)
        let count = batch * graph.inputShape.elementCount
        if let given {
            input = given
        } else if let vocabulary = Self.vocabulary(of: graph) {
            input = (0..<count).map { _ in Double(random.below(UInt32(vocabulary))) }
        } else {
            input = draw(count, -1, 1)
        }
        let output = graph[graph.output]
        labels = (0..<(batch * output.positions)).map { _ in Int32(random.below(UInt32(output.channels))) }
        shares = labels.flatMap { _ in
            let row = draw(output.channels, 0, 1)
            return row.map { Double(Float($0 / row.reduce(0, +))) }
        }
    }

    /// A model in the layer language.
    init(_ model: String, batch: Int, seed: UInt64 = 1, input: [Double]? = nil) throws {
        let log = ViolationLog()
        let spec = ModelSpec.read(
            try JSONValue(parsing: Array(model.utf8)), at: "/model", datasetInput: nil, classes: nil, log: log
        )
        try log.throwIfAny()
        guard let spec else { throw InvalidInput([]) }
        self.init(spec.graph, batch: batch, seed: seed, input: input)
    }

    init(_ input: [Int], _ layers: [LayerSpec], batch: Int, seed: UInt64 = 1) throws {
        self.init(try ModelSpec(input: Shape(input), layers: layers).graph, batch: batch, seed: seed)
    }

    /// Rows of a table that the tokens pick from; nil for a model of numbers.
    private static func vocabulary(of graph: Graph) -> Int? {
        guard graph[graph.input].element == .token else { return nil }
        let reader = graph.consumers(of: graph.input).first.map { graph[$0] }
        return reader?.parameters.first.map { graph[$0].shape[0] } ?? 1
    }

    /// The batch in an arena of its own, as a prefetcher would deliver it.
    func delivered(_ loss: LossKind) throws -> (arena: Arena, input: Slot, target: Slot) {
        let value = graph[graph.input]
        let elements = memoryOrder(input, of: value, batch: batch)
        let end = (elements.count * 4 + 63) / 64 * 64
        let targetCount = !loss.takesLabels ? shares.count : labels.count
        let arena = try Arena(byteCount: end + targetCount * 4)
        let slots = (
            Slot(offset: 0, byteCount: elements.count * 4), Slot(offset: end, byteCount: targetCount * 4)
        )
        if value.element == .token {
            arena.write(elements.map { Int32($0) }, to: slots.0)
        } else {
            arena.write(elements.map { Float($0) }, to: slots.0)
        }
        if !loss.takesLabels {
            let order = memoryOrder(shares, of: graph[graph.output], batch: batch)
            arena.write(order.map { Float($0) }, to: slots.1)
        } else {
            arena.write(labels, to: slots.1)
        }
        return (arena, slots.0, slots.1)
    }

    /// What a run is told: rows weigh the same.
    func state(seed: UInt64 = 3, step: UInt64 = 0, learningRate: Float = 0) -> StepState {
        StepState(
            seed: seed, step: step, learningRate: learningRate,
            inverseCount: 1 / Float(ReferenceTarget.labels(labels).counted(of: labels.count)))
    }

    func loss(_ kind: LossKind, _ model: ReferenceModel) -> Double {
        model.loss(kind.reference, input, target(kind), batch: batch)
    }

    /// What the reference compares with.
    private func target(_ kind: LossKind) -> ReferenceTarget {
        !kind.takesLabels ? .numbers(shares) : .labels(labels)
    }

    /// The loss with parameters moved from where the reference has them.
    func loss(_ kind: LossKind, moving id: Graph.ParameterID, by step: [Double], _ values: [[Double]])
        -> Double
    {
        var moved = reference
        for (place, distance) in step.enumerated() { moved.parameters[id.index][place] += distance }
        let after = moved.values(values, changing: [id], batch: batch)
        let output = graph[graph.output]
        return kind.reference.value(
            after[graph.output.index], width: output.channels, target(kind))
    }
}

extension LossKind {
    /// The same loss in the double-precision model.
    var reference: ReferenceLoss {
        switch self {
        case .crossEntropy(let smoothing), .softCrossEntropy(let smoothing):
            .crossEntropy(smoothing: Double(smoothing))
        case .klDivergence: .divergence
        case .distillation(let settings, _): .crossEntropy(smoothing: Double(settings.labelSmoothing))
        case .meanSquaredError: .squaredError
        case .meanAbsoluteError: .absoluteError
        case .huber(let delta, _): .huber(delta: Double(delta))
        case .binaryCrossEntropy: .binaryCrossEntropy
        }
    }
}

/// What one run of a plan that keeps its gradients computed.
struct GradientRun {
    let plan: ExecutionPlan
    /// A mean over the rows.
    let loss: Double
    /// Of each learned parameter, in the graph's order.
    let gradients: [Graph.ParameterID: [Float]]

    /// Runs forward and backward once.
    ///
    /// Everything that no step is given starts as NaN, so that what reads too early shows.
    init(
        _ subject: Subject, _ loss: LossKind, _ lowering: LoweringOptions = LoweringOptions(),
        parameters: [[Float]]? = nil, state: StepState? = nil, ranges: [Graph.ValueID: [Float]] = [:]
    ) throws {
        let engine = try DNNEngine()
        let (plan, store, arena) = try Program.gradientPlan(
            subject.graph, batch: subject.batch, loss: loss, lowering: lowering, on: engine)
        arena.write(
            [UInt8](repeating: 0xFF, count: plan.end - store.byteCount),
            to: Slot(offset: store.byteCount, byteCount: plan.end - store.byteCount))
        let values = parameters ?? subject.reference.parameters.map { $0.map { Float($0) } }
        for (id, values) in zip(subject.graph.parameterIDs, values) {
            try store.write(values, to: id, in: arena, on: engine)
        }
        for (owner, range) in ranges {
            let slot = store.ranges[owner]
            if let slot { arena.write(range, to: slot) }
        }
        let batch = try subject.delivered(loss)
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        let result = try plan.run(state ?? subject.state())
        self.plan = plan
        self.loss = result.lossSum / Double(result.counted)
        var gradients: [Graph.ParameterID: [Float]] = [:]
        for id in subject.graph.parameterIDs where subject.graph[id].isTrained {
            gradients[id] = try plan.gradient(of: id, on: engine)
        }
        self.gradients = gradients
    }
}

extension GradientRun {
    /// Checks that the gradients are `other`'s, but for what storing them in this precision rounds.
    func expectGradients(of other: GradientRun, _ graph: Graph, _ precision: ElementType) throws {
        let largest = other.gradients.values.joined().map(abs).max() ?? 0
        let bound = (precision == .float32 ? 16 * Float.ulpOfOne : 5 * 0x1p-8) * largest
        #expect(largest > 0.01)
        for (id, gradient) in other.gradients {
            let own = try #require(gradients[id])
            let error = zip(gradient, own).map { abs($0 - $1) }.max() ?? .infinity
            #expect(error <= bound, "\(graph[id].name) is off by \(error)")
        }
    }
}
