import Testing

/// A model in the layer language, small and of odd sizes.
struct ModelCase: Sendable, CustomTestStringConvertible {
    let name: String
    /// JSON.
    let model: String
    let batch: Int

    init(_ name: String, _ input: String, _ layers: String, batch: Int = 3) {
        self.name = name
        self.batch = batch
        model = #"{"input": \#(input), "layers": [\#(layers)]}"#
    }

    var testDescription: String { name }

    static let all = images + norms + shapes + graphs + sequences + transformers
    /// A flat head of three classes behind an image.
    private static let head = #"{"type": "flatten"}, {"type": "linear", "out_features": 3}"#

    private static func image(
        _ name: String, _ layers: String, _ input: String = "[3, 7, 6]", batch: Int = 3
    ) -> ModelCase { ModelCase(name, input, layers + ", " + head, batch: batch) }

    static let images = [
        ModelCase(
            "linear, one of everything", "[1]", #"{"type": "linear", "out_features": 2}"#, batch: 1),
        ModelCase(
            "mlp of odd widths", "[33]",
            """
            {"type": "linear", "out_features": 17}, {"type": "relu"},
            {"type": "linear", "out_features": 5, "bias": false}
            """, batch: 7),
        image(
            "convolution, stride, padding",
            #"{"type": "conv2d", "out_channels": 5, "kernel_size": [3, 2], "stride": [2, 1], "padding": 1}"#),
        image(
            "convolution, dilation, no bias",
            """
            {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "dilation": [2, 3], "bias": false},
            {"type": "relu"}
            """, "[2, 9, 9]"),
        image(
            "grouped and depthwise",
            """
            {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "groups": 2}, {"type": "relu"},
            {"type": "depthwise_conv2d", "kernel_size": 3, "padding": 1, "stride": 2}
            """, "[4, 6, 7]"),
        image(
            "depthwise with a multiplier, wide",
            """
            {"type": "conv2d", "out_channels": 17, "kernel_size": 1},
            {"type": "depthwise_conv2d", "kernel_size": [3, 5], "padding": [1, 2], "multiplier": 2}
            """, "[2, 5, 6]"),
        image(
            "depthwise, dilated, unpadded",
            """
            {"type": "conv2d", "out_channels": 19, "kernel_size": 1, "bias": false},
            {"type": "depthwise_conv2d", "kernel_size": 3, "dilation": 2, "bias": false}, {"type": "relu6"}
            """, "[3, 7, 8]"),
        image(
            "separable with normalisation",
            """
            {"type": "conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1},
            {"type": "separable_conv2d", "out_channels": 7, "kernel_size": 3, "stride": 2, "padding": 1,
             "bias": false, "norm": "batch_norm", "activation": "relu"}
            """),
        image(
            "separable, plain",
            #"{"type": "separable_conv2d", "out_channels": 5, "kernel_size": 3, "padding": "same"}"#),
        image(
            "same padding",
            #"{"type": "conv2d", "out_channels": 4, "kernel_size": [3, 5], "padding": "same"}"#),
        image(
            "one-dimensional convolutions",
            """
            {"type": "conv1d", "out_channels": 5, "kernel_size": 3, "padding": 1, "stride": 2},
            {"type": "relu"},
            {"type": "conv1d", "out_channels": 6, "kernel_size": 2, "dilation": 2, "groups": 1}
            """, "[3, 13]"),
        image(
            "transposed convolution",
            """
            {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "stride": 2},
            {"type": "conv_transpose2d", "out_channels": 5, "kernel_size": [3, 2], "stride": 2,
             "padding": [1, 0], "output_padding": [1, 0]}
            """),
        image(
            "transposed, grouped, dilated, no bias",
            """
            {"type": "conv2d", "out_channels": 4, "kernel_size": 2},
            {"type": "conv_transpose2d", "out_channels": 6, "kernel_size": 2, "groups": 2, "dilation": [1, 2],
             "bias": false}, {"type": "relu"}
            """, "[2, 4, 5]"),
        image(
            "pooling with padding and odd strides",
            """
            {"type": "conv2d", "out_channels": 4, "kernel_size": 3},
            {"type": "max_pool2d", "kernel_size": [3, 2], "stride": [2, 1], "padding": 1},
            {"type": "conv2d", "out_channels": 3, "kernel_size": 2},
            {"type": "avg_pool2d", "kernel_size": [2, 3], "stride": [1, 2], "padding": 1}
            """, "[3, 9, 8]"),
        image(
            "average pooling without counting padding",
            """
            {"type": "conv2d", "out_channels": 3, "kernel_size": 2},
            {"type": "avg_pool2d", "kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": false}
            """, "[2, 6, 6]"),
        image("pooling straight on the input", #"{"type": "avg_pool2d", "kernel_size": 2}"#),
        image(
            "pooling along a signal",
            """
            {"type": "conv1d", "out_channels": 5, "kernel_size": 3},
            {"type": "max_pool1d", "kernel_size": 3, "stride": 2, "padding": 1},
            {"type": "conv1d", "out_channels": 4, "kernel_size": 2},
            {"type": "avg_pool1d", "kernel_size": 3, "stride": 2, "padding": 1}
            """, "[3, 19]"),
        image(
            "average pooling along a signal without counting padding",
            """
            {"type": "conv1d", "out_channels": 3, "kernel_size": 2},
            {"type": "avg_pool1d", "kernel_size": 4, "stride": 3, "padding": 2, "count_include_pad": false},
            {"type": "conv1d", "out_channels": 4, "kernel_size": 2},
            {"type": "max_pool1d", "kernel_size": 2}
            """, "[2, 16]"),
        image(
            "adaptive pooling",
            """
            {"type": "conv2d", "out_channels": 5, "kernel_size": 2},
            {"type": "adaptive_avg_pool2d", "output_size": [4, 3]}
            """, "[2, 8, 6]"),
        ModelCase(
            "global pooling", "[2, 6, 5]",
            """
            {"type": "conv2d", "out_channels": 5, "kernel_size": 2}, {"type": "relu"},
            {"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}
            """),
        image(
            "relu on a pooled image, not fusable",
            """
            {"type": "conv2d", "out_channels": 3, "kernel_size": 3},
            {"type": "max_pool2d", "kernel_size": 2}, {"type": "relu"}
            """, "[2, 6, 6]"),
        ModelCase(
            "an output that is a flattened, rectified image", "[2, 3, 3]",
            """
            {"type": "conv2d", "out_channels": 3, "kernel_size": 2}, {"type": "relu"},
            {"type": "flatten"}
            """,
            batch: 4),
    ]

    static let activations: [ModelCase] = [
        #""relu""#, #""relu6""#, #""leaky_relu", "negative_slope": 0.2"#, #""gelu""#,
        #""gelu", "approximate": "tanh""#, #""silu""#, #""sigmoid""#, #""tanh""#, #""hard_swish""#,
        #""softmax""#,
    ].flatMap { kind in
        [
            image(
                "\(kind) on an image",
                """
                {"type": "conv2d", "out_channels": 5, "kernel_size": 2}, {"type": \(kind)},
                {"type": "avg_pool2d", "kernel_size": 2}, {"type": \(kind)}
                """, "[2, 6, 5]"),
            ModelCase(
                "\(kind) between products", "[9]",
                """
                {"type": "linear", "out_features": 11}, {"type": \(kind)}, {"type": \(kind)},
                {"type": "linear", "out_features": 3}
                """, batch: 5),
        ]
    }

    static let norms = [
        image(
            "batch normalisation of channels",
            """
            {"type": "conv2d", "out_channels": 5, "kernel_size": 2}, {"type": "batch_norm"}, {"type": "relu"}
            """, "[3, 5, 4]", batch: 4),
        ModelCase(
            "batch normalisation of features flattened from an image", "[3, 4, 4]",
            """
            {"type": "conv2d", "out_channels": 4, "kernel_size": 2}, {"type": "flatten"},
            {"type": "batch_norm", "eps": 0.01}, {"type": "linear", "out_features": 3}
            """, batch: 5),
        image(
            "batch normalisation and relu6, of the input",
            """
            {"type": "batch_norm"}, {"type": "relu6"}, {"type": "conv2d", "out_channels": 4,
             "kernel_size": 3},
            {"type": "batch_norm"}, {"type": "hard_swish"}
            """, "[3, 5, 4]", batch: 4),
        image(
            "batch normalisations read by wide depthwise convolutions",
            """
            {"type": "conv2d", "out_channels": 17, "kernel_size": 1}, {"type": "batch_norm"},
            {"type": "depthwise_conv2d", "kernel_size": 3, "padding": 1, "bias": false},
            {"type": "batch_norm"}, {"type": "relu"},
            {"type": "depthwise_conv2d", "kernel_size": 3, "padding": 1, "stride": 2}, {"type": "relu"},
            {"type": "batch_norm"}, {"type": "relu6"},
            {"type": "depthwise_conv2d", "kernel_size": 3, "padding": 1, "bias": false}
            """, "[2, 5, 6]", batch: 4),
        ModelCase(
            "layer normalisation of features and tokens", "[5, 7]",
            """
            {"type": "linear", "out_features": 9}, {"type": "layer_norm"}, {"type": "gelu"},
            {"type": "layer_norm", "bias": false}, {"type": "linear", "out_features": 6},
            {"type": "layer_norm", "elementwise_affine": false}, {"type": "global_avg_pool"},
            {"type": "layer_norm"}, {"type": "linear", "out_features": 3}
            """),
        image(
            "layer normalisation of an image's channels",
            """
            {"type": "conv2d", "out_channels": 6, "kernel_size": 3}, {"type": "layer_norm"}, {"type": "gelu"}
            """, "[2, 5, 6]"),
        ModelCase(
            "layer normalisation of a flattened image", "[2, 4, 3]",
            """
            {"type": "conv2d", "out_channels": 3, "kernel_size": 2}, {"type": "flatten"},
            {"type": "layer_norm"}, {"type": "linear", "out_features": 3}
            """),
        ModelCase(
            "rms normalisation", "[4, 6]",
            """
            {"type": "linear", "out_features": 10}, {"type": "rms_norm"}, {"type": "silu"},
            {"type": "linear", "out_features": 3}, {"type": "rms_norm", "eps": 0.1}
            """),
        image(
            "group normalisation",
            """
            {"type": "conv2d", "out_channels": 6, "kernel_size": 2}, {"type": "group_norm", "groups": 3},
            {"type": "relu"}, {"type": "conv2d", "out_channels": 5, "kernel_size": 1},
            {"type": "group_norm", "groups": 1, "eps": 0.1}
            """),
    ]
}
