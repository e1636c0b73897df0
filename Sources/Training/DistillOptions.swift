internal import Data
public import Graph
public import JSON
public import Kernels
internal import Plan
public import Tensor

/// How a model learns from a teacher besides the labels.
public struct DistillOptions: Sendable, Hashable {
    /// What brings the student's outputs close to the teacher's.
    public enum LossName: String, Sendable, CaseIterable {
        case kl, ce
        case mseLogits = "mse_logits"
        case dkd
        case reverseKL = "reverse_kl"
        case jsd
    }

    /// Where the teacher's outputs for the training samples are kept.
    public enum CacheName: String, Sendable, CaseIterable { case none, memory, disk }

    public var loss = LossName.kl
    public var temperature = 4.0
    /// The weight of the loss against the labels; the soft loss has the rest.
    public var alpha = 0.1
    /// The weights of the two parts of the decoupled loss, and the epochs in which both rise to that.
    public var targetWeight = 1.0
    public var othersWeight = 8.0
    public var warmupEpochs = 20
    /// The teacher's share of the mixture that `jsd` compares with.
    public var share = 0.5
    public var cache = CacheName.none
    /// The most that the cache may take.
    public var cacheByteCountMax = 1 << 30
    /// Layers that are to come close to the teacher's.
    public var features: [FeatureComparison] = []

    public init() {}

    /// The loss as plans take it.
    public func settings(labelSmoothing: Float, teacherElement: ElementType) -> DistillationLoss.Settings {
        let soft: DistillationLoss.Soft =
            switch loss {
            case .kl: .klDivergence
            case .ce: .crossEntropy
            case .mseLogits: .squaredError
            case .dkd: .decoupled(target: Float(targetWeight), others: Float(othersWeight))
            case .reverseKL: .reverseKL
            case .jsd: .jensenShannon(share: Float(share))
            }
        return DistillationLoss.Settings(
            soft: soft, alpha: Float(alpha), temperature: Float(temperature), labelSmoothing: labelSmoothing,
            teacherElement: teacherElement)
    }

    /// What the soft loss is multiplied by in an epoch counted from 0: only `dkd` warms up, linearly, as its
    /// authors have it.
    public func softWeight(epoch: Int) -> Float {
        guard loss == .dkd, warmupEpochs > 0 else { return 1 }
        return min(1, Float(epoch + 1) / Float(warmupEpochs))
    }

    /// Logs what does not go together with the way the student is trained.
    ///
    /// - Parameters:
    ///   - options: The student's.
    ///   - pointer: Where the `distill` object is; `train` lies beside it.
    ///   - log: Where violations go.
    public func check(with options: TrainOptions, at pointer: String, log: ViolationLog) {
        if case .crossEntropy = options.loss {
        } else {
            log.add(
                "/train/loss", "invalid_value", "a distilled student's own loss is cross_entropy")
        }
        if loss == .dkd, options.augmentation.mixesLabels {
            log.add(
                JSONPointer.member("loss", of: pointer), "invalid_value",
                "dkd needs one class for each sample, and mixup mixes them")
        }
    }
}

extension DistillOptions.LossName: FieldOwner {
    var fields: Set<String> {
        switch self {
        case .kl, .ce, .reverseKL: ["temperature"]
        case .dkd: ["temperature", "dkd"]
        case .jsd: ["temperature", "jsd_beta"]
        case .mseLogits: []
        }
    }
}

extension DistillOptions.LossName {
    /// Whether outputs are softened.
    public var knowsTemperature: Bool { takes(DistillFields.temperature) }
}

/// The JSON fields of `distill` but for the teacher, which is a reference to stored models.
public enum DistillFields {
    public static let temperature = Field.number(
        "temperature", default: 4, in: 0...1000, exclusiveMinimum: true,
        "What both models' outputs are divided by before their softmax; soft losses are multiplied by its "
            + "square.")
    public static let alpha = Field.number(
        "alpha", default: 0.1, in: 0...1,
        "Weight of the loss against the labels; the loss against the teacher has 1 - alpha.")
    static let loss = Field.choice(
        "loss", of: DistillOptions.LossName.self, default: .kl,
        "kl, ce and reverse_kl of the softened outputs, jsd of both against their mixture, dkd (decoupled), "
            + "or mse_logits, which knows no temperature.")
    static let targetWeight = Field.number(
        "alpha", default: 1, in: 0...1000, "Weight of the label against the rest.")
    static let othersWeight = Field.number(
        "beta", default: 8, in: 0...1000, "Weight of the other classes among themselves.")
    static let warmupEpochs = Field.integer(
        "warmup_epochs", default: 20, in: 0...100_000, "Epochs in which the soft loss rises to its weight.")
    static let decoupledSchema = ObjectSchema(
        "dkd", "The parts of the decoupled loss.", fields: [targetWeight, othersWeight, warmupEpochs])
    static let decoupled = Field.object("dkd", decoupledSchema, "The parts of the decoupled loss.")
    static let share = Field.number(
        "jsd_beta", default: 0.5, in: 0...1,
        "The teacher's share of the mixture; 0 is kl and 1 is reverse_kl.")
    public static let features = FeatureFields.list
    public static let cache = Field.choice(
        "teacher_cache", of: DistillOptions.CacheName.self, default: DistillOptions.CacheName.none,
        "Where the teacher's outputs are kept, so that it runs once over the training samples: none, memory "
            + "or disk. Not with augmentation, nor with running text.")
    static let cacheBytes = Field.integer(
        "teacher_cache_bytes", default: 1 << 30, in: 0...(1 << 50),
        "The most that the cache may take; without room the teacher runs at every step.")

    /// The fields that `DistillOptions.read` reads, for the schema of the whole object.
    public static let fields: [any AnyField] = [
        loss, temperature, alpha, decoupled, share, features, cache, cacheBytes,
    ]
}

extension DistillOptions {
    /// Reads the fields of `distill`, all but the teacher.
    ///
    /// The reader's schema has `DistillFields.fields` among its own.
    public static func read(_ reader: inout ObjectReader) -> DistillOptions {
        var options = DistillOptions()
        options.loss = reader.read(DistillFields.loss)
        options.alpha = reader.read(DistillFields.alpha)
        func isRead(_ name: String) -> Bool { options.loss.fields.contains(name) || reader.contains(name) }
        if isRead("temperature") { options.temperature = reader.read(DistillFields.temperature) }
        if isRead("dkd") {
            _ = reader.readObject(DistillFields.decoupled, assumesEmpty: options.loss == .dkd) { nested in
                options.targetWeight = nested.read(DistillFields.targetWeight)
                options.othersWeight = nested.read(DistillFields.othersWeight)
                options.warmupEpochs = nested.read(DistillFields.warmupEpochs)
            }
        }
        if isRead("jsd_beta") { options.share = reader.read(DistillFields.share) }
        options.loss.refuseFieldsOfOthers(in: reader, choice: DistillFields.loss)
        if reader.contains(FeatureFields.list.name) { options.readFeatures(&reader) }
        options.cache = reader.read(DistillFields.cache)
        options.cacheByteCountMax = reader.read(DistillFields.cacheBytes)
        return options
    }
}
