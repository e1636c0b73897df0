public import Kernels
public import Tensor

/// What the model's output is compared with, and how.
public struct LossKind: Hashable, Sendable {
    public var function: Loss.Function
    /// One label for each position of the output, or as many floats as the output has.
    public var target: Loss.Target

    public init(_ function: Loss.Function, target: Loss.Target = .labels()) {
        self.function = function
        self.target = target
    }

    /// Softmax cross-entropy against class labels.
    public static func crossEntropy(labelSmoothing: Float = 0) -> LossKind {
        LossKind(.crossEntropy(labelSmoothing: labelSmoothing))
    }

    /// Mean squared error against one-hot class labels, or against float targets.
    public static func meanSquaredError(oneHot: Bool) -> LossKind {
        LossKind(.squaredError, target: oneHot ? .labels() : .values)
    }

    /// Bytes of one sample's target for an output of `positions` rows of `width`.
    public func targetByteCount(positions: Int, width: Int) -> Int {
        target == .values ? 4 * positions * width : 4 * positions
    }
}

/// How parameters change; the learning rate comes with each step.
public struct OptimizerOptions: Hashable, Sendable {
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

    public init(
        _ rule: Rule = .sgd(momentum: 0, nesterov: false), weightDecay: Float = 0,
        decaysBiasAndNorm: Bool = false, clipNorm: Double? = nil, averageDecay: Double? = nil,
        accumulates: Bool = false
    ) {
        self.rule = rule
        self.weightDecay = weightDecay
        self.decaysBiasAndNorm = decaysBiasAndNorm
        self.clipNorm = clipNorm
        self.averageDecay = averageDecay
        self.accumulates = accumulates
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
    public var keepsGradients: Bool { clipNorm != nil || accumulates }
}

/// What one run of a plan does.
public enum PlanMode: Hashable, Sendable {
    /// Forward, loss, backward, update.
    case training(LossKind, OptimizerOptions)
    /// Forward, loss, backward; the gradients are stored, or added to those of the step's earlier batches.
    case accumulation(LossKind)
    /// The update by the gradients that have been summed.
    case update(OptimizerOptions)
    /// Forward, loss, backward; the parameters' gradients stay readable and nothing is updated.
    case gradients(LossKind)
    /// Forward without dropout and by running statistics, and the loss.
    case evaluation(LossKind)

    var loss: LossKind? {
        switch self {
        case .training(let loss, _), .accumulation(let loss), .gradients(let loss), .evaluation(let loss):
            loss
        case .update: nil
        }
    }

    var optimizer: OptimizerOptions? {
        switch self {
        case .training(_, let optimizer), .update(let optimizer): optimizer
        case .accumulation, .gradients, .evaluation: nil
        }
    }

    /// Whether there is a backward pass.
    var isTraining: Bool {
        switch self {
        case .training, .accumulation, .gradients: true
        case .evaluation, .update: false
        }
    }

    /// Whether running statistics move.
    var learns: Bool {
        switch self {
        case .training, .accumulation: true
        case .gradients, .evaluation, .update: false
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

    public init() {}
}
