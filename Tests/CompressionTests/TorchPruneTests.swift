import Compression
import Foundation
import Graph
import JSON
import Tensor
import TestSupport
import Testing

@Suite("Masks are those of torch.nn.utils.prune") struct TorchPruneTests {
    private struct Case {
        let method: String
        let shape: [Int]
        let options: PruneOptions
        let weights: [[Float]]
        let masks: [[UInt8]]

        init(_ value: JSONValue) throws {
            method = try #require(value["method"]?.stringValue)
            shape = try #require(value["shape"]?.arrayValue).compactMap(\.intValue)
            weights = try #require(value["weights"]?.arrayValue).map { list in
                try #require(list.arrayValue).compactMap { $0.doubleValue.map { Float($0) } }
            }
            masks = try #require(value["masks"]?.arrayValue).map { bits in
                try #require(bits.stringValue).utf8.map { $0 - UInt8(ascii: "0") }
            }
            var options = PruneOptions()
            options.targetSparsity = try #require(value["amount"]?.doubleValue)
            (options.exclude, options.maxPerLayer) = ([], 1)
            options.norm = value["norm"]?.intValue == 2 ? .l2 : .l1
            self.options = options
        }

        /// PyTorch may empty a layer; we never do.
        var isEmptied: Bool { masks.contains { !$0.contains(1) } }
    }

    private func cases(_ method: String) throws -> [Case] {
        let text = try String(contentsOfFile: Fixture.path("prune.json"), encoding: .utf8)
        let list = try #require(try JSONValue(parsing: text).arrayValue)
        return try list.map(Case.init).filter { $0.method == method }
    }

    /// A layer whose weight has a shape, as fc or conv.
    private func layer(_ shape: [Int], tail: String = "") throws -> Graph {
        guard shape.count == 4 else {
            return try layered(
                "[\(shape[1])]", #"{"type": "linear", "name": "fc", "out_features": \#(shape[0])}"# + tail
            ).graph
        }
        return try layered(
            "[\(shape[1]), 6, 6]",
            """
            {"type": "conv2d", "name": "conv", "out_channels": \(shape[0]),
             "kernel_size": [\(shape[2]), \(shape[3])]}
            """ + (tail.isEmpty ? "" : #", {"type": "flatten"}"# + tail)
        ).graph
    }

    @Test("l1_unstructured, of several shapes and amounts") func unstructured() throws {
        let cases = try cases("l1_unstructured")
        var compared = 0
        for item in cases where !item.isEmptied {
            var options = item.options
            options.scope = .layer
            let graph = try layer(item.shape)
            let selection = MaskSelection(
                options, targets: try options.targets(in: graph, at: ""), graph: graph, seed: 0)
            let weight = graph.parameterIDs[0]
            let masks = try selection.masks([weight: item.weights[0]])
            #expect(masks[weight]?.elements == item.masks[0], "\(item.shape)")
            compared += 1
        }
        #expect(compared > 40)
    }

    @Test("global_unstructured") func global() throws {
        var compared = 0
        for item in try cases("global_unstructured") where !item.isEmptied {
            let graph = try layered(
                "[5]",
                """
                {"type": "linear", "out_features": 6, "bias": false},
                {"type": "linear", "out_features": 4, "bias": false},
                {"type": "linear", "out_features": 3, "bias": false}
                """
            ).graph
            let selection = MaskSelection(
                item.options, targets: try item.options.targets(in: graph, at: ""), graph: graph, seed: 0)
            let masks = try selection.masks(byParameter(graph, item.weights))
            for (id, wanted) in zip(graph.parameterIDs, item.masks) {
                #expect(masks[id]?.elements == wanted)
            }
            compared += 1
        }
        #expect(compared >= 4)
    }

    @Test("ln_structured along the first axis") func structured() throws {
        var compared = 0
        for item in try cases("ln_structured") where item.shape[0] > 1 && !item.isEmptied {
            var options = item.options
            (options.structure, options.scope, options.exclude) = (.channel, .layer, ["head"])
            let graph = try layer(
                item.shape, tail: #", {"type": "linear", "name": "head", "out_features": 2}"#)
            let selection = try ChannelSelection(options, graph: graph, at: "", seed: 0)
            let weight = graph.parameterIDs[0]
            var numbers = byParameter(graph, randomParameters(graph, seed: 1))
            numbers[weight] = item.weights[0]
            let choice = try selection.choose(numbers)
            let kept = choice.kept(weight, axis: 0) ?? Array(0..<item.shape[0])
            let size = item.weights[0].count / item.shape[0]
            let wanted = (0..<item.shape[0]).filter { item.masks[0][$0 * size] == 1 }
            #expect(kept == wanted, "\(item.shape)")
            compared += 1
        }
        #expect(compared > 10)
    }
}
