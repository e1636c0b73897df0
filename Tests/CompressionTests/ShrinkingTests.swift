import Compression
import Graph
import JSON
import Tensor
import TestSupport
import Testing

/// Models, in the layer language or by preset, whose channels are pruned and removed.
struct ShrinkingCase: Sendable, CustomTestStringConvertible {
    let name: String
    let text: String
    /// Layers that must have lost channels.
    let pruned: [String]

    var testDescription: String { name }

    init(_ name: String, preset: String, pruned: [String]) {
        (self.name, self.text, self.pruned) = (name, preset, pruned)
    }

    init(_ name: String, _ input: String, _ layers: String, pruned: [String]) {
        self.init(name, preset: #"{"input": \#(input), "layers": [\#(layers)]}"#, pruned: pruned)
    }

    static let all = presets + networks + shapes + transformers

    static let presets = [
        ShrinkingCase(
            "lenet_5_caffe", preset: #"{"preset": "lenet5_caffe", "input": [1, 20, 20], "classes": 10}"#,
            pruned: ["conv1", "conv2", "fc1"]),
        ShrinkingCase(
            "lenet_300_100", preset: #"{"preset": "lenet_300_100", "input": [1, 8, 8], "classes": 10}"#,
            pruned: ["fc1", "fc2"]),
        ShrinkingCase(
            "resnet8", preset: #"{"preset": "resnet8", "input": [3, 8, 8], "classes": 10}"#,
            pruned: ["conv1", "block1.conv1", "block2.shortcut.conv1", "block3.conv2"]),
        ShrinkingCase(
            "resnet20", preset: #"{"preset": "resnet20", "input": [3, 8, 8], "classes": 10}"#,
            pruned: ["block9.conv1", "block9.conv2"]),
        ShrinkingCase(
            "mobilenet_v1",
            preset: #"{"preset": "mobilenet_v1", "width": 0.25, "input": [3, 16, 16], "classes": 10}"#,
            pruned: ["conv1", "block1.depthwise", "block13.pointwise"]),
        ShrinkingCase(
            "separable5", preset: #"{"preset": "separable5", "input": [3, 6, 6], "classes": 10}"#,
            pruned: ["conv1", "block5.pointwise"]),
        ShrinkingCase(
            "gpt",
            preset: """
                {"preset": "gpt", "layers": 2, "heads": 2, "width": 16, "context": 6, "vocabulary": 13,
                 "bias": true}
                """, pruned: ["block1.mlp.fc1", "block2.mlp.fc1", "block1.attn.in_proj"]),
        ShrinkingCase(
            "vit_tiny",
            preset: """
                {"preset": "vit_tiny", "input": [3, 12, 12], "patch": 4, "width": 12, "depth": 2, "heads": 3,
                 "classes": 5}
                """, pruned: ["block1.mlp.fc1", "block2.attn.in_proj"]),
    ]

    static let networks = [
        // Of as many channels as groups, and yet no depthwise convolution.
        ShrinkingCase(
            "convolutions of one channel", "[1, 8, 8]",
            """
            {"type": "conv2d", "name": "one", "out_channels": 1, "kernel_size": 3},
            {"type": "conv2d", "name": "wide", "out_channels": 6, "kernel_size": 3}, {"type": "relu"},
            {"type": "conv2d", "name": "narrow", "out_channels": 1, "kernel_size": 1}, {"type": "relu"},
            {"type": "conv2d", "name": "last", "out_channels": 4, "kernel_size": 1}, {"type": "tanh"},
            {"type": "flatten"}, {"type": "linear", "name": "out", "out_features": 3}
            """, pruned: ["wide", "last"]),
        ShrinkingCase(
            "a U-Net with a concatenation", "[2, 8, 8]",
            """
            {"type": "conv2d", "name": "down", "out_channels": 8, "kernel_size": 3, "padding": 1},
            {"type": "batch_norm"}, {"type": "relu", "name": "skip"},
            {"type": "max_pool2d", "kernel_size": 2},
            {"type": "conv2d", "name": "deep", "out_channels": 10, "kernel_size": 3, "padding": 1},
            {"type": "silu"},
            {"type": "conv_transpose2d", "name": "up", "out_channels": 6, "kernel_size": 2, "stride": 2},
            {"type": "concat", "name": "joined", "inputs": ["up", "skip"]},
            {"type": "conv2d", "name": "merge", "out_channels": 9, "kernel_size": 3, "padding": 1},
            {"type": "gelu"}, {"type": "conv2d", "name": "mask", "out_channels": 2, "kernel_size": 1}
            """, pruned: ["down", "deep", "up", "merge"]),
        ShrinkingCase(
            "squeeze and excite", "[3, 6, 6]",
            """
            {"type": "conv2d", "name": "conv", "out_channels": 16, "kernel_size": 3}, {"type": "batch_norm"},
            {"type": "squeeze_excite", "name": "se", "reduction": 4, "activation": "silu"},
            {"type": "conv2d", "name": "next", "out_channels": 8, "kernel_size": 1}, {"type": "sigmoid"},
            {"type": "global_avg_pool"}, {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["conv", "se.fc2", "next"]),
        ShrinkingCase(
            "a gate of one factor for each channel", "[3, 6, 6]",
            """
            {"type": "conv2d", "name": "conv", "out_channels": 10, "kernel_size": 3},
            {"type": "adaptive_avg_pool2d", "name": "pool", "output_size": 1},
            {"type": "conv2d", "name": "gate", "out_channels": 10, "kernel_size": 1},
            {"type": "sigmoid", "name": "weights"},
            {"type": "multiply", "inputs": ["conv", "weights"]}, {"type": "flatten"},
            {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["conv", "gate"]),
        ShrinkingCase(
            "grouped, depthwise with a multiplier, by groups of a convolution", "[4, 7, 7]",
            """
            {"type": "conv2d", "name": "first", "out_channels": 12, "kernel_size": 1},
            {"type": "conv2d", "name": "grouped", "out_channels": 18, "kernel_size": 3, "groups": 3},
            {"type": "depthwise_conv2d", "name": "deep", "kernel_size": 3, "multiplier": 2}, {"type": "relu"},
            {"type": "conv2d", "name": "each", "out_channels": 36, "kernel_size": 1, "groups": 36},
            {"type": "flatten"}, {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["first", "grouped", "deep", "each"]),
        ShrinkingCase(
            "group norms go by their groups, residual sums together", "[3, 5, 5]",
            """
            {"type": "conv2d", "name": "conv", "out_channels": 12, "kernel_size": 3},
            {"type": "group_norm", "name": "norm", "groups": 6},
            {"type": "residual", "name": "block", "layers": [
             {"type": "conv2d", "name": "inner", "out_channels": 7, "kernel_size": 1}, {"type": "tanh"},
             {"type": "conv2d", "name": "outer", "out_channels": 12, "kernel_size": 1}]},
            {"type": "relu"}, {"type": "flatten"}, {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["conv", "block.inner", "block.outer"]),
        ShrinkingCase(
            "signals and a transposed one-channel image", "[2, 11]",
            """
            {"type": "conv1d", "name": "conv", "out_channels": 8, "kernel_size": 3}, {"type": "batch_norm"},
            {"type": "relu"}, {"type": "max_pool1d", "kernel_size": 2},
            {"type": "conv1d", "name": "next", "out_channels": 6, "kernel_size": 2}, {"type": "flatten"},
            {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["conv", "next"]),
    ]

    static let shapes = [
        ShrinkingCase(
            "tokens of a convolution, an embedding without norms", "[3, 8, 8]",
            """
            {"type": "conv2d", "name": "patch", "out_channels": 8, "kernel_size": 4, "stride": 4},
            {"type": "flatten", "start_dim": 1}, {"type": "transpose", "dims": [1, 0]},
            {"type": "class_token"}, {"type": "positional_embedding"},
            {"type": "linear", "name": "mix", "out_features": 9}, {"type": "relu"},
            {"type": "select_token"}, {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["patch", "mix"]),
        ShrinkingCase(
            "a reshape into tokens and back", "[6]",
            """
            {"type": "linear", "name": "wide", "out_features": 24}, {"type": "relu"},
            {"type": "reshape", "name": "tokens", "shape": [4, 6]},
            {"type": "linear", "name": "mix", "out_features": 8}, {"type": "relu"},
            {"type": "reshape", "name": "flat", "shape": [-1]},
            {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["wide", "mix"]),
        ShrinkingCase(
            "a norm over flattened features", "[2, 5, 5]",
            """
            {"type": "conv2d", "name": "conv", "out_channels": 6, "kernel_size": 2}, {"type": "flatten"},
            {"type": "batch_norm"}, {"type": "relu"}, {"type": "linear", "name": "fc", "out_features": 7},
            {"type": "relu"}, {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["conv", "fc"]),
        ShrinkingCase(
            "padded tokens without a norm", "[7]",
            """
            {"type": "embedding", "name": "embedding", "vocabulary": 9, "width": 8, "padding_idx": 0},
            {"type": "linear", "name": "mix", "out_features": 10}, {"type": "relu"},
            {"type": "global_avg_pool"}, {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["mix"]),
        ShrinkingCase(
            "tied linear layers", "[5, 12]",
            """
            {"type": "linear", "name": "in", "out_features": 16}, {"type": "relu"},
            {"type": "linear", "name": "first", "out_features": 16}, {"type": "relu"},
            {"type": "linear", "name": "second", "out_features": 16, "tied_to": "first"}, {"type": "relu"},
            {"type": "global_avg_pool"}, {"type": "linear", "name": "head", "out_features": 3}
            """, pruned: ["in", "first"]),
    ]
}

@Suite("A shrunk model computes what the masked one does") struct ShrinkingTests {
    private func choose(
        _ model: ModelSpec, _ parameters: [[Float]], _ change: (inout PruneOptions) -> Void = { _ in }
    ) throws -> ChannelChoice {
        var options = PruneOptions()
        options.structure = .channel
        change(&options)
        let selection = try ChannelSelection(options, graph: model.graph, at: "/prune", seed: 3)
        return try selection.choose(byParameter(model.graph, parameters))
    }

    private func expectSame(_ model: ModelSpec, _ parameters: [[Float]], _ choice: ChannelChoice) throws {
        let shrinking = try Shrinking(choice, of: model)
        let small = try shrinking.slice(parameters)
        #expect(small.map(\.count) == shrinking.model.graph.parameters.map(\.shape.elementCount))
        // Masking first or slicing first is the same: what is sliced out is what is masked.
        #expect(try shrinking.slice(masked(parameters, choice)) == small)
        expectEqual(
            outputs(model.graph, masked(parameters, choice)), outputs(shrinking.model.graph, small))
        let log = ViolationLog()
        let again = ModelSpec.read(shrinking.model.json, at: "", data: DataShape(), log: log)
        #expect(again == shrinking.model, "\(log.violations)")
    }

    @Test("in every kind of network", arguments: ShrinkingCase.all)
    func equalsTheMasked(item: ShrinkingCase) throws {
        let model = try model(item.text)
        let parameters = randomParameters(model.graph, seed: 11)
        let choice = try choose(model, parameters) { $0.scope = .layer }
        for layer in item.pruned {
            let weight = try #require(
                model.graph.parameterIDs.first { id in
                    [".weight", "_weight"].contains { model.graph[id].name == layer + $0 }
                })
            let isTransposed = layer == "up"
            #expect(choice.kept(weight, axis: isTransposed ? 1 : 0) != nil, "\(layer) lost nothing")
        }
        try expectSame(model, parameters, choice)
        let global = try self.choose(model, parameters) { options in
            (options.criterion, options.targetSparsity) = (.random, 0.7)
        }
        try expectSame(model, parameters, global)
    }

    /// Central differences along a random direction; what is masked moves nowhere.
    @Test("and follows its weights as the masked one does", arguments: ShrinkingCase.all)
    func hasTheSameGradients(item: ShrinkingCase) throws {
        let model = try model(item.text)
        let parameters = randomParameters(model.graph, seed: 11)
        let choice = try choose(model, parameters) { $0.scope = .layer }
        let shrinking = try Shrinking(choice, of: model)
        let direction = randomParameters(model.graph, seed: 12)
        func moved(_ step: Float) -> [[Float]] {
            zip(parameters, direction).map { zip($0, $1).map { $0 + step * $1 } }
        }
        func slope(_ outputs: ([[Float]]) throws -> [Double]) rethrows -> [Double] {
            let step: Float = 0x1p-8
            let (behind, ahead) = (try outputs(moved(-step)), try outputs(moved(step)))
            return zip(behind, ahead).map { ($1 - $0) / Double(2 * step) }
        }
        let whole = slope { outputs(model.graph, masked($0, choice)) }
        let small = try slope { outputs(shrinking.model.graph, try shrinking.slice($0)) }
        #expect(whole.contains { abs($0) > 1e-3 }, "nothing follows")
        expectEqual(whole, small, within: 1e-7)
    }

    @Test("also where hidden units alone go") func squeezeExciteHiddenUnits() throws {
        let item = try #require(ShrinkingCase.networks.first { $0.name == "squeeze and excite" })
        let model = try model(item.text)
        let parameters = randomParameters(model.graph, seed: 2)
        let choice = try choose(model, parameters) { options in
            (options.perLayer, options.exclude) = (["se.fc1": 0.75], ["conv", "next", "output"])
            options.scope = .layer
        }
        let shrunk = try Shrinking(choice, of: model).model
        #expect(shrunk.graph.parameters.first { $0.name == "se.fc1.weight" }?.shape.dimensions == [1, 16])
        try expectSame(model, parameters, choice)
    }

    @Test("what cannot go says why") func pinsHaveReasons() throws {
        let gpt = try model(ShrinkingCase.presets[6].text)
        let groups = ChannelGroups(gpt.graph)
        #expect(groups.pins(of: "embedding").contains { $0.contains("looks at all channels") })
        #expect(groups.pins(of: "block1.attn.out_proj") != [])
        #expect(groups.pins(of: "block1.mlp.fc1") == [])
        let lenet = try model(ShrinkingCase.presets[0].text)
        #expect(ChannelGroups(lenet.graph).pins(of: "fc2") == ["the model's output"])
    }

    @Test("layers that are added belong together") func residualGroups() throws {
        let resnet = try model(ShrinkingCase.presets[2].text)
        let groups = ChannelGroups(resnet.graph).groups.filter { $0.units.count > 1 }
        #expect(
            groups.map(\.layers) == [
                ["conv1", "block1.conv2"], ["block1.conv1"], ["block2.conv1"],
                ["block2.conv2", "block2.shortcut.conv1"], ["block3.conv1"],
                ["block3.conv2", "block3.shortcut.conv1"],
            ])
        #expect(groups.map(\.units.count) == [16, 16, 32, 32, 64, 64])
    }

    @Test("a wrong number of elements is refused") func wrongCount() throws {
        let lenet = try model(ShrinkingCase.presets[0].text)
        let choice = try choose(lenet, randomParameters(lenet.graph, seed: 1))
        let shrinking = try Shrinking(choice, of: lenet)
        #expect(throws: CompressionError.self) { try shrinking.slice([0], shrinking.cuts[0]) }
    }
}
