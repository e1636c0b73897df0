public import Data
internal import JSON
internal import Kernels

/// Where a run stands, besides its parameters: what a checkpoint keeps in its metadata.
public struct TrainingState: Sendable, Equatable {
    /// Steps done.
    public var step = 0
    /// The next batch.
    public var position = BatchPosition()
    /// Loss, hits and samples since the last point of the curves.
    public var window = Tally()
    /// The same since the epoch began.
    public var epoch = Tally()
    /// The best validation accuracy so far.
    public var bestAccuracy: Double?
    /// What the best evaluation reached, by the metric that decides, and at which step.
    public var best: Double?
    public var bestStep = 0
    /// The step that was evaluated last, and the evaluations since the best one.
    public var evaluatedStep = 0
    public var evaluationsSinceBest = 0
    /// The learning rate that a sweep found.
    public var foundRate: Double?
    /// What has been pruned; nil where nothing is.
    public var pruning: PruningState?

    public init() {}

    /// Sums over samples, or over tokens where each has a label.
    public struct Tally: Sendable, Equatable {
        public var lossSum = 0.0
        public var correct = 0
        public var samples = 0
        /// Of a distillation alone.
        public var hardSum = 0.0
        public var softSum = 0.0
        public var agreed = 0
        public var featureSum = 0.0

        public init() {}

        public var loss: Double { samples == 0 ? 0 : lossSum / Double(samples) }
        public var accuracy: Double { samples == 0 ? 0 : Double(correct) / Double(samples) }

        /// Means of the two parts of a distillation's loss, and the part of samples whose largest output is
        /// the teacher's.
        public var hardLoss: Double { samples == 0 ? 0 : hardSum / Double(samples) }
        public var softLoss: Double { samples == 0 ? 0 : softSum / Double(samples) }
        public var featureLoss: Double { samples == 0 ? 0 : featureSum / Double(samples) }
        public var agreement: Double { samples == 0 ? 0 : Double(agreed) / Double(samples) }

        mutating func add(_ result: LossResult) {
            lossSum += result.lossSum
            correct += Int(result.correct)
            samples += Int(result.counted)
            hardSum += result.hardSum
            softSum += result.softSum
            agreed += Int(result.agreed)
            featureSum += result.featureSum
        }
    }

    /// Exact: doubles are written with all the digits they need.
    var json: JSONValue {
        var json: JSONObject = [
            "step": JSONValue(step), "epoch": JSONValue(position.epoch), "batch": JSONValue(position.batch),
            "window": window.json, "epoch_tally": self.epoch.json,
            "best_accuracy": bestAccuracy.map { .number($0) } ?? .null, "best_step": JSONValue(bestStep),
            "best": best.map { .number($0) } ?? .null, "evaluated_step": JSONValue(evaluatedStep),
            "evaluations_since_best": JSONValue(evaluationsSinceBest),
            "found_rate": foundRate.map { .number($0) } ?? .null,
        ]
        if let pruning { json["pruning"] = pruning.json }
        return .object(json)
    }

    init?(_ json: JSONValue) {
        guard let step = json["step"]?.intValue, let epoch = json["epoch"]?.intValue,
            let batch = json["batch"]?.intValue, let window = json["window"].flatMap(Tally.init),
            let tally = json["epoch_tally"].flatMap(Tally.init), let bestStep = json["best_step"]?.intValue,
            let evaluated = json["evaluated_step"]?.intValue,
            let since = json["evaluations_since_best"]?.intValue, step >= 0, epoch >= 0, batch >= 0
        else { return nil }
        (self.step, position) = (step, BatchPosition(epoch: epoch, batch: batch))
        (self.window, self.epoch, self.bestStep) = (window, tally, bestStep)
        (evaluatedStep, evaluationsSinceBest) = (evaluated, since)
        bestAccuracy = json["best_accuracy"]?.doubleValue
        best = json["best"]?.doubleValue
        foundRate = json["found_rate"]?.doubleValue
        if let pruned = json["pruning"] {
            guard let found = PruningState(pruned) else { return nil }
            pruning = found
        }
    }
}

extension TrainingState.Tally {
    var json: JSONValue {
        [
            .number(lossSum), JSONValue(correct), JSONValue(samples), .number(hardSum), .number(softSum),
            JSONValue(agreed), .number(featureSum),
        ]
    }

    init?(_ json: JSONValue) {
        // Three parts were written before there were teachers, six before there were features.
        guard let parts = json.arrayValue, [3, 6, 7].contains(parts.count),
            let loss = parts[0].doubleValue, let correct = parts[1].intValue,
            let samples = parts[2].intValue
        else { return nil }
        (lossSum, self.correct, self.samples) = (loss, correct, samples)
        guard parts.count >= 6 else { return }
        guard let hard = parts[3].doubleValue, let soft = parts[4].doubleValue,
            let agreed = parts[5].intValue
        else { return nil }
        (hardSum, softSum, self.agreed) = (hard, soft, agreed)
        guard parts.count == 7 else { return }
        guard let features = parts[6].doubleValue else { return nil }
        featureSum = features
    }
}
