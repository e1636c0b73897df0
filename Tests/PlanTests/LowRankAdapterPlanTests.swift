import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Planned adapters") struct LowRankAdapterPlanTests {
    private static let cases =
        ModelCase.transformers.prefix(3)
        + [
            ModelCase(
                "adapters behind an image", "[3, 5, 4]",
                """
                {"type": "conv2d", "out_channels": 4, "kernel_size": 2}, {"type": "batch_norm"},
                {"type": "relu"}, {"type": "flatten"}, {"type": "linear", "out_features": 6},
                {"type": "gelu"}, {"type": "linear", "out_features": 3}
                """)
        ]

    /// The case with adapters beside all its linear layers; a scale of 2.5 makes the operation run.
    private static func subject(_ subject: ModelCase, trainsAll: Bool = false) throws -> Subject {
        let plain = try Subject(subject.model, batch: subject.batch)
        var adapters = LowRankAdapters(rank: 2, alpha: 5, targets: ["*"])
        (adapters.trainsBias, adapters.trainsNorm) = (trainsAll, trainsAll)
        return Subject(try plain.graph.adapted(by: adapters, at: ""), batch: subject.batch)
    }

    @Test("have the gradients of central differences, and nothing else has one", arguments: cases)
    func gradients(subject: ModelCase) throws {
        for trainsAll in [false, true] {
            let probe = try Self.subject(subject, trainsAll: trainsAll)
            let kind = LossKind.crossEntropy(labelSmoothing: 0.1)
            let run = try GradientRun(probe, kind)
            let expected = probe.loss(kind, probe.reference)
            #expect(abs(run.loss - expected) < 1e-5 * max(1, expected))
            let values = probe.reference.values(probe.input, batch: probe.batch)
            for (id, gradient) in run.gradients.sorted(by: { $0.key.index < $1.key.index }) {
                GradientTests.checkDirection(gradient, of: id, probe, kind, values)
            }
            let names = probe.graph.parameters.filter(\.isTrained).map(\.name)
            #expect(run.gradients.keys.map { probe.graph[$0].name }.sorted() == names.sorted())
            #expect(names.count { $0.contains(".lora_") } == 2 * probe.graph.adapters.count)
        }
    }

    @Test("have optimiser states; what is frozen has none")
    func states() throws {
        let probe = try Self.subject(Self.cases[Self.cases.count - 1])
        let options = Program.Options(
            loss: .crossEntropy(labelSmoothing: 0),
            optimizer: OptimizerOptions(.adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-8)),
            trainingBatches: [3], evaluationBatches: [])
        let program = try Program(probe.graph, options, on: try DNNEngine())
        for id in probe.graph.parameterIDs {
            for index in 0..<2 {
                let isKept = program.store.slot(id, .state(index)) != nil
                #expect(isKept == probe.graph[id].isTrained, "\(probe.graph[id].name)")
            }
        }
    }

    @Test("add to what their layer has made and scale inside a product, with no pass of their own")
    func fused() throws {
        let probe = try Self.subject(Self.cases[Self.cases.count - 1])
        let options = Program.Options(
            loss: .crossEntropy(labelSmoothing: 0), optimizer: OptimizerOptions(), trainingBatches: [3],
            evaluationBatches: [])
        let program = try Program(probe.graph, options, on: try DNNEngine())
        let labels = program.stepPlans([3]).flatMap { $0.overview.steps.map(\.label) }
        for layer in probe.graph.adapters.map(\.layer) {
            #expect(labels.contains("\(layer).lora_A + \(layer).lora_scale forward"))
            #expect(labels.contains("\(layer).lora_B + \(layer).lora_sum forward"))
        }
    }
}
