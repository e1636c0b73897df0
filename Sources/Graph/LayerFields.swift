internal import JSON

/// The JSON fields of the layer types: checked by them, and published as JSON Schema.
enum LayerFields {
    static let extentMax = 65_536

    static let type = Field.choice("type", of: LayerType.self, "What the layer computes.")
    static let name = Field.optionalString(
        "name", lengthMax: 64, "The layer's name; by default its type and number, as in conv1.")
    static let inputs = Field.raw(
        "inputs",
        schema: [
            "anyOf": [
                ["type": "string"],
                [
                    "type": "array", "items": ["type": "string"], "minItems": 1,
                    "maxItems": JSONValue(LayerSpec.inputCountMax),
                ],
            ]
        ],
        "Names of earlier layers of this list or one around it, or \"input\", this list's input; "
            + "by default the layer before.")

    // Windows.
    static let outChannels = Field.integer("out_channels", in: 1...extentMax, "Channels of the output.")
    static let kernelSize = Field.pair(
        "kernel_size", in: 1...1024, "The window, as one number or [height, width].")
    static let length = Field.integer("kernel_size", in: 1...1024, "The window's length.")
    static let stride = Field.pair("stride", default: Pair(1, 1), in: 1...1024, "Distance between windows.")
    static let step = Field.integer("stride", default: 1, in: 1...1024, "Distance between windows.")
    /// `null` is the window itself.
    static let poolStride = Field.raw(
        "stride",
        schema: [
            "anyOf": [
                window(from: 1), ["type": "array", "items": window(from: 1), "minItems": 2, "maxItems": 2],
                ["type": "null"],
            ]
        ], "Distance between windows; by default the window's extents.")
    static let poolStep = Field.optionalInteger(
        "stride", in: 1...1024, "Distance between windows; by default the window's length.")
    static let padding = Field.raw(
        "padding", default: 0,
        schema: [
            "anyOf": [
                window(from: 0), ["type": "array", "items": window(from: 0), "minItems": 2, "maxItems": 2],
                ["const": "same"],
            ]
        ], "Zeros on every side; \"same\" keeps the image's extents.")
    static let padding1d = Field.raw(
        "padding", default: 0, schema: ["anyOf": [window(from: 0), ["const": "same"]]],
        "Zeros at both ends; \"same\" keeps the length.")
    static let zeros1d = Field.integer("padding", default: 0, in: 0...1024, "Zeros at both ends.")
    static let outputPadding = Field.pair(
        "output_padding", default: Pair(0, 0), in: 0...1023, "Rows and columns added at the far ends.")
    static let dilation = Field.pair("dilation", default: Pair(1, 1), in: 1...1024, "Distance between taps.")
    static let dilation1d = Field.integer("dilation", default: 1, in: 1...1024, "Distance between taps.")
    static let groups = Field.integer(
        "groups", default: 1, in: 1...extentMax, "Channel groups that do not see each other.")
    static let multiplier = Field.integer(
        "multiplier", default: 1, in: 1...extentMax, "Output channels of each input channel.")
    static let bias = Field.bool("bias", default: true, "Whether a learned constant is added.")
    static let separableNorm = Field.choice(
        "norm", of: LayerKind.SeparableConv2d.Norm.self, default: LayerKind.SeparableConv2d.Norm.none,
        "Behind each of the two.")
    static let separableActivation = Field.choice(
        "activation", of: InnerActivation.self, default: InnerActivation.none,
        "Behind each of the two, after the norm.")
    static let countIncludePad = Field.bool(
        "count_include_pad", default: true, "Whether the padding's zeros enter the mean.")
    static let outputSize = Field.pair(
        "output_size", in: 1...1024, "The output's extents, as one number or [height, width].")
    static let reduction = Field.integer(
        "reduction", default: 4, in: 1...extentMax, "Channels for each hidden unit.")
    static let squeezeActivation = Field.choice(
        "activation", of: InnerActivation.self, default: .relu, "Of the hidden units.")

    // Products, norms, shapes.
    static let outFeatures = Field.integer("out_features", in: 1...(1 << 20), "Width of the output.")
    static let deviation = Field.optionalNumber(
        "init_std", in: 0...100,
        "Standard deviation that the weights start from, biases from 0; by default the model's rule.")
    static let tiedTo = Field.optionalString(
        "tied_to", lengthMax: 64, "The embedding or linear layer whose weight this one shares.")
    static let negativeSlope = Field.number(
        "negative_slope", default: 0.01, in: -100...100, "The slope below 0.")
    static let approximate = Field.choice(
        "approximate", of: Approximation.self, default: Approximation.none, "Exact, or by a tanh.")
    static let probability = Field.number(
        "p", default: 0.5, in: 0...0.99, "Probability that an element is dropped.")
    static let epsilon = Field.number("eps", default: 1e-5, in: 1e-12...1, "Added to the variance.")
    static let rmsEpsilon = Field.number("eps", default: 1e-6, in: 1e-12...1, "Added to the mean square.")
    static let momentum = Field.number(
        "momentum", default: 0.1, in: 0...1, "Weight of the newest batch in the running statistics.")
    static let affine = Field.bool(
        "elementwise_affine", default: true, "Whether it has a learned scale and shift.")
    static let normGroups = Field.integer("groups", in: 1...extentMax, "Groups of channels.")
    static let startDim = Field.integer("start_dim", default: 0, in: -8...7, "The first axis, of a sample.")
    static let endDim = Field.integer("end_dim", default: -1, in: -8...7, "The last axis, of a sample.")
    static let shape = Field.integers(
        "shape", count: 1...8, each: -1...(1 << 40), "The extents; one may be -1: what remains.")
    static let dims = Field.integers(
        "dims", count: 1...8, each: 0...7, "Which input axis each output axis is, of a sample.")
    static let dim = Field.integer(
        "dim", default: 0, in: -8...7, "The axis, of a sample: 0 are channels, -1 is the last.")

    // Sequences.
    static let vocabulary = Field.automaticInteger(
        "vocabulary", in: 1...(1 << 24), "How many tokens there are; \"auto\" is the dataset's number.")
    static let paddingIndex = Field.optionalInteger(
        "padding_idx", in: 0...(1 << 24),
        "The token that short samples end in: attention does not see it, means leave it out; by default the "
            + "dataset's.")
    static let width = Field.integer("width", in: 1...extentMax, "Features of a token.")
    static let rowDeviation = Field.number(
        "init_std", default: 0.02, in: 0...100, "Standard deviation that the weights start from.")
    static let index = Field.integer(
        "index", default: 0, in: -(1 << 24)...(1 << 24), "Which token; negative ones count from the end.")
    static let heads = Field.integer("heads", in: 1...4096, "Parts that attend on their own.")
    static let headWidth = Field.optionalInteger(
        "head_dim", in: 1...extentMax,
        "Columns of each head's queries, keys and values; by default the width divided by the heads.")
    static let causal = Field.bool(
        "causal", default: false, "Whether a token sees itself and what is before it alone.")
    static let attentionDropout = Field.number(
        "dropout", default: 0, in: 0...0.99, "Probability of dropout.")
    static let rotary = Field.raw(
        "rotary", default: false,
        schema: ["anyOf": [["const": false], ["type": "number", "minimum": 1, "maximum": 1e9]]],
        "The base of rotary position embeddings, such as 10000; false for none.")
    static let rotaryBase = Field.number("rotary", in: 1...1e9, "The base.")
    static let outputDeviation = Field.optionalNumber(
        "out_init_std", in: 0...100, "init_std of what is added to the way round; by default init_std.")
    static let mlpRatio = Field.number(
        "mlp_ratio", default: 4, in: 0.01...64, "Hidden units of the perceptron for each feature.")
    static let blockNorm = Field.choice(
        "norm", of: LayerKind.TransformerBlock.Norm.self, default: .layerNorm, "The norms' kind.")
    static let preNorm = Field.bool(
        "pre_norm", default: true, "Norms before attention and perceptron, or behind the sums.")
    static let blockActivation = Field.choice(
        "activation", of: InnerActivation.self, default: .gelu, "Of the perceptron.")

    // Layers of layers.
    static let nested = Field.raw(
        "layers", isRequired: true, schema: list(from: 1), "The layers in order.")
    static let shortcut = Field.raw(
        "shortcut", default: [], schema: list(from: 0), "The way round them; empty is the input itself.")

    /// The name of one layer's schema, by which nested lists refer to it.
    static let schemaID: JSONValue = "urn:vintner:layer"

    private static func list(from countMin: Int) -> JSONObject {
        [
            "type": "array", "minItems": JSONValue(countMin), "maxItems": JSONValue(ModelSpec.layerCountMax),
            "items": ["$ref": schemaID],
        ]
    }

    private static func window(from minimum: Int) -> JSONValue {
        ["type": "integer", "minimum": JSONValue(minimum), "maximum": 1024]
    }

    /// How GELU is computed.
    enum Approximation: String, CaseIterable, Sendable { case none, tanh }
}

extension LayerFields {
    /// Type, name and inputs, which every layer has, and the type's own.
    static func fields(of layer: LayerType) -> [any AnyField] { [type, name, inputs] + own(of: layer) }

    static func schema(of type: LayerType) -> ObjectSchema {
        ObjectSchema(type.rawValue, "A \(type.rawValue) layer.", fields: fields(of: type))
    }

    private static func own(of layer: LayerType) -> [any AnyField] {
        switch layer {
        case .conv2d: LayerKind.Conv2d.table.fields
        case .depthwiseConv2d: LayerKind.DepthwiseConv2d.table.fields
        case .separableConv2d: LayerKind.SeparableConv2d.table.fields
        case .conv1d: LayerKind.Conv1d.table.fields
        case .convTranspose2d: LayerKind.ConvTranspose2d.table.fields
        case .linear: LayerKind.Linear.table.fields
        case .relu, .relu6, .silu, .sigmoid, .tanh, .hardSwish, .softmax, .globalAvgPool, .add, .multiply: []
        case .leakyReLU: [negativeSlope]
        case .gelu: [approximate]
        case .maxPool2d: LayerKind.Pool2d.maximumTable.fields
        case .avgPool2d: LayerKind.Pool2d.table.fields
        case .maxPool1d: LayerKind.Pool1d.maximumTable.fields
        case .avgPool1d: LayerKind.Pool1d.table.fields
        case .adaptiveAvgPool2d: [outputSize]
        case .batchNorm: LayerKind.BatchNorm.table.fields
        case .layerNorm: LayerKind.LayerNorm.table.fields
        case .rmsNorm: [rmsEpsilon]
        case .groupNorm: LayerKind.GroupNorm.table.fields
        case .dropout: [probability]
        case .flatten: [startDim, endDim]
        case .reshape: [shape]
        case .transpose: [dims]
        case .concat: [dim]
        case .residual: [nested, shortcut]
        case .squeezeExcite: LayerKind.SqueezeExcite.table.fields
        case .sequential: [nested]
        case .embedding: [vocabulary, width, deviation, paddingIndex]
        case .positionalEmbedding, .classToken: [rowDeviation]
        case .selectToken: [index]
        case .multiHeadAttention: LayerKind.Attention.table.fields
        case .transformerBlock: LayerKind.TransformerBlock.table.fields
        }
    }
}
