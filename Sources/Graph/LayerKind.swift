public import JSON

/// What a layer of the description computes: PyTorch's names and meanings where it has them.
public enum LayerKind: Hashable, Sendable {
    case conv2d(Conv2d)
    case depthwiseConv2d(DepthwiseConv2d)
    case separableConv2d(SeparableConv2d)
    case conv1d(Conv1d)
    case convTranspose2d(ConvTranspose2d)
    case linear(Linear)
    case activation(Operation.Activation)
    /// Over the last axis; over the channels of an image.
    case softmax
    case maxPool2d(Pool2d)
    case avgPool2d(Pool2d)
    case maxPool1d(Pool1d)
    case avgPool1d(Pool1d)
    /// The output's height and width.
    case adaptiveAvgPool2d(Pair)
    /// `[channels]` of an image, `[width]` of a sequence.
    case globalAvgPool
    case batchNorm(BatchNorm)
    case layerNorm(LayerNorm)
    /// The number added to the mean square.
    case rmsNorm(epsilon: Double)
    case groupNorm(GroupNorm)
    /// The probability that an element is dropped.
    case dropout(Double)
    /// All axes into one.
    case flatten
    /// The axes from the first to the last into one; negative ones count from the end.
    case flattenAxes(Int, Int)
    /// The extents, of which one may be -1: what remains.
    case reshape([Int])
    /// Output axis i is input axis `[i]`.
    case transpose([Int])
    /// The sum of the inputs.
    case add
    /// The product of the inputs; the second may be one factor for each channel.
    case multiply
    /// Along an axis; a negative one counts from the end.
    case concat(Int)
    /// The sum of what two lists of layers make of the input; an empty shortcut is the input itself.
    case residual([LayerSpec], shortcut: [LayerSpec])
    case squeezeExcite(SqueezeExcite)
    /// A named group.
    case sequential([LayerSpec])
    case embedding(Embedding)
    /// Adds a learned row to every token; the deviation that the rows start from.
    case positionalEmbedding(deviation: Double)
    /// Puts a learned token in front; the deviation that it starts from.
    case classToken(deviation: Double)
    /// One token of a sequence; a negative one counts from the end.
    case selectToken(Int)
    case multiHeadAttention(Attention)
    case transformerBlock(TransformerBlock)

    public static let relu = LayerKind.activation(.relu)

    /// The value of the JSON field `type`.
    public var typeName: LayerType {
        switch self {
        case .conv2d: .conv2d
        case .depthwiseConv2d: .depthwiseConv2d
        case .separableConv2d: .separableConv2d
        case .conv1d: .conv1d
        case .convTranspose2d: .convTranspose2d
        case .linear: .linear
        case .activation(let activation): activation.typeName
        case .softmax: .softmax
        case .maxPool2d: .maxPool2d
        case .avgPool2d: .avgPool2d
        case .maxPool1d: .maxPool1d
        case .avgPool1d: .avgPool1d
        case .adaptiveAvgPool2d: .adaptiveAvgPool2d
        case .globalAvgPool: .globalAvgPool
        case .batchNorm: .batchNorm
        case .layerNorm: .layerNorm
        case .rmsNorm: .rmsNorm
        case .groupNorm: .groupNorm
        case .dropout: .dropout
        case .flatten, .flattenAxes: .flatten
        case .reshape: .reshape
        case .transpose: .transpose
        case .add: .add
        case .multiply: .multiply
        case .concat: .concat
        case .residual: .residual
        case .squeezeExcite: .squeezeExcite
        case .sequential: .sequential
        case .embedding: .embedding
        case .positionalEmbedding: .positionalEmbedding
        case .classToken: .classToken
        case .selectToken: .selectToken
        case .multiHeadAttention: .multiHeadAttention
        case .transformerBlock: .transformerBlock
        }
    }
}

extension Operation.Activation {
    fileprivate var typeName: LayerType {
        switch self {
        case .relu: .relu
        case .relu6: .relu6
        case .leakyReLU: .leakyReLU
        case .gelu: .gelu
        case .silu: .silu
        case .sigmoid: .sigmoid
        case .tanh: .tanh
        case .hardSwish: .hardSwish
        }
    }
}
