import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Dropout in a plan") struct DropoutTests {
    private static let head = #"{"type": "linear", "out_features": 3}"#

    static let cases = [
        ModelCase(
            "behind a ReLU, twice", "[9]",
            """
            {"type": "linear", "out_features": 11}, {"type": "relu"}, {"type": "dropout", "p": 0.4},
            {"type": "dropout", "p": 0.3}, \(head)
            """, batch: 5),
        ModelCase(
            "of a rectified value that was added before", "[6]",
            """
            {"type": "linear", "name": "x", "out_features": 7}, {"type": "relu", "name": "r"},
            {"type": "linear", "name": "z", "inputs": "x", "out_features": 7},
            {"type": "add", "name": "a", "inputs": ["r", "z"]},
            {"type": "dropout", "name": "d", "p": 0.5, "inputs": "r"},
            {"type": "add", "inputs": ["a", "d"]}, \(head)
            """, batch: 5),
        ModelCase(
            "on an image, read three times", "[2, 5, 4]",
            """
            {"type": "conv2d", "out_channels": 5, "kernel_size": 2}, {"type": "batch_norm"},
            {"type": "dropout", "name": "d", "p": 0.5}, {"type": "relu", "name": "r"},
            {"type": "sigmoid", "name": "s", "inputs": "d"},
            {"type": "multiply", "name": "m", "inputs": ["r", "s"]},
            {"type": "add", "inputs": ["m", "d"]}, {"type": "dropout", "p": 0.2}, {"type": "flatten"},
            {"type": "dropout", "p": 0.5}, \(head)
            """),
        ModelCase(
            "behind what reads its input again", "[8]",
            """
            {"type": "linear", "out_features": 9}, {"type": "gelu"}, {"type": "dropout", "p": 0.5},
            {"type": "layer_norm"}, {"type": "dropout", "p": 0.1}, {"type": "softmax"},
            {"type": "dropout", "p": 0.5}, \(head)
            """),
        ModelCase(
            "on both ways of a residual", "[3, 6]",
            """
            {"type": "linear", "out_features": 6},
            {"type": "residual", "layers": [{"type": "linear", "out_features": 6},
                {"type": "dropout", "p": 0.5}], "shortcut": [{"type": "dropout", "p": 0.5}]},
            {"type": "global_avg_pool"}, \(head)
            """),
        ModelCase(
            "on the input", "[7]", #"{"type": "dropout", "p": 0.5}, {"type": "linear", "out_features": 3}"#),
        ModelCase(
            "behind an embedding", "[5]",
            """
            {"type": "embedding", "vocabulary": 6, "width": 4}, {"type": "positional_embedding"},
            {"type": "dropout", "p": 0.3}, {"type": "linear", "out_features": 4},
            {"type": "dropout", "p": 0.5}
            """),
    ]

    /// The masks that the kernel draws for a step, in PyTorch's order.
    private static func masks(_ subject: Subject, _ state: StepState) throws -> [Graph.NodeID: [Double]] {
        var masks: [Graph.NodeID: [Double]] = [:]
        for id in subject.graph.nodeIDs {
            guard case .dropout(let probability) = subject.graph[id].operation else { continue }
            let value = subject.graph[subject.graph[id].output]
            let count = subject.batch * value.shape.elementCount
            let kernel = Elementwise.dropout(
                count: count, probability: Float(probability), layer: UInt32(id.index),
                purpose: RandomPurpose.dropout.rawValue)
            let arena = try Arena(byteCount: 64 + count * 4)
            let slots = [Slot(offset: 0, byteCount: 64), Slot(offset: 64, byteCount: count * 4)]
            state.store(to: slots[0], in: arena)
            arena.write([Float](repeating: 1, count: count), to: slots[1])
            for (operand, slot) in [0, 1, 1].enumerated() {
                try kernel.bind(operand, to: slots[slot], in: arena)
            }
            try kernel.run()
            let mask = arena.read(slots[1], as: Float.self).map { Double($0) }
            masks[id] = logicalOrder(mask, of: value, batch: subject.batch)
        }
        return masks
    }

    @Test("passes the gradients of what it kept", arguments: cases, [true, false])
    func gradients(subject: ModelCase, fuses: Bool) throws {
        var probe = try Subject(subject.model, batch: subject.batch)
        let state = probe.state(seed: 5, step: 9)
        probe.reference.dropoutMasks = try Self.masks(probe, state)
        var lowering = LoweringOptions()
        lowering.fuses = fuses
        let kind = LossKind.crossEntropy(labelSmoothing: 0)
        let run = try GradientRun(probe, kind, lowering, state: state)
        let expected = probe.loss(kind, probe.reference)
        #expect(abs(run.loss - expected) < 1e-5 * max(1, expected))
        let values = probe.reference.values(probe.input, batch: probe.batch)
        for (id, gradient) in run.gradients {
            GradientTests.checkDirection(gradient, of: id, probe, kind, values)
        }
    }

    @Test("draws a mask of its own for every layer and step")
    func masksDiffer() throws {
        let layers = #"{"type": "dropout"}, {"type": "dropout"}, {"type": "linear", "out_features": 2}"#
        let probe = try Subject(ModelCase("", "[200]", layers).model, batch: 10)
        let masks = try [0, 1].flatMap { step in
            try Self.masks(probe, probe.state(step: step)).sorted { $0.key.index < $1.key.index }.map(\.value)
        }
        #expect(Set(masks).count == 4)
        // 2,000 draws of a half: 0.5 ± 0.011, of which six deviations are 0.067.
        for mask in masks { #expect(abs(mask.reduce(0, +) / 4000 - 0.5) < 0.067) }
    }
}
