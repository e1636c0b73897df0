public import JSON

/// The JSON fields of a model.
enum ModelFields {
    static let presetName = Field.choice("preset", of: Preset.self, "A model by name.")
    static let hidden = Field.integers(
        "hidden", default: [500], count: 1...64, each: 1...65_536, "Widths of mlp's hidden layers.")
    static let dropout = Field.number(
        "dropout", default: 0, in: 0...0.99, "Probability of dropout behind each hidden layer; 0 is none.")
    static let classes = Field.optionalInteger(
        "classes", in: 1...(1 << 20), "Width of the output; by default the dataset's number of classes.")
    static let input = Field.optionalIntegers(
        "input", count: 1...3, each: 1...(1 << 24),
        "One sample's extents, [channels, height, width] or [features]; by default the dataset's.")
    static let layers = Field.raw(
        "layers", isRequired: true,
        schema: [
            "type": "array", "minItems": 1, "maxItems": JSONValue(ModelSpec.layerCountMax),
            "items": ["oneOf": .array(LayerType.allCases.map { LayerFields.schema(of: $0).jsonSchema() })],
        ], "The layers in order.")
    static let initialization = Field.choice(
        "initialization", of: Initialization.self, default: .default, "How weights start.")

    static let preset = ObjectSchema(
        "preset", "A model by name.", fields: [presetName, hidden, dropout, classes, input, initialization])
    static let layered = ObjectSchema(
        "layers", "A model by its layers.", fields: [input, layers, initialization])
}

extension ModelSpec {
    /// The JSON Schema of the field `model`.
    public static var jsonSchema: JSONValue {
        ["oneOf": [ModelFields.preset.jsonSchema(), ModelFields.layered.jsonSchema()]]
    }
}
