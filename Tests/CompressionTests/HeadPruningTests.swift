import Compression
import Graph
import JSON
import Tensor
import TestSupport
import Testing

extension ShrinkingCase {
    /// Attention in every form, whose heads go.
    static let transformers = [
        ShrinkingCase(
            "bert",
            preset: """
                {"preset": "bert", "layers": 2, "heads": 4, "width": 16, "context": 7, "vocabulary": 11,
                 "classes": 3}
                """, pruned: ["block1.attn.in_proj", "block2.attn.in_proj", "block2.mlp.fc1"]),
        ShrinkingCase(
            "padded tokens, causal and turned, without biases", "[7]",
            """
            {"type": "embedding", "name": "embedding", "vocabulary": 5, "width": 8, "padding_idx": 0},
            {"type": "transformer_block", "name": "block", "heads": 4, "causal": true, "rotary": 100,
             "bias": false, "norm": "rms_norm", "activation": "silu"},
            {"type": "global_avg_pool"}, {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["block.attn.in_proj", "block.mlp.fc1"]),
        ShrinkingCase(
            "heads that are wider than their share, norms behind the sums", "[5, 6]",
            """
            {"type": "linear", "name": "first", "out_features": 6},
            {"type": "transformer_block", "name": "block", "heads": 3, "head_dim": 4, "rotary": 10000,
             "pre_norm": false, "mlp_ratio": 1.5},
            {"type": "flatten"}, {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["block.attn.in_proj", "block.mlp.fc1"]),
        ShrinkingCase(
            "attention behind attention, without a norm or a way round", "[5, 6]",
            """
            {"type": "multi_head_attention", "name": "one", "heads": 2},
            {"type": "linear", "name": "mix", "out_features": 9}, {"type": "relu"},
            {"type": "linear", "name": "back", "out_features": 4},
            {"type": "multi_head_attention", "name": "two", "heads": 4, "causal": true},
            {"type": "select_token", "index": -1}, {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["one.in_proj", "two.in_proj", "mix"]),
    ]
}

@Suite("Heads are pruned as channels are") struct HeadPruningTests {
    static let width = 12
    static let heads = 4

    /// Four heads of three columns.
    static let block = """
        {"type": "transformer_block", "name": "block", "heads": 4, "causal": true},
        {"type": "global_avg_pool"}, {"type": "linear", "name": "head", "out_features": 3}
        """

    private func selection(_ text: String, _ model: ModelSpec) throws -> ChannelSelection {
        let (options, wrong) = try pruneOptions(text)
        #expect(wrong.isEmpty, "\(wrong)")
        return try ChannelSelection(options, graph: model.graph, at: "/prune", seed: 1)
    }

    private func index(_ name: String, _ graph: Graph) throws -> Int {
        try #require(graph.parameters.firstIndex { $0.name == name })
    }

    /// The heads whose rows of a parameter stay; `axis` is where they lie.
    private func kept(_ choice: ChannelChoice, _ name: String, axis: Int) throws -> [Int] {
        let graph = choice.groups.graph
        let id = graph.parameterIDs[try index(name, graph)]
        let places = choice.kept(id, axis: axis) ?? Array(0..<graph[id].shape[axis])
        let size = Self.width / Self.heads
        let found = Set(places.map { $0 % Self.width / size })
        // All of a head's places, or none.
        let parts = graph[id].shape[axis] / Self.width
        #expect(places.count == found.count * size * parts, "\(name)")
        return found.sorted()
    }

    static let parts = [
        ("block.attn.in_proj_weight", 0), ("block.attn.in_proj_bias", 0), ("block.attn.out_proj.weight", 1),
    ]

    /// What each head adds up to, over all that belongs to it, by loops that know nothing of units.
    private func scores(
        _ graph: Graph, _ numbers: [[Float]], isEuclidean: Bool, _ term: (Double) -> Double
    ) throws -> [Double] {
        let size = Self.width / Self.heads
        var scores = [Double](repeating: 0, count: Self.heads)
        for (name, axis) in Self.parts {
            let place = try index(name, graph)
            let shape = graph.parameters[place].shape.dimensions
            let across = shape.count == 1 ? 1 : shape[1 - axis]
            for line in 0..<shape[axis] {
                let elements = (0..<across).map { other in
                    axis == 0 ? line * across + other : other * shape[1] + line
                }
                let sum = elements.reduce(0) { $0 + term(Double(numbers[place][$1])) }
                scores[line % Self.width / size] += isEuclidean ? sum.squareRoot() : sum
            }
        }
        return scores
    }

    static let criteria = [
        #"{"criterion": "magnitude""#, #"{"criterion": "magnitude", "norm": "l2""#,
        #"{"criterion": "taylor""#,
        #"{"criterion": "snip""#, #"{"criterion": "movement""#,
    ]

    @Test("by what all of their numbers add up to", arguments: criteria.indices, ["global", "layer"])
    func ranking(index: Int, scope: String) throws {
        let model = try layered("[5, 12]", Self.block)
        let numbers = randomParameters(model.graph, seed: UInt64(20 + index))
        let text =
            Self.criteria[index] + """
                , "structure": "channel", "scope": "\(scope)", "exclude": ["*.mlp", "output"]}
                """
        let selection = try selection(text, model)
        let choice = try selection.choose(byParameter(model.graph, numbers))
        let isEuclidean = selection.options.norm == .l2
        let sums = try scores(model.graph, numbers, isEuclidean: isEuclidean) { number in
            switch selection.options.criterion {
            case .taylor, .movement: number
            default: isEuclidean ? number * number : abs(number)
            }
        }
        let ranked = selection.options.criterion == .taylor ? sums.map(abs) : sums
        let expected = ranked.indices.sorted { ranked[$0] < ranked[$1] }.suffix(2).sorted()
        for (name, axis) in Self.parts { #expect(try kept(choice, name, axis: axis) == expected, "\(name)") }
    }

    @Test("their masks cover all that is removed, and nothing else") func masks() throws {
        let model = try layered("[5, 12]", Self.block)
        let numbers = byParameter(model.graph, randomParameters(model.graph, seed: 4))
        let text = """
            {"structure": "channel", "criterion": "random", "exclude": ["block.mlp", "output"],
             "per_layer": {"block.attn.in_proj": 0.25}}
            """
        let choice = try selection(text, model).choose(numbers)
        #expect(choice.sparsity > 0 && choice.removed.count == 1)
        let counts = choice.masks.map { id, mask in
            (model.graph[id].name, mask.count - mask.keptCount)
        }
        #expect(
            Dictionary(uniqueKeysWithValues: counts) == [
                "block.attn.in_proj_weight": 9 * 12, "block.attn.in_proj_bias": 9,
                "block.attn.out_proj.weight": 12 * 3,
            ])
    }

    @Test("one stays, and rounding and least counts of channels are not theirs") func limits() throws {
        let model = try layered("[5, 12]", Self.block)
        let numbers = byParameter(model.graph, randomParameters(model.graph, seed: 5))
        let choice = try selection(
            """
            {"structure": "channel", "scope": "layer", "target_sparsity": 0.7, "round_to": 8,
             "min_channels": 32}
            """, model
        ).choose(numbers)
        #expect(try kept(choice, "block.attn.in_proj_weight", axis: 0).count == 1)
        let hidden = model.graph.parameterIDs[try index("block.mlp.fc1.weight", model.graph)]
        #expect(choice.kept(hidden, axis: 0)?.count == 32)
        let most = try selection(
            #"{"structure": "channel", "scope": "layer", "target_sparsity": 0.97}"#, model
        ).choose(numbers)
        #expect(try kept(most, "block.attn.out_proj.weight", axis: 1).count == 1)
        let none = try selection(
            #"{"structure": "channel", "scope": "layer", "exclude": ["block.attn", "output"]}"#, model
        ).choose(numbers)
        #expect(try kept(none, "block.attn.in_proj_weight", axis: 0) == [0, 1, 2, 3])
        #expect(none.kept(hidden, axis: 0)?.count == 24)
    }

    @Test("what cannot be is pointed at") func refusals() throws {
        let model = try layered("[5, 12]", Self.block)
        let one = try layered("[5, 12]", Self.block.replacing("\"heads\": 4", with: "\"heads\": 1"))
        let cases = [
            (
                model, #"{"block.attn.in_proj": 0.9}, "max_per_layer": 1"#,
                "0.9 leaves none of the 4 heads of block.attn.in_proj"
            ),
            (
                model, #"{"block.attn.in_proj": 0.5}, "max_per_layer": 0.4, "target_sparsity": 0.3"#,
                "block.attn.in_proj may lose from 0.0 to 0.4 of its heads, found 0.5"
            ),
            (one, #"{"block.attn.in_proj": 0.5}"#, "\"block.attn.in_proj\" has one head, which stays"),
            (
                model, #"{"block.attn.out_proj": 0.5}"#,
                "no channel of \"block.attn.out_proj\" can go: the model's input"
            ),
        ]
        for (model, perLayer, detail) in cases {
            let found = violations {
                try selection(#"{"structure": "channel", "per_layer": \#(perLayer)}"#, model)
            }
            #expect(found.map(\.detail) == [detail])
            #expect(found.first?.pointer.hasPrefix("/prune/per_layer/block.attn") == true, "\(found)")
        }
        let total = violations {
            try selection(#"{"structure": "channel", "target_sparsity": 0.98}"#, model)
        }
        #expect(
            total.map(\.detail) == ["0.98 are 51 of 52 channels and heads; the layers' limits allow 50"])
    }

    @Test("a constraint counts them, and one less would not meet it") func constraint() throws {
        let model = try layered("[5, 12]", Self.block)
        let numbers = byParameter(model.graph, randomParameters(model.graph, seed: 8))
        for metric in ["macs", "params", "bytes"] {
            let selection = try selection(
                """
                {"structure": "channel", "constraint": {"\(metric)": "90%"},
                 "exclude": ["block.mlp", "output"]}
                """, model)
            let found = try ConstraintSearch(selection, of: model, numbers: numbers).run { _ in 0 }
            func size(_ heads: Int) -> Double {
                // Projections of 3 + 1 times the heads' width, attention of 15 pairs twice, perceptron, head.
                let inner = 3 * heads
                let weights = 4 * inner * 12 + 2 * 12 * 48 + 12 * 3
                let small = 3 * inner + 12 + 48 + 12 + 4 * 12 + 3
                return metric == "macs"
                    ? Double(5 * (4 * inner * 12 + 2 * 12 * 48) + 2 * 15 * inner + 36)
                    : Double(weights + small)
            }
            let left = CostModel(of: found.shrinking.model.graph)
            let expected = try #require((1...4).last(where: { size($0) <= 0.9 * size(4) }))
            #expect(Double(metric == "macs" ? left.macsPerSample : left.parameters) == size(expected))
            #expect(found.choice.removed.count == 4 - expected)
        }
    }

    @Test("what is left is pruned again like any other model") func again() throws {
        var model = try layered("[5, 12]", Self.block)
        var parameters = randomParameters(model.graph, seed: 9)
        for left in [3, 2] {
            let choice = try selection(
                #"{"structure": "channel", "scope": "layer", "target_sparsity": 0.3}"#, model
            ).choose(byParameter(model.graph, parameters))
            let shrinking = try Shrinking(choice, of: model)
            let small = try shrinking.slice(parameters)
            expectEqual(
                outputs(model.graph, masked(parameters, choice)), outputs(shrinking.model.graph, small))
            (model, parameters) = (shrinking.model, small)
            guard case .transformerBlock(let block) = model.layers[0].kind else {
                Issue.record("the block is gone")
                return
            }
            #expect(block.attention.heads == left && block.attention.headWidth == 3)
        }
    }

    @Test("those that masks have emptied go, and their constants are carried")
    func deadHeads() throws {
        let model = try layered(
            "[5, 12]", Self.block.replacing("\"causal\": true", with: "\"head_dim\": 2, \"rotary\": 50"))
        var parameters = randomParameters(model.graph, seed: 10)
        let graph = model.graph
        let (weight, output) = try (
            index("block.attn.in_proj_weight", graph), index("block.attn.out_proj.weight", graph)
        )
        // Four heads of two columns: nothing reads the second, the last has values of a constant.
        for element in parameters[output].indices where element % 8 / 2 == 1 {
            parameters[output][element] = 0
        }
        for element in (2 * 8 + 6) * 12..<24 * 12 { parameters[weight][element] = 0 }
        let found = try DeadChannels(in: ChannelGroups(graph), parameters: parameters)
        #expect(
            found.choice.kept(graph.parameterIDs[weight], axis: 0)
                == [0, 8, 16].flatMap { part in [0, 1, 4, 5].map { part + $0 } })
        #expect(found.parameters != parameters)
        let shrinking = try Shrinking(found.choice, of: model)
        // Biases that take up a constant are rounded to float32: 6e-8 of each, of a few.
        expectEqual(
            outputs(graph, parameters),
            outputs(shrinking.model.graph, try shrinking.slice(found.parameters)), within: 1e-6)
        // One value that depends on the input keeps its head.
        parameters[weight][(2 * 8 + 7) * 12 + 5] = 0.5
        let alive = try DeadChannels(in: ChannelGroups(graph), parameters: parameters)
        #expect(alive.choice.removed.count == 1)
    }
}
