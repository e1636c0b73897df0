public import JSON

/// The JSON fields of a model.
enum ModelFields {
    static let defaultContext = 64

    static let presetName = Field.choice("preset", of: Preset.self, "A model by name.")
    static let hidden = Field.integers(
        "hidden", default: [500], count: 1...64, each: 1...65_536, "Widths of the hidden layers.")
    static let dropout = Field.number(
        "dropout", default: 0, in: 0...0.99, "Probability of dropout; 0 is none.")
    static let classes = Field.optionalInteger(
        "classes", in: 1...(1 << 20), "Width of the output; by default the dataset's number of classes.")
    static let widthFactor = Field.number(
        "width", default: 1, in: 0.01...16, "Factor of every layer's channels.")
    static let layerCount = Field.integer(
        "layers", default: 4, in: 1...1024, "How many transformer blocks there are.")
    static let depth = Field.integer(
        "depth", default: 12, in: 1...1024, "How many transformer blocks there are.")
    static let heads = Field.integer("heads", default: 4, in: 1...4096, "Heads of each attention.")
    static let visionHeads = Field.integer("heads", default: 3, in: 1...4096, "Heads of each attention.")
    static let width = Field.integer("width", default: 128, in: 1...65_536, "Features of a token.")
    static let visionWidth = Field.integer("width", default: 192, in: 1...65_536, "Features of a token.")
    static let context = Field.optionalInteger(
        "context", in: 1...(1 << 20), "Tokens of a sample; by default the input's, or 64.")
    static let vocabulary = Field.automaticInteger(
        "vocabulary", in: 1...(1 << 24), "How many tokens there are; \"auto\" is the dataset's number.")
    static let bias = Field.bool("bias", default: false, "Whether products and norms have biases.")
    static let tied = Field.bool(
        "tied", default: true, "Whether the output layer shares the embedding's weights.")
    static let patch = Field.optionalInteger(
        "patch", in: 1...1024, "Extent of a patch; by default 16, for images below 64 pixels 4.")
    static let input = Field.optionalIntegers(
        "input", count: 1...3, each: 1...(1 << 24),
        "One sample's extents: [channels, height, width], [channels, length] or [tokens, width], [features], "
            + "or [tokens]; by default the dataset's.")
    static let layers = Field.raw(
        "layers", isRequired: true,
        schema: [
            "type": "array", "minItems": 1, "maxItems": JSONValue(ModelSpec.layerCountMax),
            "items": [
                "$id": LayerFields.schemaID,
                "oneOf": .array(
                    LayerType.allCases.map { type in
                        LayerFields.schema(of: type).jsonSchema(where: "type", is: type.rawValue)
                    }),
            ],
        ], "The layers in order.")
    static let initialization = Field.choice(
        "initialization", of: Initialization.self, default: .default, "How weights start.")

    static let layered = ObjectSchema(
        "layers", "A model by its layers.", fields: [input, layers, initialization])

    static func schema(of preset: Preset) -> ObjectSchema {
        ObjectSchema(
            preset.rawValue, "The preset \(preset.rawValue).",
            fields: [presetName] + fields(of: preset) + [input, initialization])
    }

    private static func fields(of preset: Preset) -> [any AnyField] {
        switch preset {
        case .linear, .resnet8, .resnet18, .resnet20, .dsCNN, .separable5, .standard5: [classes]
        case .mlp: [hidden, dropout, classes]
        case .lenet300100, .lenet5Caffe: [dropout, classes]
        case .mobilenetV1: [widthFactor, classes]
        case .gpt: [layerCount, heads, width, context, vocabulary, dropout, bias, tied]
        case .bert: [layerCount, heads, width, context, vocabulary, dropout, classes]
        case .vitTiny: [patch, visionWidth, depth, visionHeads, classes]
        }
    }
}

extension ModelSpec {
    /// The JSON Schema of the field `model`: one alternative for each preset, and one for layers.
    public static var jsonSchema: JSONValue {
        let presets = Preset.allCases.map { preset in
            ModelFields.schema(of: preset).jsonSchema(where: "preset", is: preset.rawValue)
        }
        return ["oneOf": .array(presets + [ModelFields.layered.jsonSchema()])]
    }
}
