public import JSON

/// What a node computes.
///
/// A layer of the description becomes one operation or several.
public enum Operation: Hashable, Sendable {
    /// Two-dimensional, over a channels-last image; one-dimensional with a height of 1 over a channels-last
    /// `[channels, length]`. Parameters: weight, bias.
    case convolution(Window)
    /// The same, transposed: PyTorch's ConvTranspose2d, whose weight is `[in, out / groups, height, width]`.
    case transposedConvolution(Window)
    /// Over the innermost axis, for every position. Parameters: weight `[out, in]`, bias.
    case linear(bias: Bool)
    case activation(Activation)
    /// Over the innermost axis.
    case softmax
    case pooling(Pooling)
    /// Means over windows that divide the image into the output's extents (PyTorch's adaptive pooling).
    case adaptiveAveragePooling
    /// The mean over all positions: `[channels]` or `[channels, 1, 1]` of an image, `[width]` of a sequence;
    /// of a padded one, over as many as the second input says.
    case mean
    /// The probability that an element is dropped.
    case dropout(Double)
    /// Parameters: scale, shift, running mean, running variance.
    case batchNorm(BatchNorm)
    /// Over the innermost axis. Parameters: scale, shift, or none.
    case layerNorm(epsilon: Double)
    /// Over the innermost axis. Parameters: scale, or none.
    case rmsNorm(epsilon: Double)
    /// Over groups of channels of an image. Parameters: scale, shift, or none.
    case groupNorm(groups: Int, epsilon: Double)
    /// The same bytes under another shape.
    case view
    /// The elements in another order: from the input's to the output's; logical axes permuted by `axes`
    /// (output axis i is input axis `axes[i]`), the identity where only the order in memory changes.
    case permute(axes: [Int])
    /// Multiplies by a constant.
    case scale(Double)
    /// The sum of two values of one shape.
    case add
    /// The product of two values of one shape, or of an image or sequence and one factor for each channel
    /// (the second input).
    case multiply
    /// Along the innermost axis (`isInner`), or along the outermost one in memory.
    case concat(isInner: Bool)
    /// Rows of a table by token. Parameters: embedding `[vocabulary, width]`.
    case embedding
    /// How many tokens a sample has before its padding, at least 1: one Int32.
    case lengths(padding: Int)
    /// Adds a learned row to every token. Parameters: embedding `[tokens, width]`.
    case positions
    /// Puts a learned token in front of the others. Parameters: embedding `[1, width]`.
    case prependToken
    /// One token of a sequence.
    case selectToken(Int)
    /// Turns the queries and keys of a fused projection `[tokens, 3 * width]` by their positions (Su et al.,
    /// 2021).
    case rotary(heads: Int, base: Double)
    /// Scaled dot-product attention on a fused projection `[tokens, 3 * width]`: queries, keys, values, each
    /// split into heads; the width is that of all heads together. The second input, where there is one, says
    /// how many tokens are seen.
    case attention(Attention)

    /// Element-wise non-linearities.
    public enum Activation: Hashable, Sendable {
        case relu, relu6
        case leakyReLU(slope: Double)
        /// x · Φ(x); the tanh approximation when asked (Hendrycks and Gimpel, 2016).
        case gelu(tanh: Bool)
        case silu, sigmoid, tanh, hardSwish
    }

    /// A sliding window's geometry; `[height, width]`.
    public struct Window: Hashable, Sendable {
        public var kernelSize: Pair
        public var stride = Pair(1, 1)
        public var padding = Pair(0, 0)
        public var dilation = Pair(1, 1)
        public var groups = 1
        public var bias = true
        /// Rows and columns added to a transposed convolution's output.
        public var outputPadding = Pair(0, 0)

        public init(kernelSize: Pair) { self.kernelSize = kernelSize }
    }

    /// A pooling window.
    public struct Pooling: Hashable, Sendable {
        public enum Kind: Hashable, Sendable {
            case maximum
            case average(countsPadding: Bool)
        }

        public var kind: Kind
        public var kernelSize: Pair
        public var stride: Pair
        public var padding: Pair

        public init(_ kind: Kind, kernelSize: Pair, stride: Pair, padding: Pair) {
            self.kind = kind
            self.kernelSize = kernelSize
            self.stride = stride
            self.padding = padding
        }
    }

    /// Batch normalisation of channels.
    public struct BatchNorm: Hashable, Sendable {
        public var epsilon: Double
        public var momentum: Double

        public init(epsilon: Double = 1e-5, momentum: Double = 0.1) {
            self.epsilon = epsilon
            self.momentum = momentum
        }
    }

    /// How attention looks.
    public struct Attention: Hashable, Sendable {
        public var heads: Int
        /// Whether a token sees itself and what is before it alone.
        public var isCausal: Bool
        /// Probability that an attention weight is dropped.
        public var dropout: Double

        public init(heads: Int, isCausal: Bool, dropout: Double = 0) {
            self.heads = heads
            self.isCausal = isCausal
            self.dropout = dropout
        }
    }

    /// Whether the output is the input's bytes, so that nothing runs.
    public var isView: Bool { self == .view }

    /// Whether each row of a sequence comes of the rows at its place, or of them and others.
    var keepsTokens: Bool {
        switch self {
        case .linear, .activation, .softmax, .dropout, .layerNorm, .rmsNorm, .scale, .add, .multiply,
            .positions, .rotary, .attention:
            true
        case .concat(let isInner): isInner
        case .convolution, .transposedConvolution, .pooling, .adaptiveAveragePooling, .mean, .batchNorm,
            .groupNorm, .view, .permute, .embedding, .lengths, .prependToken, .selectToken:
            false
        }
    }
}
