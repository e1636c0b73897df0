import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Each plan reads weights in the layout that its batch likes") struct LayoutTests {
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0)

    /// Its second convolution is computed by tiles where there are samples enough.
    private static let convolutions = """
        {"input": [1, 20, 20], "layers": [
         {"type": "conv2d", "out_channels": 13, "kernel_size": 5}, {"type": "max_pool2d", "kernel_size": 2},
         {"type": "conv2d", "out_channels": 18, "kernel_size": 3, "padding": 1}, {"type": "relu"},
         {"type": "flatten"}, {"type": "linear", "out_features": 70}, {"type": "relu"},
         {"type": "linear", "out_features": 3}]}
        """
    /// A normalisation is folded into the layer in front of it.
    private static let folded = """
        {"input": [12, 8, 8], "layers": [
         {"type": "conv2d", "out_channels": 16, "kernel_size": 3, "padding": 1}, {"type": "batch_norm"},
         {"type": "relu"}, {"type": "conv2d", "out_channels": 20, "kernel_size": 1}, {"type": "relu"},
         {"type": "flatten"}, {"type": "linear", "out_features": 3}]}
        """

    private static func program(
        _ graph: Graph, evaluating batches: [Int], training: [Int] = [], bytes: Int? = nil
    ) throws -> Program {
        var lowering = LoweringOptions()
        if let bytes { lowering.layoutByteCountMax = bytes }
        return try Program(
            graph,
            .init(
                loss: loss, optimizer: .sgd(), trainingBatches: training, evaluationBatches: batches,
                lowering: lowering), on: DNNEngine())
    }

    private static func output(_ program: Program, _ probe: Subject) throws -> [Float] {
        let plan = try #require(program.evaluationPlan(batch: probe.batch))
        let batch = try probe.delivered(loss)
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        _ = try plan.run(probe.state())
        return plan.output()
    }

    /// Sums of at most 2^11 products in another order, through a few layers, and of transformed tiles, whose
    /// error is 5e-6 of the largest value.
    @Test("and answers as with one layout, also behind a change", arguments: [convolutions, folded])
    func agree(model: String) throws {
        let batches = [1, 3, 64]
        let graph = try Subject(model, batch: 1, seed: 3).graph
        let programs = [
            try Self.program(graph, evaluating: batches),
            try Self.program(graph, evaluating: batches, bytes: 0),
        ]
        for program in programs { try program.allocate() }
        for seed in [3, 8] as [UInt64] {
            for batch in batches {
                let probe = try Subject(model, batch: batch, seed: seed)
                let parameters = try Subject(model, batch: 1, seed: seed).reference.parameters
                for (id, values) in zip(graph.parameterIDs, parameters) {
                    for program in programs { try program.write(values.map { Float($0) }, to: id) }
                }
                let outputs = try programs.map { try Self.output($0, probe) }
                let scale = max(outputs[1].map(abs).max() ?? 0, 1)
                #expect(outputs[0].count == 3 * batch)
                #expect(zip(outputs[0], outputs[1]).allSatisfy { abs($0 - $1) <= 2e-5 * scale })
            }
        }
    }

    @Test("by the calls of a program for that batch alone, whatever else the program runs")
    func calls() throws {
        let graph = try Subject(Self.convolutions, batch: 1, seed: 3).graph
        let both = try Self.program(graph, evaluating: [1, 64])
        for batch in [1, 64] {
            let alone = try Self.program(graph, evaluating: [batch])
            let (found, wanted) = (both.evaluationPlan(batch: batch), alone.evaluationPlan(batch: batch))
            #expect(try #require(found).summary == #require(wanted).summary)
        }
    }

    @Test("which takes bytes for layouts that differ, and for no others", arguments: [convolutions, folded])
    func bytes(model: String) throws {
        let graph = try Subject(model, batch: 1, seed: 3).graph
        let (few, many) = (
            try Self.program(graph, evaluating: [1]).store, try Self.program(graph, evaluating: [64]).store
        )
        var others: [Int] = []
        for id in graph.parameterIDs where few[id].layout != many[id].layout {
            let readers = graph.nodes.filter { graph.parameter(.weight, of: $0) == id }
            let isFolded = readers.contains { node in
                graph.consumers(of: node.output).contains {
                    if case .batchNorm = graph[$0].operation { true } else { false }
                }
            }
            if !isFolded { others.append(few[id].layout.byteCount) }
        }
        // A normalisation's layer is cut from what it was folded into, and keeps none of its own.
        #expect(others.isEmpty == (model == Self.folded))
        let aligned = others.map { ($0 + Arena.alignment - 1) / Arena.alignment * Arena.alignment }
        let sum = aligned.reduce(0, +)
        let both = try Self.program(graph, evaluating: [1, 64])
        #expect(both.store.byteCount == many.byteCount + sum)
        // Sizes that agree share theirs; many samples lie as the most do.
        let three = try Self.program(graph, evaluating: [1, 1, 32, 64])
        #expect(three.store.byteCount == both.store.byteCount)
        // What does not fit is left out.
        let least = others.min() ?? 1
        #expect(
            try Self.program(graph, evaluating: [1, 64], bytes: least - 1).store.byteCount == many.byteCount)
        let fits = try Self.program(graph, evaluating: [1, 64], bytes: others.reduce(0, +))
        #expect(fits.store.byteCount == both.store.byteCount)
        // Training has one of everything.
        #expect(
            try Self.program(graph, evaluating: [1, 64], training: [64]).store.byteCount
                == Self.program(graph, evaluating: [1, 64], training: [64], bytes: 0).store.byteCount)
        // The arena has room for both plans behind all layouts.
        let summary = try #require(both.evaluationPlan(batch: 1)).overview
        #expect(summary.byteCount >= both.store.byteCount && both.byteCount >= summary.byteCount)
    }
}
