public import Graph
public import Kernels
public import Tensor

/// What the model's output is compared with, and how.
public enum LossKind: Hashable, Sendable {
    /// Softmax cross-entropy against class labels, one for each position of the output.
    case crossEntropy(labelSmoothing: Float)
    /// Softmax cross-entropy against shares of the classes.
    case softCrossEntropy(labelSmoothing: Float)
    /// Mean squared error against one-hot class labels, or against float targets.
    case meanSquaredError(oneHot: Bool)
    /// Mean absolute error, likewise.
    case meanAbsoluteError(oneHot: Bool)
    /// Squared error for differences up to `delta` and absolute error beyond (Huber, 1964), likewise.
    case huber(delta: Float, oneHot: Bool)
    /// Binary cross-entropy of every output on its own, likewise.
    case binaryCrossEntropy(oneHot: Bool)
    /// Kullback-Leibler divergence of the softmax from the target, likewise.
    case klDivergence(oneHot: Bool)
    /// Cross-entropy against class labels, or shares of the classes, and a soft loss against a teacher's
    /// outputs; see `DistillationLoss`.
    case distillation(DistillationLoss.Settings, oneHot: Bool)

    /// Bytes of one sample's target for an output of `positions` rows of `width`.
    public func targetByteCount(positions: Int, width: Int) -> Int {
        takesLabels ? 4 * positions : 4 * positions * width
    }

    /// Whether targets are Int32 labels, one a position, instead of floats.
    public var takesLabels: Bool {
        switch self {
        case .crossEntropy: true
        case .softCrossEntropy: false
        case .meanSquaredError(let oneHot), .meanAbsoluteError(let oneHot), .huber(_, let oneHot),
            .binaryCrossEntropy(let oneHot), .klDivergence(let oneHot), .distillation(_, let oneHot):
            oneHot
        }
    }

    /// The same loss against float targets.
    public var againstValues: LossKind {
        switch self {
        case .crossEntropy(let smoothing), .softCrossEntropy(let smoothing):
            .softCrossEntropy(labelSmoothing: smoothing)
        case .meanSquaredError: .meanSquaredError(oneHot: false)
        case .meanAbsoluteError: .meanAbsoluteError(oneHot: false)
        case .huber(let delta, _): .huber(delta: delta, oneHot: false)
        case .binaryCrossEntropy: .binaryCrossEntropy(oneHot: false)
        case .klDivergence: .klDivergence(oneHot: false)
        case .distillation(let settings, _): .distillation(settings, oneHot: false)
        }
    }

    /// The same loss against the labels as they are, which is what a model is measured by.
    public var withoutSmoothing: LossKind {
        switch self {
        case .crossEntropy: .crossEntropy(labelSmoothing: 0)
        case .softCrossEntropy: .softCrossEntropy(labelSmoothing: 0)
        default: self
        }
    }

    /// What one row of outputs costs by its target alone.
    var function: Loss.Function {
        switch self {
        case .crossEntropy(let smoothing), .softCrossEntropy(let smoothing):
            .crossEntropy(labelSmoothing: smoothing)
        case .distillation(let settings, _): .crossEntropy(labelSmoothing: settings.labelSmoothing)
        case .meanSquaredError: .squaredError
        case .meanAbsoluteError: .absoluteError
        case .huber(let delta, _): .huber(delta: delta)
        case .binaryCrossEntropy: .binaryCrossEntropy
        case .klDivergence: .klDivergence
        }
    }
}

/// How parameters change; the learning rate comes with each step.
public struct OptimizerOptions: Hashable, Sendable {
    /// The update rule.
    public typealias Rule = OptimizerUpdates.Rule

    public var rule: Rule
    public var weightDecay: Float
    /// Whether biases and normalisation parameters decay too.
    public var decaysBiasAndNorm: Bool
    /// The largest norm of all gradients together; nil for none.
    public var clipNorm: Double?
    /// The decay of the exponential moving average of the parameters; nil for none.
    public var averageDecay: Double?
    /// Whether gradients are summed over several batches before an update.
    public var accumulates: Bool
    /// Whether parameters have masks, which hold some of their numbers at zero.
    public var isMasked: Bool
    /// Whether gradient times weight is summed up, in the steps that say so.
    public var gathersScores: Bool

    public init(
        _ rule: Rule = .sgd(momentum: 0, nesterov: false), weightDecay: Float = 0,
        decaysBiasAndNorm: Bool = false, clipNorm: Double? = nil, averageDecay: Double? = nil,
        accumulates: Bool = false, isMasked: Bool = false, gathersScores: Bool = false
    ) {
        self.rule = rule
        self.weightDecay = weightDecay
        self.decaysBiasAndNorm = decaysBiasAndNorm
        self.clipNorm = clipNorm
        self.averageDecay = averageDecay
        self.accumulates = accumulates
        self.isMasked = isMasked
        self.gathersScores = gathersScores
    }

    /// Stochastic gradient descent.
    public static func sgd(
        momentum: Double = 0, nesterov: Bool = false, weightDecay: Float = 0, decaysBiasAndNorm: Bool = false
    ) -> OptimizerOptions {
        OptimizerOptions(
            .sgd(momentum: momentum, nesterov: nesterov), weightDecay: weightDecay,
            decaysBiasAndNorm: decaysBiasAndNorm)
    }

    /// Whether every gradient has to be there before the first update.
    var keepsGradients: Bool { clipNorm != nil || accumulates }
}

/// What one run of a plan does.
public enum PlanMode: Hashable, Sendable {
    /// Forward, loss, backward, update.
    case training(LossKind, OptimizerOptions)
    /// Forward, loss, backward; the gradients of a step's first micro-batch are stored, the others' added.
    case accumulation(LossKind)
    /// The update by the gradients that have been summed.
    case update(OptimizerOptions)
    /// Forward, loss, backward; the parameters' gradients stay readable and nothing is updated.
    case gradients(LossKind)
    /// Forward without dropout and by running statistics, and the loss.
    case evaluation(LossKind)
    /// The same without a loss, so that no target is bound.
    case inference

    var loss: LossKind? {
        switch self {
        case .training(let loss, _), .accumulation(let loss), .gradients(let loss), .evaluation(let loss):
            loss
        case .update, .inference: nil
        }
    }

    /// Whether there is a forward pass.
    var hasOutput: Bool {
        switch self {
        case .training, .accumulation, .gradients, .evaluation, .inference: true
        case .update: false
        }
    }

    var optimizer: OptimizerOptions? {
        switch self {
        case .training(_, let optimizer), .update(let optimizer): optimizer
        case .accumulation, .gradients, .evaluation, .inference: nil
        }
    }

    /// Whether there is a backward pass.
    var isTraining: Bool {
        switch self {
        case .training, .accumulation, .gradients: true
        case .evaluation, .inference, .update: false
        }
    }

    /// Whether the plan runs several times with the same parameters.
    var isRepeated: Bool {
        switch self {
        case .accumulation, .evaluation, .inference: true
        case .training, .gradients, .update: false
        }
    }

    /// Whether running statistics move.
    var learns: Bool {
        switch self {
        case .training, .accumulation: true
        case .gradients, .evaluation, .inference, .update: false
        }
    }
}

/// How a graph is turned into calls, whatever the mode.
public struct LoweringOptions: Hashable, Sendable {
    /// What activations and their gradients are stored as; parameters, statistics and losses stay float32.
    public var precision = ElementType.float32
    /// Whether neighbouring operations run as one call; false for checks.
    public var fuses = true
    /// Parts that the forward pass is cut into, of which all but the last are computed again in the backward
    /// pass instead of being kept; 1 keeps everything.
    public var segments = 1
    /// Bytes of a batch normalisation's output beyond which it is made again in the backward pass instead of
    /// being kept, where the convolution that reads it takes far longer than that.
    public var normByteCountMax = 4 << 20
    /// Values that can be read behind an inference, besides the output.
    public var kept: Set<Graph.ValueID> = []
    /// The parameters whose zeros are left out at inference in float32, where our kernels cover the layer.
    public var sparse: [Graph.ParameterID: SparseWeights] = [:]
    /// Bytes that weights may take in second layouts, which plans of few samples like better than that of the
    /// largest batch; for programs that never train.
    public var layoutByteCountMax = LoweringOptions.layoutByteCountMax
    /// What is computed in bytes; for inference alone, and over float32 elsewhere.
    public var quantized: QuantizedModel?
    /// What is trained to be computed in bytes; over float32 alone.
    public var rounded: RoundedLayers?

    /// The default of `layoutByteCountMax`: ten times what a 5x5 convolution of 128 channels takes, the
    /// largest whose layouts differ.
    public static let layoutByteCountMax = 16 << 20

    public init() {}
}
