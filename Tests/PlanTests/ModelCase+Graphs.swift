extension ModelCase {
    static let shapes = [
        ModelCase(
            "flattened in part", "[3, 5, 4]",
            """
            {"type": "conv2d", "out_channels": 4, "kernel_size": 2}, {"type": "flatten", "start_dim": 1},
            {"type": "transpose", "dims": [1, 0]}, {"type": "linear", "out_features": 6}, {"type": "relu"},
            {"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}
            """),
        ModelCase(
            "an image's axes permuted and back", "[3, 5, 4]",
            """
            {"type": "conv2d", "out_channels": 4, "kernel_size": 2}, {"type": "transpose", "dims": [2, 0, 1]},
            {"type": "relu"}, {"type": "transpose", "dims": [1, 2, 0]},
            {"type": "conv2d", "out_channels": 3, "kernel_size": 2}, {"type": "flatten"}
            """),
        ModelCase(
            "reshaped into an image and back", "[12]",
            """
            {"type": "linear", "out_features": 24}, {"type": "reshape", "shape": [2, 3, 4]},
            {"type": "conv2d", "out_channels": 5, "kernel_size": 2}, {"type": "relu"},
            {"type": "reshape", "shape": [6, 5]}, {"type": "linear", "out_features": 4},
            {"type": "global_avg_pool"}
            """),
        ModelCase(
            "a linear layer over an image's last axis", "[2, 3, 5]",
            """
            {"type": "conv2d", "out_channels": 4, "kernel_size": 2}, {"type": "reshape", "shape": [8, 4]},
            {"type": "linear", "out_features": 3}, {"type": "flatten"}, {"type": "tanh"},
            {"type": "linear", "out_features": 3}
            """),
    ]

    static let graphs = [
        ModelCase(
            "residual, identity and projection", "[3, 6, 5]",
            """
            {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1}, {"type": "batch_norm"},
            {"type": "relu"},
            {"type": "residual", "layers": [
                {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1, "bias": false},
                {"type": "batch_norm"}, {"type": "relu"},
                {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1},
                {"type": "batch_norm"}]},
            {"type": "relu"},
            {"type": "residual", "layers": [
                {"type": "conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1, "stride": 2},
                {"type": "batch_norm"}],
             "shortcut": [{"type": "conv2d", "out_channels": 6, "kernel_size": 1, "stride": 2, "bias": false},
                          {"type": "batch_norm"}]},
            {"type": "relu"}, {"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}
            """, batch: 4),
        ModelCase(
            "squeeze and excite", "[3, 5, 4]",
            """
            {"type": "conv2d", "out_channels": 8, "kernel_size": 2}, {"type": "relu"},
            {"type": "squeeze_excite", "reduction": 4}, {"type": "global_avg_pool"},
            {"type": "linear", "out_features": 3}
            """),
        ModelCase(
            "a U-Net", "[2, 8, 6]",
            """
            {"type": "conv2d", "name": "down1", "out_channels": 4, "kernel_size": 3, "padding": 1},
            {"type": "relu", "name": "skip1"}, {"type": "max_pool2d", "kernel_size": 2},
            {"type": "conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1}, {"type": "relu"},
            {"type": "conv_transpose2d", "name": "up", "out_channels": 4, "kernel_size": 2, "stride": 2},
            {"type": "concat", "inputs": ["skip1", "up"]},
            {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "padding": 1}, {"type": "relu"},
            {"type": "global_avg_pool"}
            """),
        ModelCase(
            "a value read three times, sums of itself", "[4]",
            """
            {"type": "linear", "name": "x", "out_features": 5},
            {"type": "add", "name": "twice", "inputs": ["x", "x"]},
            {"type": "add", "name": "thrice", "inputs": ["twice", "x"]},
            {"type": "multiply", "name": "square", "inputs": ["x", "x"]},
            {"type": "add", "inputs": ["thrice", "square"]}, {"type": "linear", "out_features": 3}
            """),
        ModelCase(
            "a value read by three layers", "[2, 5, 4]",
            """
            {"type": "conv2d", "name": "x", "out_channels": 3, "kernel_size": 2},
            {"type": "relu", "name": "a", "inputs": "x"}, {"type": "sigmoid", "name": "b", "inputs": "x"},
            {"type": "multiply", "name": "ab", "inputs": ["a", "b"]},
            {"type": "add", "name": "abx", "inputs": ["ab", "x"]},
            {"type": "concat", "inputs": ["abx", "a", "x"]}, {"type": "relu"},
            {"type": "flatten"}, {"type": "linear", "out_features": 3}
            """),
        ModelCase(
            "a rectified value that is added before it is dropped", "[6]",
            """
            {"type": "linear", "name": "x", "out_features": 7}, {"type": "relu", "name": "r"},
            {"type": "linear", "name": "z", "inputs": "x", "out_features": 7},
            {"type": "add", "name": "a", "inputs": ["r", "z"]},
            {"type": "dropout", "name": "d", "p": 0.0, "inputs": "r"},
            {"type": "add", "inputs": ["a", "d"]}, {"type": "linear", "out_features": 3}
            """),
        ModelCase(
            "factors for channels, twice", "[2, 5, 4]",
            """
            {"type": "conv2d", "name": "x", "out_channels": 5, "kernel_size": 2},
            {"type": "global_avg_pool", "name": "m"}, {"type": "linear", "name": "f", "out_features": 5},
            {"type": "multiply", "name": "y", "inputs": ["x", "f"]},
            {"type": "multiply", "name": "z", "inputs": ["y", "f"]}, {"type": "flatten"},
            {"type": "linear", "out_features": 3}
            """),
        ModelCase(
            "flat values side by side", "[7]",
            """
            {"type": "linear", "name": "a", "out_features": 5},
            {"type": "linear", "name": "b", "inputs": "input", "out_features": 3},
            {"type": "concat", "inputs": ["b", "a", "b"]}, {"type": "gelu"},
            {"type": "linear", "out_features": 3}
            """),
        ModelCase(
            "nested groups whose input is read again", "[6]",
            """
            {"type": "linear", "out_features": 5},
            {"type": "sequential", "layers": [
                {"type": "linear", "name": "a", "out_features": 5},
                {"type": "residual", "name": "r", "layers": [{"type": "tanh"}]},
                {"type": "add", "inputs": ["a", "r", "input"]}]},
            {"type": "linear", "out_features": 3}
            """),
    ]

    static let sequences = [
        ModelCase(
            "a language model with a tied head", "[5]",
            """
            {"type": "embedding", "name": "wte", "vocabulary": 7, "width": 6},
            {"type": "positional_embedding"}, {"type": "layer_norm"},
            {"type": "linear", "out_features": 7, "bias": false, "tied_to": "wte"}
            """),
        ModelCase(
            "two products of one weight", "[6]",
            """
            {"type": "linear", "name": "a", "out_features": 6}, {"type": "tanh"},
            {"type": "linear", "out_features": 6, "tied_to": "a"}, {"type": "relu"},
            {"type": "linear", "out_features": 6, "bias": false, "tied_to": "a"}
            """, batch: 4),
        ModelCase(
            "tokens averaged", "[6]",
            """
            {"type": "embedding", "vocabulary": 5, "width": 9}, {"type": "relu"}, {"type": "global_avg_pool"},
            {"type": "linear", "out_features": 3}
            """, batch: 4),
        ModelCase(
            "padded tokens, attended and averaged", "[9]",
            """
            {"type": "embedding", "vocabulary": 3, "width": 8, "padding_idx": 0},
            {"type": "positional_embedding"}, {"type": "multi_head_attention", "heads": 2},
            {"type": "residual", "layers": [{"type": "multi_head_attention", "heads": 1, "causal": true}]},
            {"type": "layer_norm"}, {"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}
            """, batch: 8),
        ModelCase(
            "a class token in front, then selected", "[4, 5]",
            """
            {"type": "linear", "out_features": 7}, {"type": "class_token"}, {"type": "positional_embedding"},
            {"type": "layer_norm"}, {"type": "select_token", "index": 0}, {"type": "linear",
             "out_features": 3}
            """),
        ModelCase(
            "tokens selected from the middle, added twice", "[4, 5]",
            """
            {"type": "linear", "name": "x", "out_features": 3}, {"type": "select_token", "name": "a",
             "index": 1},
            {"type": "select_token", "name": "b", "index": 3, "inputs": "x"},
            {"type": "add", "inputs": ["a", "b"]}
            """),
        ModelCase(
            "sequences joined along tokens and width", "[3, 4]",
            """
            {"type": "linear", "name": "a", "out_features": 5},
            {"type": "linear", "name": "b", "out_features": 5, "inputs": "input"},
            {"type": "concat", "name": "long", "dim": 0, "inputs": ["a", "b"]},
            {"type": "concat", "name": "wide", "dim": -1, "inputs": ["b", "a", "b"]},
            {"type": "linear", "name": "narrow", "out_features": 5, "inputs": "wide"},
            {"type": "concat", "dim": 0, "inputs": ["narrow", "long"]}, {"type": "gelu"},
            {"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}
            """),
    ]

    private static func attention(_ fields: String, tokens: Int = 5, width: Int = 8) -> ModelCase {
        ModelCase(
            "attention \(fields)", "[\(tokens), \(width)]",
            """
            {"type": "linear", "out_features": \(width)},
            {"type": "multi_head_attention", \(fields)}, {"type": "linear", "out_features": 3}
            """, batch: 2)
    }

    private static func blocks(_ fields: String) -> ModelCase {
        ModelCase(
            "transformer blocks \(fields)", "[5]",
            """
            {"type": "embedding", "name": "wte", "vocabulary": 7, "width": 8},
            {"type": "positional_embedding"},
            {"type": "transformer_block", "heads": 2, \(fields)},
            {"type": "transformer_block", "heads": 2, \(fields)}, {"type": "layer_norm"},
            {"type": "linear", "out_features": 7, "bias": false, "tied_to": "wte"}
            """, batch: 2)
    }

    static let transformers = [
        attention(#""heads": 2"#), attention(#""heads": 1, "causal": true"#, tokens: 7, width: 6),
        attention(#""heads": 4, "causal": true, "bias": false"#, tokens: 17, width: 16),
        attention(#""heads": 2, "rotary": 10000, "causal": true"#),
        attention(#""heads": 2, "rotary": 100"#, tokens: 9, width: 12),
        attention(#""heads": 3"#, tokens: 1, width: 9),
        attention(#""heads": 3, "head_dim": 5"#, tokens: 6, width: 7),
        attention(#""heads": 1, "head_dim": 4, "rotary": 100, "causal": true, "bias": false"#, tokens: 11),
        blocks(#""head_dim": 3, "causal": true"#),
        blocks(#""head_dim": 6, "rotary": 10000, "pre_norm": false"#),
        ModelCase(
            "padded tokens, attended by one head of two that were", "[9]",
            """
            {"type": "embedding", "vocabulary": 3, "width": 8, "padding_idx": 0},
            {"type": "positional_embedding"},
            {"type": "transformer_block", "heads": 1, "head_dim": 4, "mlp_ratio": 0.5},
            {"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}
            """, batch: 8),
        blocks(#""causal": true"#), blocks(#""causal": false, "bias": false, "activation": "relu""#),
        blocks(#""norm": "rms_norm", "rotary": 10000, "causal": true, "mlp_ratio": 3"#),
        blocks(#""pre_norm": false"#),
        ModelCase(
            "a small vision transformer", "[3, 6, 4]",
            """
            {"type": "conv2d", "out_channels": 8, "kernel_size": 2, "stride": 2},
            {"type": "flatten", "start_dim": 1}, {"type": "transpose", "dims": [1, 0]},
            {"type": "class_token"},
            {"type": "positional_embedding"}, {"type": "transformer_block", "heads": 2},
            {"type": "layer_norm"},
            {"type": "select_token"}, {"type": "linear", "out_features": 3}
            """, batch: 2),
    ]
}
