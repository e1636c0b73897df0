public import JSON

// Layers over images `[channels, height, width]`: what describes them, and their fields.

extension LayerKind {
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

    /// A convolution that looks at one channel at a time.
    public struct DepthwiseConv2d: Hashable, Sendable {
        public var kernelSize: Pair
        public var stride = Pair(1, 1)
        public var padding = Pair(0, 0)
        public var dilation = Pair(1, 1)
        /// Output channels of each input channel.
        public var multiplier = 1
        public var bias = true

        public init(kernelSize: Pair) { self.kernelSize = kernelSize }
    }

    /// A depthwise convolution followed by a 1x1 convolution, as in MobileNet.
    public struct SeparableConv2d: Hashable, Sendable {
        /// What stands behind each of the two convolutions.
        public enum Norm: String, CaseIterable, Sendable {
            case none
            case batchNorm = "batch_norm"
        }

        public var outChannels: Int
        public var kernelSize: Pair
        public var stride = Pair(1, 1)
        public var padding = Pair(0, 0)
        public var dilation = Pair(1, 1)
        public var bias = true
        public var norm = Norm.none
        /// Behind each of the two, after the norm.
        public var activation = InnerActivation.none

        public init(outChannels: Int, kernelSize: Pair) {
            self.outChannels = outChannels
            self.kernelSize = kernelSize
        }
    }

    /// A transposed convolution: the gradient of a convolution, which enlarges an image.
    public struct ConvTranspose2d: Hashable, Sendable {
        public var outChannels: Int
        public var kernelSize: Pair
        public var stride = Pair(1, 1)
        public var padding = Pair(0, 0)
        /// Rows and columns added at the far ends.
        public var outputPadding = Pair(0, 0)
        public var dilation = Pair(1, 1)
        public var groups = 1
        public var bias = true

        public init(outChannels: Int, kernelSize: Pair) {
            self.outChannels = outChannels
            self.kernelSize = kernelSize
        }
    }

    /// A one-dimensional convolution over `[channels, length]`.
    public struct Conv1d: Hashable, Sendable {
        public var outChannels: Int
        public var kernelSize: Int
        public var stride = 1
        public var padding = 0
        public var dilation = 1
        public var groups = 1
        public var bias = true

        public init(outChannels: Int, kernelSize: Int) {
            self.outChannels = outChannels
            self.kernelSize = kernelSize
        }
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

    /// A pooling window over `[channels, length]`.
    public struct Pool1d: Hashable, Sendable {
        public var kernelSize: Int
        public var stride: Int
        public var padding = 0
        /// Average pooling alone: whether zeros of the padding enter the mean.
        public var countIncludePad = true

        public init(kernelSize: Int, stride: Int? = nil) {
            self.kernelSize = kernelSize
            self.stride = stride ?? kernelSize
        }
    }

    /// Weighs the channels of an image by what a small net makes of their means (Hu et al., 2018).
    public struct SqueezeExcite: Hashable, Sendable {
        /// Channels for each hidden unit.
        public var reduction = 4
        public var activation = InnerActivation.relu

        public init() {}
    }
}

/// A non-linearity inside a layer that is made of several.
public enum InnerActivation: String, CaseIterable, Sendable {
    case none, relu, relu6, gelu
    case geluTanh = "gelu_tanh"
    case silu
    case hardSwish = "hard_swish"

    var operation: Operation.Activation? {
        switch self {
        case .none: nil
        case .relu: .relu
        case .relu6: .relu6
        case .gelu: .gelu(tanh: false)
        case .geluTanh: .gelu(tanh: true)
        case .silu: .silu
        case .hardSwish: .hardSwish
        }
    }
}

extension LayerKind.Conv2d: TabledLayer, WindowedLayer {
    static let table = FieldTable(
        blank: Self(outChannels: 1, kernelSize: Pair(1, 1)),
        rows: [
            .bind(LayerFields.outChannels, \.outChannels), .bind(LayerFields.kernelSize, \.kernelSize),
            .bind(LayerFields.stride, \.stride), .bind(LayerFields.dilation, \.dilation), .padding,
            .bind(LayerFields.groups, \.groups), .bind(LayerFields.bias, \.bias),
        ])
}

extension LayerKind.DepthwiseConv2d: TabledLayer, WindowedLayer {
    static let table = FieldTable(
        blank: Self(kernelSize: Pair(1, 1)),
        rows: [
            .bind(LayerFields.kernelSize, \.kernelSize), .bind(LayerFields.stride, \.stride),
            .bind(LayerFields.dilation, \.dilation), .padding,
            .bind(LayerFields.multiplier, \.multiplier), .bind(LayerFields.bias, \.bias),
        ])
}

extension LayerKind.SeparableConv2d: TabledLayer, WindowedLayer {
    static let table = FieldTable(
        blank: Self(outChannels: 1, kernelSize: Pair(1, 1)),
        rows: [
            .bind(LayerFields.outChannels, \.outChannels), .bind(LayerFields.kernelSize, \.kernelSize),
            .bind(LayerFields.stride, \.stride), .bind(LayerFields.dilation, \.dilation), .padding,
            .bind(LayerFields.bias, \.bias), .bind(LayerFields.separableNorm, \.norm),
            .bind(LayerFields.separableActivation, \.activation),
        ])
}

extension LayerKind.ConvTranspose2d: TabledLayer {
    static let table = FieldTable(
        blank: Self(outChannels: 1, kernelSize: Pair(1, 1)),
        rows: [
            .bind(LayerFields.outChannels, \.outChannels), .bind(LayerFields.kernelSize, \.kernelSize),
            .bind(LayerFields.stride, \.stride), .bind(WindowFields.zeros, \.padding),
            .bind(LayerFields.outputPadding, \.outputPadding), .bind(LayerFields.dilation, \.dilation),
            .bind(LayerFields.groups, \.groups), .bind(LayerFields.bias, \.bias),
        ])
}

extension LayerKind.Conv1d: TabledLayer {
    static let table = FieldTable(
        blank: Self(outChannels: 1, kernelSize: 1),
        rows: [
            .bind(LayerFields.outChannels, \.outChannels), .bind(LayerFields.length, \.kernelSize),
            .bind(LayerFields.step, \.stride), .bind(LayerFields.dilation1d, \.dilation),
            .init(
                field: LayerFields.padding1d,
                read: { reader, layer in
                    let window = Window1d(layer.kernelSize, layer.stride, layer.dilation)
                    layer.padding = WindowFields.readPadding(&reader, window).second
                }, write: { JSONValue($0.padding) }),
            .bind(LayerFields.groups, \.groups), .bind(LayerFields.bias, \.bias),
        ])
}

/// A one-dimensional window as a window of height 1, to share the reading of its padding.
private struct Window1d: WindowedLayer {
    let kernelSize, stride, dilation: Pair
    var padding = Pair(0, 0)

    init(_ kernelSize: Int, _ stride: Int, _ dilation: Int) {
        self.kernelSize = Pair(1, kernelSize)
        self.stride = Pair(1, stride)
        self.dilation = Pair(1, dilation)
    }
}

extension LayerKind.Pool2d: TabledLayer {
    static let table = FieldTable(blank: Self(kernelSize: Pair(1, 1)), rows: maximumRows + [counting])
    static let maximumTable = FieldTable(blank: Self(kernelSize: Pair(1, 1)), rows: maximumRows)

    private static let counting = FieldTable<Self>.Row.bind(LayerFields.countIncludePad, \.countIncludePad)
    private static let maximumRows: [FieldTable<Self>.Row] = [
        .bind(LayerFields.kernelSize, \.kernelSize),
        .init(
            field: LayerFields.poolStride,
            read: { reader, pool in
                let isGiven = reader.raw("stride").map { !$0.isNull } ?? false
                pool.stride = isGiven ? reader.read(LayerFields.stride) : pool.kernelSize
            }, write: { LayerFields.stride.json(of: $0.stride) }),
        .bind(WindowFields.zeros, \.padding),
    ]
}

extension LayerKind.Pool1d: TabledLayer {
    static let table = FieldTable(blank: Self(kernelSize: 1), rows: maximumRows + [counting])
    static let maximumTable = FieldTable(blank: Self(kernelSize: 1), rows: maximumRows)

    private static let counting = FieldTable<Self>.Row.bind(LayerFields.countIncludePad, \.countIncludePad)
    private static let maximumRows: [FieldTable<Self>.Row] = [
        .bind(LayerFields.length, \.kernelSize),
        .init(
            field: LayerFields.poolStep,
            read: { reader, pool in pool.stride = reader.read(LayerFields.poolStep) ?? pool.kernelSize },
            write: { JSONValue($0.stride) }),
        .bind(LayerFields.zeros1d, \.padding),
    ]
}

extension LayerKind.SqueezeExcite: TabledLayer {
    static let table = FieldTable(
        blank: Self(),
        rows: [
            .bind(LayerFields.reduction, \.reduction), .bind(LayerFields.squeezeActivation, \.activation),
        ])
}
