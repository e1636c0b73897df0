public import JSON

/// The JSON fields of `prune`: they check a request and make its JSON Schema.
public enum PruneFields {
    static let structure = Field.choice(
        "structure", of: PruneOptions.Structure.self, default: .unstructured,
        "What goes as one piece: single weights, tiles of a weight's matrix, all but n of every m weights "
            + "along the input dimension, or whole channels and heads of attention.")
    static let block = Field.pair(
        "block", default: Pair(4, 1), in: 1...1024,
        "A tile's outputs and inputs, of a weight as a matrix [out, in * taps].")
    static let kept = Field.integer("n", default: 2, in: 1...255, "Weights kept of every m.")
    static let group = Field.integer("m", default: 4, in: 2...256, "Weights of which n are kept.")
    static let criterion = Field.choice(
        "criterion", of: PruneOptions.Criterion.self, default: .magnitude,
        "What makes a weight worth keeping: its size; nothing; |gradient * weight| before training (snip) or "
            + "its size over steps (taylor); its channel's batch normalisation factor; whether training "
            + "moves it away from zero (movement).")
    static let norm = Field.choice(
        "norm", of: PruneOptions.Norm.self, default: .l1, "How the sizes of several weights become one.")
    static let scope = Field.choice(
        "scope", of: PruneOptions.Scope.self, default: .global,
        "Whether all layers are ranked together, or each on its own.")
    static let target = Field.number(
        "target_sparsity", default: 0.5, in: 0...1, exclusiveMaximum: true,
        "Part of the original model's prunable weights, tiles or channels and heads that goes.")
    static let curve = Field.choice(
        "schedule", of: CurveName.self, default: .oneshot,
        "How sparsity grows: at once; linear; cubic, fast first (Zhu and Gupta); exponential; or in rounds "
            + "with training between them.")
    static let initial = Field.number(
        "initial_sparsity", default: 0, in: 0...1, exclusiveMaximum: true, "Sparsity at begin_step.")
    static let beginStep = Field.optionalInteger(
        "begin_step", in: 0...100_000_000,
        "Step of the first pruning. null is 0 for linear, cubic and exp, for snip, and for a stored model; "
            + "for oneshot on a new one it is behind its training; what is gathered in training begins at "
            + "frequency.")
    static let endStep = Field.optionalInteger(
        "end_step", in: 0...100_000_000, "Step of the last pruning; null is the end of train.")
    static let frequency = Field.integer(
        "frequency", default: 100, in: 1...100_000_000, "Steps between two prunings.")
    static let power = Field.number(
        "power", default: 3, in: 0...16, exclusiveMinimum: true, "Exponent of the cubic schedule.")
    static let rounds = Field.integer(
        "rounds", default: 5, in: 1...1000,
        "Rounds of the iterative schedule, each of which takes the same part of what is left; they stand "
            + "behind train.")
    static let rewind = Field.raw(
        "rewind", default: "none",
        schema: ["type": "string", "pattern": "^(none|init|lr|step:[0-9]{1,9})$"],
        "What becomes of the weights that stay, after each pruning: nothing; back to their first values, or "
            + "to those of a step (\"step:500\"), and train again from there; or they stay, and train starts "
            + "again (lr).")
    static let perLayer = Field.raw(
        "per_layer", default: [:],
        schema: [
            "type": ["object", "null"], "maxProperties": 4096,
            "additionalProperties": ["type": "number", "minimum": 0, "exclusiveMaximum": 1],
        ], "Sparsities of layers by name, in place of target_sparsity.")
    static let exclude = Field.strings(
        "exclude", default: [PruneOptions.outputName], count: 0...256, lengthMax: 256,
        "Names of layers that are left alone, * standing for any characters; \"output\" is the layer that "
            + "makes the model's output.")
    static let minPerLayer = Field.number(
        "min_per_layer", default: 0, in: 0...1, exclusiveMaximum: true, "Least sparsity of a layer.")
    static let maxPerLayer = Field.number(
        "max_per_layer", default: 0.98, in: 0...1, exclusiveMinimum: true, "Greatest sparsity of a layer.")
    static let roundTo = Field.integer(
        "round_to", default: 1, in: 1...1024,
        "What the number of channels kept is a multiple of; heads are not rounded.")
    static let minChannels = Field.integer(
        "min_channels", default: 1, in: 1...65_536, "Fewest channels kept of a layer; of heads one is kept.")
    static let shrinks = Field.bool(
        "shrink", default: true, "Whether channels that are all zero are removed from the model.")
    static let includesBias = Field.bool(
        "include_bias", default: false, "Whether biases are pruned with the weights.")

    static let macs = limit("macs", "Multiply-accumulates of a sample.")
    static let params = limit("params", "Learned numbers.")
    static let bytes = limit("bytes", "Bytes of all parameters.")
    static let latency = limit("latency_ms", "Measured milliseconds of one sample.")
    static let constraintSchema = ObjectSchema(
        "constraint", "What the model must be brought below, in place of target_sparsity.",
        fields: [macs, params, bytes, latency])
    static let constraint = Field.object(
        "constraint", constraintSchema, "What the model must be brought below, in place of target_sparsity.")

    static let epochs = Field.integer(
        "epochs", default: 3, in: 0...100_000,
        "Epochs behind train, or behind each round of the iterative schedule.")
    static let rateFactor = Field.number(
        "lr_factor", default: 0.1, in: 0...1000, exclusiveMinimum: true,
        "What the learning rate is multiplied by.")
    static let fineTuningSchema = ObjectSchema(
        "finetune", "Training behind pruning, at a learning rate of its own.", fields: [epochs, rateFactor])
    static let fineTuning = Field.object(
        "finetune", fineTuningSchema, "Training behind pruning, at a learning rate of its own.")

    /// The whole object.
    public static let schema = ObjectSchema(
        "prune", "What is pruned, how it is chosen, and when.",
        fields: [
            structure, block, kept, group, criterion, norm, scope, target, constraint, curve, initial,
            beginStep,
            endStep, frequency, power, rounds, rewind, perLayer, exclude, minPerLayer, maxPerLayer, roundTo,
            minChannels, shrinks, includesBias, fineTuning,
        ])

    /// The schedules by name.
    enum CurveName: String, Sendable, CaseIterable { case oneshot, linear, cubic, exp, iterative }

    private static func limit(_ name: String, _ documentation: String) -> Field<JSONValue> {
        Field.raw(
            name,
            schema: [
                "anyOf": [
                    ["type": "number", "exclusiveMinimum": 0],
                    ["type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$"], ["type": "null"],
                ]
            ], documentation + " A number, or a part of the original's such as \"50%\".")
    }
}
