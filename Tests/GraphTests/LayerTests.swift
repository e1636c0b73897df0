import Graph
import JSON
import Tensor
import Testing

/// What layers become: operations, shapes, orders, parameters.
@Suite("Layers become operations") struct LayerTests {
    /// `operation shape order` of every node.
    private func story(_ graph: Graph) -> [String] {
        graph.nodes.map { node in
            let value = graph[node.output]
            let order =
                switch value.order {
                case .plain: "plain"
                case .channelsLast: "last"
                case .flattened: "flattened"
                }
            let payload = Mirror(reflecting: node.operation).children.first?.label
            return "\(node.name) \(payload ?? "\(node.operation)") \(value.shape) \(order)"
        }
    }

    @Test("a flattened image needs no permutation for a linear layer, and one for a norm and a sum")
    func flattened() throws {
        #expect(
            try story(readGraph([2, 3, 3], #"{"type": "flatten"}, {"type": "linear", "out_features": 4}"#))
                == ["flatten1 view 18 flattened", "fc1 linear 4 plain"])
        let graph = try readGraph(
            [2, 3, 3],
            """
            {"type": "flatten", "name": "f"},
            {"type": "batch_norm"},
            {"type": "layer_norm"},
            {"type": "add", "inputs": ["f", "ln1"]}
            """
        )
        #expect(
            story(graph) == [
                "f view 18 flattened", "bn1.permute permute 18 plain", "bn1 batchNorm 18 plain",
                "ln1 layerNorm 18 plain", "add1 add 18 plain",
            ], "the permutation is shared")
        // One channel, or one place: nothing to permute.
        #expect(try story(readGraph([1, 3, 3], #"{"type": "flatten"}"#)) == ["flatten1 view 9 plain"])
        #expect(try story(readGraph([5, 1, 1], #"{"type": "flatten"}"#)) == ["flatten1 view 5 plain"])
    }

    @Test("patches become tokens without moving a byte")
    func patches() throws {
        let graph = try readGraph(
            [3, 8, 8],
            """
            {"type": "conv2d", "out_channels": 6, "kernel_size": 4, "stride": 4},
            {"type": "flatten", "start_dim": 1}, {"type": "transpose", "dims": [1, 0]},
            {"type": "class_token"}, {"type": "positional_embedding"}, {"type": "select_token", "index": -1}
            """)
        #expect(
            story(graph) == [
                "conv1 convolution 6x2x2 last", "flatten1 view 6x4 last", "transpose1 view 4x6 plain",
                "class_token1 prependToken 5x6 plain", "positions1 positions 5x6 plain",
                "select1 selectToken 6 plain",
            ])
        #expect(graph.nodes.last?.operation == .selectToken(4))
    }

    @Test("permutations appear where an order in memory is not what a layer needs")
    func permutations() throws {
        #expect(
            try story(readGraph([2, 4, 5], #"{"type": "linear", "out_features": 3}"#)) == [
                "fc1.permute permute 2x4x5 plain", "fc1 linear 2x4x3 plain",
            ])
        #expect(
            try story(
                readGraph(
                    [40],
                    """
                    {"type": "reshape", "shape": [2, -1, 5]},
                    {"type": "conv2d", "out_channels": 3, "kernel_size": 2}
                    """
                )) == [
                    "reshape1 view 2x4x5 plain", "conv1.permute permute 2x4x5 last",
                    "conv1 convolution 3x3x4 last",
                ])
        #expect(
            try story(
                readGraph(
                    [2, 4, 5],
                    """
                    {"type": "transpose", "dims": [1, 2, 0]},
                    {"type": "transpose", "dims": [2, 0, 1]},
                    {"type": "transpose", "dims": [0, 2, 1]}
                    """
                )) == [
                    "transpose1 view 4x5x2 plain", "transpose2 view 2x4x5 last",
                    "transpose3 permute 2x5x4 plain",
                ])
        #expect(
            try story(readGraph([2, 4, 5], #"{"type": "flatten", "end_dim": 1}"#)) == [
                "flatten1.permute permute 2x4x5 plain", "flatten1 view 8x5 plain",
            ])
        // Features that were an image become it again as they lie.
        #expect(
            try story(readGraph([2, 4, 5], #"{"type": "flatten"}, {"type": "reshape", "shape": [2, 4, 5]}"#))
                == ["flatten1 view 40 flattened", "reshape1 view 2x4x5 last"])
    }

    @Test("signals are convolved as images of height 1, with PyTorch's weights")
    func signals() throws {
        let graph = try readGraph(
            [3, 20],
            """
            {"type": "conv1d", "out_channels": 4, "kernel_size": 5, "padding": "same"},
            {"type": "max_pool1d", "kernel_size": 3, "stride": 2}, {"type": "batch_norm"},
            {"type": "global_avg_pool"}
            """)
        #expect(
            story(graph) == [
                "conv1 convolution 4x20 last", "pool1 pooling 4x9 last", "bn1 batchNorm 4x9 last",
                "pool2 mean 4 plain",
            ])
        #expect(graph.parameters[0].shape.dimensions == [4, 3, 5])
        #expect(graph.nodes[0].macs == 20 * 4 * 15)
        guard case .convolution(let window) = graph.nodes[0].operation else { throw InvalidInput([]) }
        #expect(window.kernelSize == Pair(1, 5) && window.padding == Pair(0, 2))
    }

    @Test("transposed convolutions have PyTorch's extents and weights")
    func transposed() throws {
        // torch.nn.ConvTranspose2d(6, 4, (3, 2), 2, (1, 0), (1, 0), 2)(6x5x7): 4x10x14.
        let graph = try readGraph(
            [6, 5, 7],
            """
            {"type": "conv_transpose2d", "out_channels": 4, "kernel_size": [3, 2], "stride": 2,
             "padding": [1, 0], "output_padding": [1, 0], "groups": 2}
            """
        )
        #expect(story(graph) == ["deconv1 transposedConvolution 4x10x14 last"])
        #expect(graph.parameters.map(\.shape.dimensions) == [[6, 2, 3, 2], [4]])
        #expect(graph.nodes[0].macs == 6 * 35 * 2 * 6)
    }

    @Test("residual, squeeze-and-excite and separable layers name their parts")
    func composites() throws {
        let graph = try readGraph(
            [8, 6, 6],
            """
            {"type": "residual", "name": "r", "layers": [
              {"type": "separable_conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1, "bias": false,
               "norm": "batch_norm", "activation": "relu6"}, {"type": "squeeze_excite", "reduction": 2}],
             "shortcut": [{"type": "conv2d", "out_channels": 4, "kernel_size": 1}]}
            """)
        #expect(
            graph.nodes.map(\.name) == [
                "r.separable1.depthwise", "r.separable1.depthwise_norm", "r.separable1.depthwise_activation",
                "r.separable1.pointwise", "r.separable1.pointwise_norm", "r.separable1.pointwise_activation",
                "r.se1.mean", "r.se1.fc1", "r.se1.activation", "r.se1.fc2", "r.se1.gate", "r.se1",
                "r.shortcut.conv1", "r",
            ])
        #expect(graph.parameters[0].name == "r.separable1.depthwise.weight")
        #expect(graph.parameters[0].shape.dimensions == [8, 1, 3, 3])
        #expect(graph.parameters.map(\.name).contains("r.shortcut.conv1.bias"))
        #expect(graph.consumers(of: graph.input).count == 2)
    }

    @Test("a U-Net reads earlier layers by name")
    func network() throws {
        let graph = try readGraph(
            [1, 8, 8],
            """
            {"type": "conv2d", "name": "down", "out_channels": 4, "kernel_size": 3, "padding": "same"},
            {"type": "max_pool2d", "kernel_size": 2},
            {"type": "conv_transpose2d", "out_channels": 4, "kernel_size": 2, "stride": 2, "name": "up"},
            {"type": "concat", "inputs": ["up", "down"]},
            {"type": "sequential", "layers": [
              {"type": "conv2d", "out_channels": 4, "kernel_size": 1},
              {"type": "add", "inputs": ["conv1", "down"]}]}
            """)
        #expect(
            story(graph).suffix(3) == [
                "concat1 concat 8x8x8 last", "sequential1.conv1 convolution 4x8x8 last",
                "sequential1.add1 add 4x8x8 last",
            ])
        #expect(graph.nodes[3].operation == .concat(isInner: true))
    }

    @Test("attention counts each pair of tokens once for each of its products")
    func attention() throws {
        let graph = try readGraph(
            [5, 8], #"{"type": "multi_head_attention", "heads": 2, "causal": true, "rotary": 10000}"#)
        #expect(
            story(graph) == [
                "attention1.in_proj linear 5x24 plain", "attention1.rotary rotary 5x24 plain",
                "attention1.attention attention 5x8 plain", "attention1.out_proj linear 5x8 plain",
            ])
        #expect(
            graph.parameters.map(\.name) == [
                "attention1.in_proj_weight", "attention1.in_proj_bias", "attention1.out_proj.weight",
                "attention1.out_proj.bias",
            ])
        #expect(graph.nodes[2].macs == 2 * 15 * 8, "15 pairs, two products")
        let full = try readGraph([5, 8], #"{"type": "multi_head_attention", "heads": 2}"#)
        #expect(full.nodes[1].macs == 2 * 25 * 8)
    }

    @Test("heads may be wider or narrower than their share")
    func headWidths() throws {
        let fields = #""heads": 3, "head_dim": 4"#
        let graph = try readGraph([5, 8], #"{"type": "multi_head_attention", \#(fields), "rotary": 100}"#)
        #expect(
            story(graph) == [
                "attention1.in_proj linear 5x36 plain", "attention1.rotary rotary 5x36 plain",
                "attention1.attention attention 5x12 plain", "attention1.out_proj linear 5x8 plain",
            ])
        #expect(graph.parameters.map(\.shape.dimensions) == [[36, 8], [36], [8, 12], [8]])
        #expect(graph.nodes.map(\.macs) == [5 * 8 * 36, 0, 2 * 25 * 12, 5 * 12 * 8])
        let block = try readGraph([5, 8], #"{"type": "transformer_block", \#(fields)}"#)
        #expect(
            block.parameters.filter { $0.name.contains("_proj") }.map(\.shape.dimensions) == [
                [36, 8], [36], [8, 12], [8],
            ])
        let usual = try readGraph([5, 8], #"{"type": "transformer_block", "heads": 2}"#)
        let said = try readGraph([5, 8], #"{"type": "transformer_block", "heads": 2, "head_dim": 4}"#)
        #expect(said.nodes == usual.nodes && said.parameters == usual.parameters)
    }

    @Test("post-norm blocks norm the sums, and dropout of nothing is left out")
    func block() throws {
        let graph = try readGraph(
            [5, 8],
            """
            {"type": "transformer_block", "heads": 2, "pre_norm": false, "norm": "rms_norm",
             "activation": "silu"}
            """
        )
        #expect(
            graph.nodes.map(\.name)
                == [
                    "attn.in_proj", "attn.attention", "attn.out_proj", "attn_sum", "ln1", "mlp.fc1",
                    "mlp.activation", "mlp.fc2", "mlp_sum", "ln2",
                ].map { "block1.\($0)" })
        let dropped = try readGraph([5, 8], #"{"type": "transformer_block", "heads": 2, "dropout": 0.1}"#)
        #expect(dropped.nodes.filter { $0.operation == .dropout(0.1) }.count == 2)
    }

    @Test("a default name is never one that is given")
    func names() throws {
        let layers =
            #"{"type": "relu"}, {"type": "relu", "name": "relu1"}, {"type": "relu", "name": "relu3"}"#
        let (model, violations) = try readModel(
            "{\"input\": [3], \"layers\": [\(layers), {\"type\": \"relu\"}]}", data: DataShape())
        #expect(violations.isEmpty)
        #expect(model?.layers.map(\.name) == ["relu2", "relu1", "relu3", "relu4"])
    }
}
