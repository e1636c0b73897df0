public import JSON

/// The JSON fields of `quantize`: they check a request and make its JSON Schema.
public enum QuantizeFields {
    /// How a model is quantised.
    enum Method: String, Sendable, CaseIterable {
        case ptqStatic = "ptq_static"
        case qat
    }
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
        "How scales are found: after training, from samples; or while the model is trained with numbers "
            + "rounded as bytes round them (qat). Dynamic scales (ptq_dynamic) and weights alone "
            + "(weight_only) are not offered.")

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
            + "or the cut that loses the least by the Kullback-Leibler divergence. With qat it is the "
            + "average, of the batches that are trained on.")
    static let averagingConstant = Field.number(
        "averaging_constant", default: 0.01, in: 0...1, exclusiveMinimum: true,
        "How far a batch moves an averaged bound: one of 32 samples, or one that is trained on.")
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
        "Training samples, drawn by the seed, that ranges are found with; not with qat.")
    static let foldsNorms = Field.bool(
        "fold_batchnorm", default: true, "Whether batch normalisations become part of the weights.")
    static let keepsMasks = Field.bool(
        "keep_masks", default: true, "Weights that are zero stay zero, always.")
    static let exclude = Field.strings(
        "exclude", default: [], count: 0...256, lengthMax: 256,
        "Names of layers that stay in float32, * standing for any characters; \"output\" is the layer that "
            + "makes the model's output.")

    static let epochs = Field.integer(
        "epochs", default: 1, in: 1...100_000, "Epochs of the training with rounded numbers.")
    static let rateFactor = Field.number(
        "lr_factor", default: 0.1, in: 0...1e6, exclusiveMinimum: true,
        "What train.optimizer.lr is multiplied by.")
    static let freezesRangesAfter = Field.number(
        "freeze_observers_after", default: 0.5, in: 0...1,
        "The part of the steps after which ranges no longer follow the batches; 0 keeps the first batch's.")
    static let freezesNormsAfter = Field.raw(
        "freeze_bn_after", schema: ["not": [:]],
        "Refused: normalisations become part of the weights before the first step, so that nothing is left "
            + "to freeze.")
    static let trainingSchema = ObjectSchema(
        "qat", "How a model is trained with rounded numbers.",
        fields: [epochs, rateFactor, freezesRangesAfter, freezesNormsAfter])
    static let training = Field.object(
        "qat", trainingSchema, "How a model is trained with rounded numbers; method qat alone reads it.")

    /// The whole object.
    public static let schema = ObjectSchema(
        "quantize", "How a model's layers become bytes.",
        fields: [method, weight, activation, calibrationSamples, foldsNorms, keepsMasks, exclude, training])
}

extension QuantizeOptions {
    /// Reads the fields of `quantize`; what is wrong with them is in the reader's log.
    public static func read(_ reader: inout ObjectReader) -> QuantizeOptions {
        var options = QuantizeOptions()
        let isTrained = reader.read(QuantizeFields.method) == .qat
        _ = reader.readObject(QuantizeFields.weight, assumesEmpty: true) { nested in
            _ = nested.read(QuantizeFields.weightType)
            refuse(!nested.read(QuantizeFields.weightSymmetric), "symmetric", "weights are symmetric", nested)
            options.granularity = nested.read(QuantizeFields.granularity)
            _ = nested.read(QuantizeFields.weightObserver)
        }
        _ = reader.readObject(QuantizeFields.activation, assumesEmpty: true) {
            options.readActivation(&$0, isTrained: isTrained)
        }
        options.calibrationSamples = reader.read(QuantizeFields.calibrationSamples)
        options.foldsNorms = reader.read(QuantizeFields.foldsNorms)
        refuse(
            !reader.read(QuantizeFields.keepsMasks), "keep_masks", "zeros stay zeros whatever is asked",
            reader)
        options.exclude = reader.read(QuantizeFields.exclude)
        if isTrained {
            let name = QuantizeFields.calibrationSamples.name
            refuse(reader.contains(name), name, "ranges follow the batches that are trained on", reader)
            reader.forget(name)
            options.training = reader.readObject(QuantizeFields.training, assumesEmpty: true) {
                Training.read(&$0)
            }
        } else {
            let name = QuantizeFields.training.name
            let isGiven = reader.contains(name)
            refuse(isGiven, name, "only the method \"qat\" reads it", reader)
            if isGiven { _ = reader.readObject(QuantizeFields.training) { Training.read(&$0) } }
            reader.forget(name)
        }
        return options
    }

    private mutating func readActivation(_ reader: inout ObjectReader, isTrained: Bool) {
        _ = reader.read(QuantizeFields.activationType)
        isSymmetric = reader.read(QuantizeFields.activationSymmetric)
        _ = reader.read(QuantizeFields.activationGranularity)
        var observer = reader.read(QuantizeFields.observer)
        if isTrained, !reader.contains(QuantizeFields.observer.name) {
            observer = .movingAverage
            reader.resolve(QuantizeFields.observer.name, as: .string(observer.rawValue))
        }
        Self.refuse(
            isTrained && observer != .movingAverage, QuantizeFields.observer.name,
            "with the method \"qat\" ranges follow the batches that are trained on: \"moving_average\"",
            reader)
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

    fileprivate static func refuse(
        _ isWrong: Bool, _ name: String, _ reason: String, _ reader: ObjectReader
    ) {
        guard isWrong else { return }
        reader.log.add(reader.pointer(to: name), "invalid_value", reason)
    }
}

extension QuantizeOptions.Training {
    fileprivate static func read(_ reader: inout ObjectReader) -> Self {
        var training = Self()
        training.epochs = reader.read(QuantizeFields.epochs)
        training.rateFactor = reader.read(QuantizeFields.rateFactor)
        training.freezesRangesAfter = reader.read(QuantizeFields.freezesRangesAfter)
        let name = QuantizeFields.freezesNormsAfter.name
        QuantizeOptions.refuse(
            reader.raw(name)?.isNull == false, name,
            "batch normalisations become part of the weights before the first step, with the statistics that "
                + "they have: nothing is left to freeze", reader)
        _ = reader.read(QuantizeFields.freezesNormsAfter)
        reader.forget(name)
        return training
    }
}
