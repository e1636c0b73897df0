public import JSON

/// One layer of a model as it is described: PyTorch's names and fields.
public struct LayerSpec: Hashable, Sendable {
    /// Unique in its list; parameters are named after it and what is around it (`block1.conv1.weight`).
    public var name: String
    public var kind: LayerKind
    /// Names of earlier layers of its list or one around it, or `input`; empty for the layer before.
    public var inputs: [String]

    /// More inputs than this are refused.
    public static let inputCountMax = 64
    /// The name of a list's input.
    static let inputName = "input"
    /// The name of a residual layer's way round, within its name.
    static let shortcutName = "shortcut"

    public init(_ kind: LayerKind, name: String, inputs: [String] = []) {
        self.kind = kind
        self.name = name
        self.inputs = inputs
    }

    /// The layer with every default filled in.
    public var json: JSONValue {
        var object: JSONObject = ["type": .string(kind.typeName.rawValue), "name": .string(name)]
        if !inputs.isEmpty { object["inputs"] = .array(inputs.map(JSONValue.string)) }
        for (key, value) in kind.members { object[key] = value }
        return .object(object)
    }

    /// Whether a name is of letters, digits, `_` and `-` alone, so that it can be part of a parameter's.
    static func isName(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
    }
}

extension LayerKind {
    /// The fields of its own.
    fileprivate var members: [(String, JSONValue)] {
        switch self {
        case .conv2d(let layer): layer.members
        case .depthwiseConv2d(let layer): layer.members
        case .separableConv2d(let layer): layer.members
        case .conv1d(let layer): layer.members
        case .convTranspose2d(let layer): layer.members
        case .linear(let layer): layer.members
        case .activation(.leakyReLU(let slope)): [("negative_slope", .number(slope))]
        case .activation(.gelu(let tanh)): [("approximate", tanh ? "tanh" : "none")]
        case .activation, .softmax, .globalAvgPool, .add, .multiply, .flatten: []
        case .maxPool2d(let pool): Pool2d.maximumTable.members(of: pool)
        case .avgPool2d(let pool): pool.members
        case .maxPool1d(let pool): Pool1d.maximumTable.members(of: pool)
        case .avgPool1d(let pool): pool.members
        case .adaptiveAvgPool2d(let size): [("output_size", LayerFields.outputSize.json(of: size))]
        case .batchNorm(let norm): norm.members
        case .layerNorm(let norm): norm.members
        case .rmsNorm(let epsilon): [("eps", .number(epsilon))]
        case .groupNorm(let norm): norm.members
        case .dropout(let probability): [("p", .number(probability))]
        case .flattenAxes(let start, let end): [("start_dim", JSONValue(start)), ("end_dim", JSONValue(end))]
        case .reshape(let shape): [("shape", .array(shape.map { JSONValue($0) }))]
        case .transpose(let dims): [("dims", .array(dims.map { JSONValue($0) }))]
        case .concat(let dim): [("dim", JSONValue(dim))]
        case .residual(let layers, let shortcut):
            [("layers", .array(layers.map(\.json))), ("shortcut", .array(shortcut.map(\.json)))]
        case .squeezeExcite(let layer): layer.members
        case .sequential(let layers): [("layers", .array(layers.map(\.json)))]
        case .embedding(let layer):
            [("vocabulary", JSONValue(layer.vocabulary)), ("width", JSONValue(layer.width))]
                + (layer.initialDeviation.map { [("init_std", .number($0))] } ?? [])
                + (layer.padding.map { [("padding_idx", JSONValue($0))] } ?? [])
        case .positionalEmbedding(let deviation), .classToken(let deviation):
            [("init_std", .number(deviation))]
        case .selectToken(let index): [("index", JSONValue(index))]
        case .multiHeadAttention(let layer): layer.members
        case .transformerBlock(let layer): layer.members
        }
    }
}
