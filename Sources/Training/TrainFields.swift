internal import Data
public import JSON
internal import Kernels
internal import Plan

/// The JSON fields of `train`: they check a request and make its JSON Schema.
public enum TrainFields {
    static let epochs = Field.integer(
        "epochs", default: 10, in: 1...100_000, "Passes over the training split.")
    static let batchSize = Field.automaticInteger(
        "batch_size", default: .value(64), in: 1...65_536,
        "Samples per step; \"auto\" is 64, or the largest power of two below that the memory budget holds.")
    static let precision = Field.choice(
        "precision", of: TrainOptions.Precision.self, default: .fp32, "Arithmetic of a step.")
    static let loss = Field.choice(
        "loss", of: TrainOptions.LossName.self, default: .crossEntropy,
        "cross_entropy on class labels, or mse against one-hot labels.")
    static let labelSmoothing = Field.number(
        "label_smoothing", default: 0, in: 0...0.99, "Share of the target that is spread over all classes.")
    static let validationFraction = Field.number(
        "validation_fraction", default: 0, in: 0...0.9,
        "Part of the training split set aside for val_* when the dataset has no validation split; 0 uses the "
            + "test split.")
    static let checkpointSeconds = Field.number(
        "checkpoint_every_seconds", default: 30, in: 1...3600, "Longest time between checkpoints.")
    static let keep = Field.choice(
        "keep", of: TrainOptions.Keep.self, default: .last,
        "Whose weights become the model: the last epoch's, or those of the best val_accuracy.")

    static let optimizerName = Field.choice(
        "name", of: TrainOptions.OptimizerName.self, default: .sgd, "The update rule.")
    static let learningRate = Field.number("lr", default: 0.1, in: 0...1e3, "Learning rate.")
    static let momentum = Field.number(
        "momentum", default: 0, in: 0...0.9999, "Weight of the past gradients.")
    static let nesterov = Field.bool("nesterov", default: false, "Whether momentum looks ahead.")
    static let weightDecay = Field.number(
        "weight_decay", default: 0, in: 0...10, "Decay of the weights (L2).")
    static let decaysAll = Field.bool(
        "decay_bias_and_norm", default: false,
        "Whether biases and normalisation parameters decay too, as in PyTorch.")
    static let optimizerSchema = ObjectSchema(
        "optimizer", "How parameters change.",
        fields: [optimizerName, learningRate, momentum, nesterov, weightDecay, decaysAll])
    static let optimizer = Field.object("optimizer", optimizerSchema, "How parameters change.")

    static let scheduleName = Field.choice(
        "name", of: TrainOptions.ScheduleName.self, default: .constant, "The learning rate's curve.")
    static let warmupSteps = Field.integer(
        "warmup_steps", default: 0, in: 0...100_000_000, "Steps over which the rate rises to lr.")
    static let minRatio = Field.number(
        "min_lr_ratio", default: 0, in: 0...1, "Where linear and cosine end, as a part of lr.")
    static let stepSize = Field.integer(
        "step_size", default: 1, in: 1...100_000, "Epochs between the drops of step.")
    static let gamma = Field.number("gamma", default: 0.1, in: 0...1, "Factor of each drop of step.")
    static let scheduleSchema = ObjectSchema(
        "lr_schedule", "The learning rate's curve.",
        fields: [scheduleName, warmupSteps, minRatio, stepSize, gamma])
    static let schedule = Field.object("lr_schedule", scheduleSchema, "The learning rate's curve.")

    static let randomCrop = Field.integer(
        "random_crop", default: 0, in: 0...64, "Padding out of which a window is cut at random; 0 is off.")
    static let horizontalFlip = Field.bool(
        "horizontal_flip", default: false, "Whether half of the images are mirrored.")
    static let augmentSchema = ObjectSchema(
        "augment", "Random changes of the training images.", fields: [randomCrop, horizontalFlip])
    static let augment = Field.object("augment", augmentSchema, "Random changes of the training images.")

    /// The whole object.
    public static let schema = ObjectSchema(
        "train", "How the model is trained.",
        fields: [
            epochs, batchSize, precision, loss, labelSmoothing, optimizer, schedule, validationFraction,
            augment, checkpointSeconds, keep,
        ])
}

extension TrainOptions {
    /// Reads the fields of `train`.
    ///
    /// - Returns: The options, and whether the batch size is left to the service.
    public static func read(_ reader: inout ObjectReader) -> (options: TrainOptions, choosesBatchSize: Bool) {
        var options = TrainOptions()
        options.epochs = reader.read(TrainFields.epochs)
        let batchSize = reader.read(TrainFields.batchSize)
        options.batchSize = batchSize.resolved(64)
        _ = reader.read(TrainFields.precision)
        let loss = reader.read(TrainFields.loss)
        let smoothing = reader.read(TrainFields.labelSmoothing)
        options.loss =
            loss == .mse ? .meanSquaredError(oneHot: true) : .crossEntropy(labelSmoothing: Float(smoothing))
        if loss == .mse, smoothing > 0 {
            reader.log.add(
                reader.pointer(to: "label_smoothing"), "invalid_value", "mse takes no label smoothing")
        }
        options.validationFraction = reader.read(TrainFields.validationFraction)
        options.checkpointSeconds = reader.read(TrainFields.checkpointSeconds)
        options.keep = reader.read(TrainFields.keep)
        _ = reader.readObject(TrainFields.optimizer, assumesEmpty: true) { options.readOptimizer(&$0) }
        _ = reader.readObject(TrainFields.schedule, assumesEmpty: true) { options.readSchedule(&$0) }
        _ = reader.readObject(TrainFields.augment, assumesEmpty: true) { nested in
            options.augmentation = Augmentation(
                cropPadding: nested.read(TrainFields.randomCrop),
                flipsHorizontally: nested.read(TrainFields.horizontalFlip))
        }
        return (options, batchSize == .automatic)
    }

    private mutating func readOptimizer(_ reader: inout ObjectReader) {
        _ = reader.read(TrainFields.optimizerName)
        learningRate = reader.read(TrainFields.learningRate)
        let momentum = reader.read(TrainFields.momentum)
        let nesterov = reader.read(TrainFields.nesterov)
        optimizer.rule = .sgd(momentum: momentum, nesterov: nesterov)
        optimizer.weightDecay = Float(reader.read(TrainFields.weightDecay))
        optimizer.decaysBiasAndNorm = reader.read(TrainFields.decaysAll)
        if nesterov, momentum == 0 {
            reader.log.add(
                reader.pointer(to: "nesterov"), "invalid_value", "Nesterov momentum needs a momentum above 0")
        }
    }

    private mutating func readSchedule(_ reader: inout ObjectReader) {
        schedule = reader.read(TrainFields.scheduleName)
        warmupSteps = reader.read(TrainFields.warmupSteps)
        minRatio = reader.read(TrainFields.minRatio)
        stepSize = reader.read(TrainFields.stepSize)
        gamma = reader.read(TrainFields.gamma)
    }
}
