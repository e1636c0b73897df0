import Graph
import Plan
import TestSupport
import Testing

@Suite("Losses of a plan") struct PlannedLossTests {
    private static let models = [
        ModelCase("of samples", "[6]", #"{"type": "linear", "out_features": 7}"#, batch: 5),
        ModelCase(
            "of tokens", "[4, 5]", #"{"type": "linear", "out_features": 6}, {"type": "relu"}"#, batch: 3),
        ModelCase(
            "of a flattened image", "[3, 4, 5]",
            #"{"type": "conv2d", "out_channels": 2, "kernel_size": 2}, {"type": "flatten"}"#, batch: 2),
    ]

    private static let losses: [LossKind] = [
        .crossEntropy(labelSmoothing: 0), .crossEntropy(labelSmoothing: 0.2),
        .softCrossEntropy(labelSmoothing: 0.2), .klDivergence(oneHot: false), .klDivergence(oneHot: true),
        .meanSquaredError(oneHot: true), .meanSquaredError(oneHot: false), .meanAbsoluteError(oneHot: false),
        .huber(delta: 0.5, oneHot: false), .huber(delta: 0.3, oneHot: true),
        .binaryCrossEntropy(oneHot: true), .binaryCrossEntropy(oneHot: false),
    ]

    @Test("are PyTorch's, with their gradients", arguments: models, losses)
    func gradients(model: ModelCase, kind: LossKind) throws {
        try check(Subject(model.model, batch: model.batch), kind)
    }

    @Test("leave out the rows that are to be ignored", arguments: models, losses)
    func ignoring(model: ModelCase, kind: LossKind) throws {
        var probe = try Subject(model.model, batch: model.batch)
        guard kind.takesLabels else { return }
        for row in [0, probe.labels.count - 1] { probe.labels[row] = ReferenceLoss.ignored }
        guard probe.labels.contains(where: { $0 != ReferenceLoss.ignored }) else { return }
        try check(probe, kind)
    }

    private func check(_ probe: Subject, _ kind: LossKind) throws {
        let run = try GradientRun(probe, kind)
        let expected = probe.loss(kind, probe.reference)
        #expect(abs(run.loss - expected) < 1e-5 * max(1, abs(expected)))
        let values = probe.reference.values(probe.input, batch: probe.batch)
        for (id, gradient) in run.gradients {
            GradientTests.checkDirection(gradient, of: id, probe, kind, values)
        }
    }
}
