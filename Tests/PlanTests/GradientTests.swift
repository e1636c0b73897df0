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
    let input: [Double]
    let labels: [Int32]

    init(_ input: [Int], _ layers: [LayerSpec], batch: Int, seed: UInt64 = 1) throws {
        graph = try ModelSpec(input: Shape(input), layers: layers).graph
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
        self.input = draw(batch * graph.inputShape.elementCount, -1, 1)
        let classes = UInt32(graph.outputShape.elementCount)
        labels = (0..<batch).map { _ in Int32(random.below(classes)) }
    }

    /// The batch in an arena of its own, as a prefetcher would deliver it.
    func delivered() throws -> (arena: Arena, input: Slot, target: Slot) {
        let floats = channelsLast(input, batch: batch, shape: graph.inputShape).map { Float($0) }
        let end = (floats.count * 4 + 63) / 64 * 64
        let arena = try Arena(byteCount: end + batch * 4)
        let slots = (
            Slot(offset: 0, byteCount: floats.count * 4), Slot(offset: end, byteCount: labels.count * 4)
        )
        arena.write(floats, to: slots.0)
        arena.write(labels, to: slots.1)
        return (arena, slots.0, slots.1)
    }

    func loss(_ kind: LossKind, _ model: ReferenceModel) -> Double {
        switch kind {
        case .crossEntropy(let smoothing): model.crossEntropy(input, labels, smoothing: Double(smoothing))
        default: model.squaredError(input, labels)
        }
    }
}

@Suite("Planned gradients") struct GradientTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let input: [Int]
        let layers: [LayerSpec]
        var batch = 3
        var testDescription: String { name }
    }

    private static func conv(
        _ out: Int, _ kernel: Pair, stride: Pair = Pair(1, 1), padding: Pair = Pair(0, 0),
        dilation: Pair = Pair(1, 1), groups: Int = 1, bias: Bool = true
    ) -> LayerKind {
        var conv = LayerKind.Conv2d(outChannels: out, kernelSize: kernel)
        (conv.stride, conv.padding, conv.dilation) = (stride, padding, dilation)
        (conv.groups, conv.bias) = (groups, bias)
        return .conv2d(conv)
    }

    private static func layers(_ kinds: LayerKind...) -> [LayerSpec] {
        kinds.enumerated().map { LayerSpec($1, name: "layer\($0)") }
    }

    private static func head(_ classes: Int) -> LayerKind { .linear(.init(outFeatures: classes)) }

    static let cases = [
        Case(name: "linear, one of everything", input: [1], layers: layers(head(2)), batch: 1),
        Case(name: "mlp of odd widths", input: [33], layers: layers(head(17), .relu, head(5)), batch: 7),
        Case(
            name: "convolution, stride, padding", input: [3, 7, 6],
            layers: layers(conv(5, Pair(3, 2), stride: Pair(2, 1), padding: Pair(1, 1)), .flatten, head(3))),
        Case(
            name: "convolution, dilation, no bias", input: [2, 9, 9],
            layers: layers(conv(3, Pair(3, 3), dilation: Pair(2, 3), bias: false), .relu, .flatten, head(4))),
        Case(
            name: "grouped and depthwise", input: [4, 6, 6],
            layers: layers(
                conv(8, Pair(3, 3), groups: 2), .relu, conv(8, Pair(3, 3), padding: Pair(1, 1), groups: 8),
                .flatten, head(3))),
        Case(
            name: "two convolutions with pooling between", input: [1, 12, 11],
            layers: layers(
                conv(5, Pair(5, 5)), .maxPool2d(.init(kernelSize: Pair(2, 2))), conv(7, Pair(3, 3)), .relu,
                .flatten, head(6), .relu, head(3))),
        Case(
            name: "pooling with padding and odd strides", input: [3, 9, 8],
            layers: layers(
                conv(4, Pair(3, 3)),
                .maxPool2d(padded(LayerKind.Pool2d(kernelSize: Pair(3, 2), stride: Pair(2, 1)))),
                conv(3, Pair(2, 2)),
                .avgPool2d(padded(LayerKind.Pool2d(kernelSize: Pair(2, 3), stride: Pair(1, 2)))),
                .flatten, head(3))),
        Case(
            name: "average pooling without counting padding", input: [2, 6, 6],
            layers: layers(
                conv(3, Pair(2, 2)),
                .avgPool2d(
                    padded(LayerKind.Pool2d(kernelSize: Pair(3, 3), stride: Pair(2, 2)), counts: false)),
                .flatten, head(2))),
        Case(
            name: "batch normalisation of channels", input: [3, 5, 4],
            layers: layers(conv(5, Pair(2, 2)), .batchNorm(.init()), .relu, .flatten, head(3)), batch: 4),
        Case(
            name: "batch normalisation of features flattened from an image", input: [3, 4, 4],
            layers: layers(conv(4, Pair(2, 2)), .flatten, .batchNorm(.init()), head(3)), batch: 5),
        Case(
            name: "an output that is a flattened, rectified image", input: [2, 3, 3],
            layers: layers(conv(3, Pair(2, 2)), .relu, .flatten), batch: 4),
        Case(
            name: "relu on a pooled image, not fusable", input: [2, 6, 6],
            layers: layers(
                conv(3, Pair(3, 3)), .maxPool2d(.init(kernelSize: Pair(2, 2))), .relu, .flatten, head(3))),
        Case(
            name: "pooling straight on the input", input: [3, 6, 6],
            layers: layers(.avgPool2d(.init(kernelSize: Pair(2, 2))), .flatten, head(3))),
    ]

    private static func padded(_ pool: LayerKind.Pool2d, counts: Bool = true) -> LayerKind.Pool2d {
        var pool = pool
        (pool.padding, pool.countIncludePad) = (Pair(1, 1), counts)
        return pool
    }

    static let losses: [LossKind] = [
        .crossEntropy(labelSmoothing: 0), .crossEntropy(labelSmoothing: 0.1), .meanSquaredError(oneHot: true),
    ]

    /// Central differences of step h in float64 err by h² f'''/6 + u|f|/h, below 1e-8 here with h = 1e-5; the
    /// float32 pass errs by at most a few √K ε of the largest gradient, K being the longest sum (below 2^10).
    @Test("agree with central differences of the double-precision model", arguments: cases, losses)
    func agreeWithDifferences(subject: Case, kind: LossKind) throws {
        let probe = try Subject(subject.input, subject.layers, batch: subject.batch)
        let engine = try DNNEngine()
        let (plan, store, arena) = try Program.gradientPlan(
            probe.graph, batch: probe.batch, loss: kind, on: engine)
        for (id, values) in zip(probe.graph.parameterIDs, probe.reference.parameters) {
            try store.write(values.map { Float($0) }, to: id, in: arena, on: engine)
        }
        let batch = try probe.delivered()
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        let state = StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1 / Float(probe.batch))
        let result = try plan.run(state)
        let expected = probe.loss(kind, probe.reference)
        #expect(abs(result.lossSum / Double(result.rows) - expected) < 1e-5 * max(1, expected))
        for (index, id) in probe.graph.parameterIDs.enumerated() where probe.graph[id].role.isLearned {
            let gradient = try #require(try plan.gradient(of: id, on: engine))
            try check(gradient, of: index, probe, kind)
        }
    }

    private func check(_ gradient: [Float], of index: Int, _ subject: Subject, _ kind: LossKind) throws {
        let h = 1e-5
        let stride = max(1, gradient.count / 12)
        let scale = Double(gradient.map(abs).max() ?? 0)
        let tolerance = 8 * Double(1 << 10).squareRoot() * Double(Float.ulpOfOne) * max(scale, 0.1) + 1e-8
        for place in Swift.stride(from: 0, to: gradient.count, by: stride) {
            var up = subject.reference
            var down = subject.reference
            up.parameters[index][place] += h
            down.parameters[index][place] -= h
            let difference = (subject.loss(kind, up) - subject.loss(kind, down)) / (2 * h)
            let error = abs(Double(gradient[place]) - difference)
            #expect(
                error <= tolerance,
                "\(subject.graph.parameters[index].name)[\(place)]: \(gradient[place]) against \(difference)")
        }
    }
}
