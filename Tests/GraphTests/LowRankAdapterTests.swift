import JSON
import Tensor
import TestSupport
import Testing

@testable import Graph

@Suite("Low-rank adapters") struct LowRankAdapterTests {
    private static let transformer = """
        {"type": "embedding", "vocabulary": 11, "width": 8, "name": "table"},
        {"type": "multi_head_attention", "heads": 2, "name": "mha"},
        {"type": "layer_norm", "name": "norm"},
        {"type": "linear", "out_features": 6, "name": "up"}, {"type": "gelu"},
        {"type": "linear", "out_features": 8, "name": "down"},
        {"type": "linear", "out_features": 11, "bias": false, "name": "head"}
        """

    private static func violations(_ graph: Graph, _ adapters: LowRankAdapters) -> [Violation] {
        do {
            _ = try graph.adapted(by: adapters, at: "/train/lora")
            return []
        } catch { return error.violations }
    }

    @Test("stand beside every linear layer but the one that makes the output")
    func defaultTargets() throws {
        let graph = try readGraph([5], Self.transformer)
        let adapted = try graph.adapted(by: LowRankAdapters(rank: 2), at: "")
        #expect(adapted.adapters.map(\.layer) == ["mha.in_proj", "mha.out_proj", "up", "down"])
        let own = graph.parameters.map(\.name)
        #expect(adapted.parameters.prefix(own.count).map(\.name) == own)
        let trained = adapted.parameters.filter(\.isTrained)
        #expect(
            trained.map(\.name)
                == adapted.adapters.flatMap { ["\($0.layer).lora_A.weight", "\($0.layer).lora_B.weight"] })
        #expect(trained.prefix(2).map(\.shape.dimensions) == [[2, 8], [24, 2]])
        #expect(adapted.outputShape == graph.outputShape)
    }

    @Test("take names and patterns, biases and norms when they are asked for")
    func chosenTargets() throws {
        let graph = try readGraph([5], Self.transformer)
        var adapters = LowRankAdapters(rank: 1, targets: ["mha.*", "*ead"])
        (adapters.trainsBias, adapters.trainsNorm) = (true, true)
        let adapted = try graph.adapted(by: adapters, at: "")
        #expect(adapted.adapters.map(\.layer) == ["mha.in_proj", "mha.out_proj", "head"])
        let frozen = adapted.parameters.filter { !$0.isTrained }
        #expect(frozen.allSatisfy { $0.role == .weight || $0.role == .embedding })
        #expect(frozen.count == 6)
    }

    @Test(
        "patterns match as wildcards do",
        arguments: [
            ("block1.fc", "block1.fc", true), ("block1.fc", "block*.fc", true), ("block1.fc", "*", true),
            ("block1.fc", "fc", false), ("block1.fc", "block*", true), ("block1.fc", "*.f", false),
            ("aab", "*ab", true), ("abab", "a*ab*", true), ("", "*", true), ("a", "", false),
        ])
    func patterns(name: String, pattern: String, matches: Bool) {
        #expect(LowRankAdapters.matches(name, pattern) == matches)
    }

    @Test("add to a product what merging them into its weight adds", arguments: [1.0, 6.0])
    func mergingIsTheSame(alpha: Double) throws {
        for (input, layers) in [
            ([5], Self.transformer),
            (
                [2, 3, 4],
                """
                {"type": "conv2d", "out_channels": 3, "kernel_size": 2}, {"type": "flatten"},
                {"type": "linear", "out_features": 5}, {"type": "relu"}, {"type": "linear", "out_features": 3}
                """
            ),
        ] {
            let graph = try readGraph(input, layers)
            let adapters = LowRankAdapters(rank: 3, alpha: alpha)
            let adapted = try graph.adapted(by: adapters, at: "")
            var random = CounterRandom(seed: 5, purpose: .test)
            let parameters = adapted.parameters.map { parameter in
                (0..<parameter.shape.elementCount).map { _ in Double(random.uniform()) - 0.5 }
            }
            var merged = Array(parameters.prefix(graph.parameters.count))
            for adapter in adapted.adapters {
                let (rows, columns) = (adapted[adapter.up].shape[0], adapted[adapter.down].shape[1])
                let (down, up) = (parameters[adapter.down.index], parameters[adapter.up.index])
                for row in 0..<rows {
                    for column in 0..<columns {
                        let sum = (0..<3).reduce(0) { $0 + up[row * 3 + $1] * down[$1 * columns + column] }
                        merged[adapter.weight.index][row * columns + column] += alpha / 3 * sum
                    }
                }
            }
            let batch = (0..<(2 * graph.inputShape.elementCount)).map { _ in Double(random.below(11)) }
            let own = ReferenceModel(graph, parameters: merged).forward(batch, batch: 2)
            let beside = ReferenceModel(adapted, parameters: parameters).forward(batch, batch: 2)
            // Sums of fewer than 100 float64 terms, through a few layers, of numbers below 100.
            #expect(zip(own, beside).allSatisfy { abs($0 - $1) < 1e-9 })
            #expect(own.contains { abs($0) > 1e-3 })
        }
    }

    @Test("are refused where no layer has their name or their rank is too large, with the place")
    func refusals() throws {
        let graph = try readGraph([5], Self.transformer)
        let unknown = Self.violations(graph, LowRankAdapters(rank: 7, targets: ["up", "side"]))
        #expect(unknown.map(\.pointer) == ["/train/lora/targets/1", "/train/lora/rank"])
        #expect(unknown.map(\.code) == ["unknown_layer", "out_of_range"])
        #expect(unknown.last?.detail == "up takes a rank of at most 6, found 7")
        let alone = try readGraph([4], #"{"type": "linear", "out_features": 3, "name": "only"}"#)
        let none = Self.violations(alone, LowRankAdapters(rank: 1))
        #expect(none.map(\.pointer) == ["/train/lora/targets"])
        #expect(none.first?.detail.contains("\"only\"") == true)
        #expect(Self.violations(alone, LowRankAdapters(rank: 1, targets: ["only"])).isEmpty)
    }

    @Test("are refused beside a weight that layers share: merging would change them all")
    func sharedWeight() throws {
        let graph = try readGraph(
            [5],
            """
            {"type": "linear", "out_features": 5, "name": "one"},
            {"type": "linear", "out_features": 5, "name": "two", "tied_to": "one"},
            {"type": "linear", "out_features": 3, "name": "head"}
            """)
        let found = Self.violations(graph, LowRankAdapters(rank: 1, targets: ["two"]))
        #expect(found.map(\.pointer) == ["/train/lora/targets/0"])
    }

    @Test("cost what their own products take, and no gradient of what is frozen")
    func cost() throws {
        let graph = try makeGraph([10], .linear(.init(outFeatures: 10)), .linear(.init(outFeatures: 2)))
        let adapted = try graph.adapted(by: LowRankAdapters(rank: 3, targets: ["layer0"]), at: "")
        let cost = CostModel(of: adapted)
        // 100 and 20 of the layers, 30 and 30 of the adapter.
        #expect(cost.macsPerSample == 180)
        // The head hands its gradient back (20); A learns (30); B learns and hands back (60).
        #expect(cost.trainingMacsPerSample == 180 + 20 + 30 + 60)
    }
}
