internal import Data
internal import Graph
public import JSON
internal import Kernels
internal import Plan

/// The JSON fields of `train`: they check a request and make its JSON Schema.
public enum TrainFields {
    static let epochs = Field.integer(
        "epochs", default: 10, in: 1...100_000, "Passes over the training split.")
    static let steps = Field.optionalInteger(
        "steps", in: 1...100_000_000, "Steps of the whole run; takes the place of epochs.")
    static let evaluationSteps = Field.optionalInteger(
        "eval_every_steps", in: 1...100_000_000, "Steps between evaluations; null evaluates after each epoch."
    )
    static let batchSize = Field.automaticInteger(
        "batch_size", default: .value(64), in: 1...65_536,
        "Samples per step; \"auto\" is 64, or the largest power of two below that the memory budget holds.")
    static let checkpointSegments = Field.automaticInteger(
        "checkpoint_segments", default: .automatic, in: 1...64,
        "Parts of the forward pass, of which all but the last are computed again in the backward pass "
            + "instead of being kept; \"auto\" is 1, or the fewest that the memory budget allows.")
    static let microBatchSize = Field.optionalInteger(
        "micro_batch_size", in: 1...65_536,
        "Samples in memory at once: a step's gradient is gathered from parts of this size, weighted by their "
            + "samples. null takes the whole batch. Batch normalisation sees the parts. \"auto\" cuts large "
            + "batches of models without it where that costs no time, and smaller where memory is short."
    ).automatic(default: .automatic)
    static let precision = Field.choice(
        "precision", of: TrainOptions.Precision.self, default: .fp32,
        "What activations are stored as: fp32, or bf16 with parameters, statistics and losses in fp32.")
    static let loss = Field.choice(
        "loss", of: TrainOptions.LossName.self, default: .crossEntropy,
        "cross_entropy on class labels; mse, l1, huber, bce and kl against one-hot labels.")
    static let labelSmoothing = Field.number(
        "label_smoothing", default: 0, in: 0...0.99, "Share of the target that is spread over all classes.")
    static let huberDelta = Field.number(
        "huber_delta", default: 1, in: 1e-6...1e6, "Difference from which on the huber loss is linear.")
    static let clipNorm = Field.optionalNumber(
        "clip_grad_norm", in: 0...1e9, exclusiveMinimum: true,
        "Largest norm of all gradients together; larger ones are scaled down.")
    static let averageDecay = Field.optionalNumber(
        "ema_decay", in: 0...1, exclusiveMinimum: true, exclusiveMaximum: true,
        "Decay of an average of the weights, which then is what is evaluated and stored.")
    static let validationFraction = Field.number(
        "validation_fraction", default: 0, in: 0...0.9,
        "Part of the training split set aside for val_* when the dataset has no validation split; 0 uses the "
            + "test split.")
    static let checkpointSeconds = Field.automaticNumber(
        "checkpoint_every_seconds", in: 1...3600,
        "Longest time between checkpoints. \"auto\" is 30, and more where writing one takes so long that it "
            + "would cost over 3.5 % of the time.")
    static let keptCheckpointSteps = Field.optionalInteger(
        "keep_checkpoint_every_steps", in: 1...100_000_000,
        "Steps between checkpoints that stay until the job is deleted, at most 100 of them; null keeps none."
    )
    static let keep = Field.choice(
        "keep", of: TrainOptions.Keep.self, default: .last,
        "Whose weights become the model: the last, or those of the best evaluation by val_accuracy, or by "
            + "early_stopping's metric.")

    static let patience = Field.integer(
        "patience", default: 3, in: 1...100_000, "Evaluations in a row without a better one.")
    static let minDelta = Field.number(
        "min_delta", default: 0, in: 0...1e9, "By how much an evaluation must be better.")
    static let metric = Field.choice(
        "metric", of: TrainOptions.Metric.self, default: .loss, "What evaluations are judged by.")
    static let earlyStoppingSchema = ObjectSchema(
        "early_stopping", "Stops when nothing gets better, and keeps the best weights.",
        fields: [patience, minDelta, metric])
    static let earlyStopping = Field.object(
        "early_stopping", earlyStoppingSchema, "Stops when nothing gets better, and keeps the best weights.")

    static let randomCrop = Field.integer(
        "random_crop", default: 0, in: 0...64, "Padding out of which a window is cut at random; 0 is off.")
    static let horizontalFlip = Field.bool(
        "horizontal_flip", default: false, "Whether half of the images are mirrored.")
    static let cutout = Field.integer(
        "cutout", default: 0, in: 0...4096,
        "Side in pixels of a square at a random place that is blanked; 0 is off.")
    static let mixup = Field.number(
        "mixup", default: 0, in: 0...100,
        "Images and labels of a batch are mixed in the ratio of a draw from Beta(mixup, mixup); 0 is off.")
    static let augmentSchema = ObjectSchema(
        "augment", "Random changes of the training images.",
        fields: [randomCrop, horizontalFlip, cutout, mixup])
    static let augment = Field.object("augment", augmentSchema, "Random changes of the training images.")

    /// The whole object.
    public static let schema = ObjectSchema(
        "train", "How the model is trained.",
        fields: [
            epochs, steps, evaluationSteps, batchSize, microBatchSize, checkpointSegments,
            precision, loss, labelSmoothing,
            huberDelta, OptimizerFields.object, ScheduleFields.object, clipNorm, averageDecay,
            validationFraction, augment, checkpointSeconds, keptCheckpointSteps, keep, earlyStopping,
            AdapterFields.object,
        ])
}

extension TrainOptions {
    /// Reads the fields of `train`.
    ///
    /// - Returns: The options, and whether the batch size is left to the service.
    public static func read(_ reader: inout ObjectReader) -> (options: TrainOptions, choosesBatchSize: Bool) {
        var options = TrainOptions()
        options.readLength(&reader)
        options.evaluationSteps = reader.read(TrainFields.evaluationSteps)
        let batchSize = reader.read(TrainFields.batchSize)
        options.batchSize = batchSize.resolved(64)
        switch reader.read(TrainFields.microBatchSize) {
        case .automatic: break
        case .value(let size): (options.microBatchSize, options.choosesMicroBatch) = (size, false)
        }
        if case .value(let whole) = batchSize, let size = options.microBatchSize, size > whole {
            reader.log.add(
                reader.pointer(to: "micro_batch_size"), "out_of_range",
                "parts of \(size) samples are larger than the batch of \(whole)")
        }
        let segments = reader.read(TrainFields.checkpointSegments)
        options.choosesSegments = segments == .automatic
        options.checkpointSegments = segments.resolved(1)
        options.precision = reader.read(TrainFields.precision)
        options.readLoss(&reader)
        options.validationFraction = reader.read(TrainFields.validationFraction)
        options.checkpointSeconds = reader.read(TrainFields.checkpointSeconds)
        options.keptCheckpointSteps = reader.read(TrainFields.keptCheckpointSteps)
        _ = reader.readObject(OptimizerFields.object, assumesEmpty: true) { options.readOptimizer(&$0) }
        options.optimizer.clipNorm = reader.read(TrainFields.clipNorm)
        options.optimizer.averageDecay = reader.read(TrainFields.averageDecay)
        _ = reader.readObject(ScheduleFields.object, assumesEmpty: true) { options.readSchedule(&$0) }
        _ = reader.readObject(TrainFields.augment, assumesEmpty: true) { nested in
            options.augmentation = Augmentation(
                cropPadding: nested.read(TrainFields.randomCrop),
                flipsHorizontally: nested.read(TrainFields.horizontalFlip),
                cutoutSide: nested.read(TrainFields.cutout), mixupAlpha: nested.read(TrainFields.mixup))
        }
        options.readEarlyStopping(&reader)
        options.adapters = reader.readObject(AdapterFields.object) { LowRankAdapters(&$0) }
        return (options, batchSize == .automatic)
    }

    private mutating func readLength(_ reader: inout ObjectReader) {
        steps = reader.read(TrainFields.steps)
        guard steps != nil else {
            epochs = reader.read(TrainFields.epochs)
            return
        }
        if reader.contains(TrainFields.epochs.name) {
            reader.log.add(
                reader.pointer(to: TrainFields.epochs.name), "invalid_value",
                "steps takes the place of epochs; send one of them")
        }
    }

    private mutating func readEarlyStopping(_ reader: inout ObjectReader) {
        keep = reader.read(TrainFields.keep)
        earlyStopping = reader.readObject(TrainFields.earlyStopping) { nested in
            EarlyStopping(
                patience: nested.read(TrainFields.patience), minDelta: nested.read(TrainFields.minDelta),
                metric: nested.read(TrainFields.metric))
        }
        guard earlyStopping != nil else { return }
        if reader.contains(TrainFields.keep.name), keep == .last {
            reader.log.add(
                reader.pointer(to: TrainFields.keep.name), "invalid_value",
                "early_stopping keeps the best weights, not the last")
        }
        keep = .best
        reader.resolve(TrainFields.keep.name, as: .string(keep.rawValue))
    }

    private mutating func readLoss(_ reader: inout ObjectReader) {
        let name = reader.read(TrainFields.loss)
        name.refuseFieldsOfOthers(in: reader, choice: TrainFields.loss)
        loss =
            switch name {
            case .crossEntropy: .crossEntropy(labelSmoothing: Float(reader.read(TrainFields.labelSmoothing)))
            case .mse: .meanSquaredError(oneHot: true)
            case .l1: .meanAbsoluteError(oneHot: true)
            case .huber: .huber(delta: Float(reader.read(TrainFields.huberDelta)), oneHot: true)
            case .bce: .binaryCrossEntropy(oneHot: true)
            case .kl: .klDivergence(oneHot: true)
            }
    }
}

extension TrainOptions.LossName: FieldOwner {
    var fields: Set<String> {
        switch self {
        case .crossEntropy: ["label_smoothing"]
        case .huber: ["huber_delta"]
        case .mse, .l1, .bce, .kl: []
        }
    }
}
