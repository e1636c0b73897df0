public import JSON

/// One layer of a model as it is described: PyTorch's names and fields.
public struct LayerSpec: Hashable, Sendable {
    /// Unique in its model; parameters are named after it (`conv1.weight`).
    public var name: String
    public var kind: LayerKind

    public init(_ kind: LayerKind, name: String) {
        self.kind = kind
        self.name = name
    }
}

/// What a layer computes.
public enum LayerKind: Hashable, Sendable {
    case conv2d(Conv2d)
    case linear(Linear)
    case relu
    case maxPool2d(Pool2d)
    case avgPool2d(Pool2d)
    case flatten
    /// The probability that an element is dropped.
    case dropout(Double)
    case batchNorm(BatchNorm)

    /// A two-dimensional convolution.
    public struct Conv2d: Hashable, Sendable {
        public var outChannels: Int
        public var kernelSize: Pair
        public var stride = Pair(1, 1)
        public var padding = Pair(0, 0)
        public var dilation = Pair(1, 1)
        public var groups = 1
        public var bias = true

        public init(outChannels: Int, kernelSize: Pair) {
            self.outChannels = outChannels
            self.kernelSize = kernelSize
        }
    }

    /// A fully connected layer over a flat input.
    public struct Linear: Hashable, Sendable {
        public var outFeatures: Int
        public var bias = true

        public init(outFeatures: Int) { self.outFeatures = outFeatures }
    }

    /// A pooling window.
    public struct Pool2d: Hashable, Sendable {
        public var kernelSize: Pair
        public var stride: Pair
        public var padding = Pair(0, 0)
        /// Average pooling alone: whether zeros of the padding enter the mean.
        public var countIncludePad = true

        public init(kernelSize: Pair, stride: Pair? = nil) {
            self.kernelSize = kernelSize
            self.stride = stride ?? kernelSize
        }
    }

    /// Batch normalisation of channels, or of features when the input is flat.
    public struct BatchNorm: Hashable, Sendable {
        public var epsilon: Double
        public var momentum: Double

        public init(epsilon: Double = 1e-5, momentum: Double = 0.1) {
            self.epsilon = epsilon
            self.momentum = momentum
        }
    }

    /// The value of the JSON field `type`.
    public var typeName: LayerType {
        switch self {
        case .conv2d: .conv2d
        case .linear: .linear
        case .relu: .relu
        case .maxPool2d: .maxPool2d
        case .avgPool2d: .avgPool2d
        case .flatten: .flatten
        case .dropout: .dropout
        case .batchNorm: .batchNorm
        }
    }
}

/// The layer types by their names in JSON.
public enum LayerType: String, CaseIterable, Sendable {
    case conv2d, linear, relu
    case maxPool2d = "max_pool2d"
    case avgPool2d = "avg_pool2d"
    case flatten, dropout
    case batchNorm = "batch_norm"

    /// What an unnamed layer of the type is called, before its number: the field's habit (`conv1`, `fc1`).
    var namePrefix: String {
        switch self {
        case .conv2d: "conv"
        case .linear: "fc"
        case .relu: "relu"
        case .maxPool2d, .avgPool2d: "pool"
        case .flatten: "flatten"
        case .dropout: "dropout"
        case .batchNorm: "bn"
        }
    }
}
