/// The layer types by their names in JSON.
public enum LayerType: String, CaseIterable, Sendable {
    case conv2d
    case depthwiseConv2d = "depthwise_conv2d"
    case separableConv2d = "separable_conv2d"
    case conv1d
    case convTranspose2d = "conv_transpose2d"
    case linear
    case relu, relu6
    case leakyReLU = "leaky_relu"
    case gelu, silu, sigmoid, tanh
    case hardSwish = "hard_swish"
    case softmax
    case maxPool2d = "max_pool2d"
    case avgPool2d = "avg_pool2d"
    case maxPool1d = "max_pool1d"
    case avgPool1d = "avg_pool1d"
    case adaptiveAvgPool2d = "adaptive_avg_pool2d"
    case globalAvgPool = "global_avg_pool"
    case batchNorm = "batch_norm"
    case layerNorm = "layer_norm"
    case rmsNorm = "rms_norm"
    case groupNorm = "group_norm"
    case dropout, flatten, reshape, transpose, add, multiply, concat, residual
    case squeezeExcite = "squeeze_excite"
    case sequential, embedding
    case positionalEmbedding = "positional_embedding"
    case classToken = "class_token"
    case selectToken = "select_token"
    case multiHeadAttention = "multi_head_attention"
    case transformerBlock = "transformer_block"

    /// What an unnamed layer of the type is called, before its number: the field's habit (`conv1`, `fc1`).
    var namePrefix: String {
        switch self {
        case .conv2d, .conv1d: "conv"
        case .depthwiseConv2d: "depthwise"
        case .separableConv2d: "separable"
        case .convTranspose2d: "deconv"
        case .linear: "fc"
        case .maxPool2d, .avgPool2d, .maxPool1d, .avgPool1d, .adaptiveAvgPool2d, .globalAvgPool: "pool"
        case .batchNorm: "bn"
        case .layerNorm: "ln"
        case .rmsNorm: "rms"
        case .groupNorm: "gn"
        case .squeezeExcite: "se"
        case .positionalEmbedding: "positions"
        case .selectToken: "select"
        case .multiHeadAttention: "attention"
        case .transformerBlock: "block"
        case .relu, .relu6, .leakyReLU, .gelu, .silu, .sigmoid, .tanh, .hardSwish, .softmax, .dropout,
            .flatten, .reshape, .transpose, .add, .multiply, .concat, .residual, .sequential, .embedding,
            .classToken:
            rawValue
        }
    }

    /// How many inputs it may have.
    var inputCounts: ClosedRange<Int> {
        switch self {
        case .add, .multiply, .concat: 2...LayerSpec.inputCountMax
        default: 1...1
        }
    }
}
