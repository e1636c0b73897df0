public import JSON

/// The JSON fields of `quantize`: they check a request and make its JSON Schema.
public enum QuantizeFields {
    /// How a model is quantised.
    enum Method: String, Sendable, CaseIterable { case ptqStatic = "ptq_static" }
    enum WeightType: String, Sendable, CaseIterable { case int8 }
    enum ActivationType: String, Sendable, CaseIterable { case uint8 }
    enum WeightObserver: String, Sendable, CaseIterable { case minmax }
    enum ActivationGranularity: String, Sendable, CaseIterable { case perTensor = "per_tensor" }
    enum Observer: String, Sendable, CaseIterable {
        case minmax, percentile, kl
        case movingAverage = "moving_average"
    }

    static let method = Field.choice(
        "method", of: Method.self, default: .ptqStatic,
        "How scales are found: after training, from samples. (Dynamic scales, training with quantization and "
            + "weights alone are not offered.)")

    static let weightType = Field.choice(
        "dtype", of: WeightType.self, default: .int8, "What a weight is stored as.")
    static let weightSymmetric = Field.bool(
        "symmetric", default: true, "Weights are always symmetric: zero is code 0.")
    static let granularity = Field.choice(
        "granularity", of: QuantizeOptions.Granularity.self, default: .perChannel,
        "Whether each output channel has a scale of its own, or a layer has one.")
    static let weightObserver = Field.choice(
        "observer", of: WeightObserver.self, default: .minmax, "A scale covers the largest weight.")
    static let weightSchema = ObjectSchema(
        "weight", "How weights become bytes.",
        fields: [weightType, weightSymmetric, granularity, weightObserver])
    static let weight = Field.object("weight", weightSchema, "How weights become bytes.")

    static let activationType = Field.choice(
        "dtype", of: ActivationType.self, default: .uint8, "What an activation is stored as.")
    static let activationSymmetric = Field.bool(
        "symmetric", default: false, "Whether zero is the code in the middle, or where the range wants it.")
    static let activationGranularity = Field.choice(
        "granularity", of: ActivationGranularity.self, default: .perTensor, "What has one scale.")
    static let observer = Field.choice(
        "observer", of: Observer.self, default: .minmax,
        "What a range follows from: the extremes; those of batches, averaged; a percentile on either side; "
            + "or the cut that loses the least by the Kullback-Leibler divergence.")
    static let averagingConstant = Field.number(
        "averaging_constant", default: 0.01, in: 0...1, exclusiveMinimum: true,
        "How far a batch of 32 samples moves an averaged bound.")
    static let percentile = Field.number(
        "percentile", default: 99.99, in: 50...100, exclusiveMinimum: true,
        "What part of the values, in percent, lies below the upper bound, and above the lower one.")
    static let reduceRange = Field.raw(
        "reduce_range", default: "auto", schema: ["enum": ["auto", true, false]],
        "Whether activations take 7 bits instead of 8, so that products without VNNI cannot saturate; "
            + "\"auto\" asks the processor.")
    static let activationSchema = ObjectSchema(
        "activation", "How activations become bytes.",
        fields: [
            activationType, activationSymmetric, activationGranularity, observer, averagingConstant,
            percentile, reduceRange,
        ])
    static let activation = Field.object("activation", activationSchema, "How activations become bytes.")

    static let calibrationSamples = Field.integer(
        "calibration_samples", default: 512, in: 1...1_000_000,
        "Training samples, drawn by the seed, that ranges are found with.")
    static let foldsNorms = Field.bool(
        "fold_batchnorm", default: true, "Whether batch normalisations become part of the weights.")
    static let keepsMasks = Field.bool(
        "keep_masks", default: true, "Weights that are zero stay zero, always.")
    static let exclude = Field.strings(
        "exclude", default: [], count: 0...256, lengthMax: 256,
        "Names of layers that stay in float32, * standing for any characters; \"output\" is the layer that "
            + "makes the model's output.")

    /// The whole object.
    public static let schema = ObjectSchema(
        "quantize", "How a model's layers become bytes.",
        fields: [method, weight, activation, calibrationSamples, foldsNorms, keepsMasks, exclude])
}

extension QuantizeOptions {
    /// Reads the fields of `quantize`; what is wrong with them is in the reader's log.
    public static func read(_ reader: inout ObjectReader) -> QuantizeOptions {
        var options = QuantizeOptions()
        _ = reader.read(QuantizeFields.method)
        _ = reader.readObject(QuantizeFields.weight, assumesEmpty: true) { nested in
            _ = nested.read(QuantizeFields.weightType)
            refuse(!nested.read(QuantizeFields.weightSymmetric), "symmetric", "weights are symmetric", nested)
            options.granularity = nested.read(QuantizeFields.granularity)
            _ = nested.read(QuantizeFields.weightObserver)
        }
        _ = reader.readObject(QuantizeFields.activation, assumesEmpty: true) { options.readActivation(&$0) }
        options.calibrationSamples = reader.read(QuantizeFields.calibrationSamples)
        options.foldsNorms = reader.read(QuantizeFields.foldsNorms)
        refuse(
            !reader.read(QuantizeFields.keepsMasks), "keep_masks", "zeros stay zeros whatever is asked",
            reader)
        options.exclude = reader.read(QuantizeFields.exclude)
        return options
    }

    private mutating func readActivation(_ reader: inout ObjectReader) {
        _ = reader.read(QuantizeFields.activationType)
        isSymmetric = reader.read(QuantizeFields.activationSymmetric)
        _ = reader.read(QuantizeFields.activationGranularity)
        let observer = reader.read(QuantizeFields.observer)
        let constant = reader.read(QuantizeFields.averagingConstant)
        let percentile = reader.read(QuantizeFields.percentile)
        switch observer {
        case .minmax: rule = .minmax
        case .movingAverage: rule = .movingAverage(constant: constant)
        case .percentile: rule = .percentile(percentile)
        case .kl: rule = .divergence
        }
        for (name, owner) in [
            ("averaging_constant", QuantizeFields.Observer.movingAverage),
            ("percentile", .percentile),
        ] where observer != owner {
            Self.refuse(
                reader.contains(name), name, "only the observer \"\(owner.rawValue)\" reads it", reader)
            reader.forget(name)
        }
        let reduces = reader.read(QuantizeFields.reduceRange)
        reducesRange = reduces.boolValue
        Self.refuse(
            reducesRange == nil && reduces != "auto", "reduce_range",
            "expected \"auto\", true or false, found \(reduces.summary)", reader)
    }

    private static func refuse(
        _ isWrong: Bool, _ name: String, _ reason: String, _ reader: ObjectReader
    ) {
        guard isWrong else { return }
        reader.log.add(reader.pointer(to: name), "invalid_value", reason)
    }
}
