/// What the model's output is compared with, and how.
public enum LossKind: Hashable, Sendable {
    /// Softmax cross-entropy against class labels.
    case crossEntropy(labelSmoothing: Float)
    /// Mean squared error against one-hot class labels, or against float targets.
    case meanSquaredError(oneHot: Bool)

    /// Bytes of one sample's target.
    func targetByteCount(width: Int) -> Int {
        switch self {
        case .crossEntropy, .meanSquaredError(oneHot: true): 4
        case .meanSquaredError(oneHot: false): 4 * width
        }
    }
}

/// How parameters change; the learning rate comes with each step.
public struct OptimizerKind: Hashable, Sendable {
    public var momentum: Float
    public var nesterov: Bool
    public var weightDecay: Float
    /// Whether biases and normalisation parameters decay too.
    public var decaysBiasAndNorm: Bool

    /// Stochastic gradient descent.
    public init(
        momentum: Float = 0, nesterov: Bool = false, weightDecay: Float = 0, decaysBiasAndNorm: Bool = false
    ) {
        self.momentum = momentum
        self.nesterov = nesterov
        self.weightDecay = weightDecay
        self.decaysBiasAndNorm = decaysBiasAndNorm
    }
}

/// What one run of a plan does.
public enum PlanMode: Hashable, Sendable {
    /// Forward, loss, backward, update.
    case training(LossKind, OptimizerKind)
    /// Forward, loss, backward; the parameters' gradients stay readable and nothing is updated.
    case gradients(LossKind)
    /// Forward without dropout and by running statistics, and the loss.
    case evaluation(LossKind)

    var loss: LossKind {
        switch self {
        case .training(let loss, _), .gradients(let loss), .evaluation(let loss): loss
        }
    }

    var isTraining: Bool {
        if case .evaluation = self { false } else { true }
    }
}
