internal import JSON

// Products, norms, and layers over sequences `[tokens, width]`: what describes them, and their fields.

extension LayerKind {
    /// A fully connected layer over the last axis.
    public struct Linear: Hashable, Sendable {
        public var outFeatures: Int
        public var bias = true
        /// The deviation that the weight starts from, with a bias of zeros; nil for the model's rule.
        public var initialDeviation: Double?
        /// The embedding or linear layer whose weight this one shares.
        public var tiedTo: String?

        public init(outFeatures: Int) { self.outFeatures = outFeatures }
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

    /// Layer normalisation over the last axis; over the channels of an image.
    public struct LayerNorm: Hashable, Sendable {
        public var epsilon = 1e-5
        /// Whether it has a learned scale and shift.
        public var isAffine = true
        /// Whether it has the shift, when it has the scale.
        public var bias = true

        public init() {}
    }

    /// Normalisation of groups of channels.
    public struct GroupNorm: Hashable, Sendable {
        public var groups: Int
        public var epsilon = 1e-5

        public init(groups: Int) { self.groups = groups }
    }

    /// Learned rows of a table, picked by token.
    public struct Embedding: Hashable, Sendable {
        public var vocabulary: Int
        public var width: Int
        /// The deviation that it starts from; PyTorch's is 1.
        public var initialDeviation: Double?
        /// The token that short samples end in: attention does not see it, and means leave it out.
        public var padding: Int?

        public init(vocabulary: Int, width: Int) {
            self.vocabulary = vocabulary
            self.width = width
        }
    }

    /// Attention of a sequence to itself, by several heads (Vaswani et al., 2017).
    public struct Attention: Hashable, Sendable {
        public var heads: Int
        /// Columns of a head's queries, keys and values; nil for the width shared out among the heads.
        public var headWidth: Int?
        /// Whether a token sees itself and what is before it alone.
        public var isCausal = false
        public var bias = true
        /// Probability that an attention weight is dropped.
        public var dropout = 0.0
        /// The base of rotary position embeddings; nil for none.
        public var rotaryBase: Double?
        public var initialDeviation: Double?
        /// The same for the output projection; by default as the others.
        public var outputDeviation: Double?

        public init(heads: Int) { self.heads = heads }
    }

    /// Attention and a two-layer perceptron, each with a norm and a way round it.
    public struct TransformerBlock: Hashable, Sendable {
        public enum Norm: String, CaseIterable, Sendable {
            case layerNorm = "layer_norm"
            case rmsNorm = "rms_norm"
        }

        public var attention: Attention
        /// Hidden units of the perceptron for each feature.
        public var mlpRatio = 4.0
        public var norm = Norm.layerNorm
        /// Whether the norms stand before attention and perceptron, or behind the sums.
        public var isPreNorm = true
        public var activation = InnerActivation.gelu
        public var epsilon = 1e-5

        public init(heads: Int) { attention = Attention(heads: heads) }
    }
}

extension LayerKind.Linear: TabledLayer {
    static let table = FieldTable(
        blank: Self(outFeatures: 1),
        rows: [
            .bind(LayerFields.outFeatures, \.outFeatures), .bind(LayerFields.bias, \.bias),
            .bind(LayerFields.deviation, \.initialDeviation), .bind(LayerFields.tiedTo, \.tiedTo),
        ])
}

extension LayerKind.BatchNorm: TabledLayer {
    static let table = FieldTable(
        blank: Self(),
        rows: [.bind(LayerFields.epsilon, \.epsilon), .bind(LayerFields.momentum, \.momentum)])
}

extension LayerKind.LayerNorm: TabledLayer {
    static let table = FieldTable(
        blank: Self(),
        rows: [
            .bind(LayerFields.epsilon, \.epsilon), .bind(LayerFields.affine, \.isAffine),
            .bind(LayerFields.bias, \.bias),
        ])
}

extension LayerKind.GroupNorm: TabledLayer {
    static let table = FieldTable(
        blank: Self(groups: 1),
        rows: [.bind(LayerFields.normGroups, \.groups), .bind(LayerFields.epsilon, \.epsilon)])
}

extension LayerKind.Attention: TabledLayer {
    static let table = FieldTable(blank: Self(heads: 1), rows: rows(of: \.self))

    /// The rows of attention within another layer.
    static func rows<Layer>(
        of path: any WritableKeyPath<Layer, Self> & Sendable
    ) -> [FieldTable<Layer>.Row] {
        let own: [FieldTable<Self>.Row] = [
            .bind(LayerFields.heads, \.heads), .bind(LayerFields.headWidth, \.headWidth),
            .bind(LayerFields.causal, \.isCausal), .bind(LayerFields.bias, \.bias),
            .bind(LayerFields.attentionDropout, \.dropout),
            .init(
                field: LayerFields.rotary,
                read: { reader, attention in
                    let isOff = reader.raw("rotary").map { $0 == false } ?? true
                    attention.rotaryBase = isOff ? nil : reader.read(LayerFields.rotaryBase)
                }, write: { JSONValue($0.rotaryBase) }),
            .bind(LayerFields.deviation, \.initialDeviation),
            .bind(LayerFields.outputDeviation, \.outputDeviation),
        ]
        return own.map { row in
            FieldTable<Layer>.Row(
                field: row.field, read: { reader, layer in row.read(&reader, &layer[keyPath: path]) },
                write: { row.write($0[keyPath: path]) })
        }
    }
}

extension LayerKind.TransformerBlock: TabledLayer {
    static let table = FieldTable(
        blank: Self(heads: 1),
        rows: LayerKind.Attention.rows(of: \.attention) + [
            .bind(LayerFields.mlpRatio, \.mlpRatio), .bind(LayerFields.blockNorm, \.norm),
            .bind(LayerFields.preNorm, \.isPreNorm), .bind(LayerFields.blockActivation, \.activation),
            .bind(LayerFields.epsilon, \.epsilon),
        ])
}
