/// How a model is pruned: what goes, how it is chosen, and when.
public struct PruneOptions: Sendable, Hashable {
    /// What goes as one piece.
    public enum Structure: String, Sendable, CaseIterable {
        /// Single weights.
        case unstructured
        /// Tiles of a weight's matrix `[out, in · taps]`.
        case block
        /// All but `n` of every `m` weights along the input dimension.
        case ofEvery = "n:m"
        /// Whole channels and heads of attention, which can be removed from the model.
        case channel
    }

    /// What makes a weight worth keeping.
    public enum Criterion: String, Sendable, CaseIterable {
        /// Its size.
        case magnitude
        /// Nothing: the control that every other criterion has to beat.
        case random
        /// What the loss loses with it, to first order, from one look before training (Lee et al., 2019).
        case snip
        /// The size of its mean over steps (Molchanov et al., 2017 and 2019).
        case taylor
        /// The size of its channel's batch normalisation factor (Liu et al., 2017).
        case bnScale = "bn_scale"
        /// Whether training moves it away from zero (Sanh et al., 2020).
        case movement

        /// Whether it is made of gradients.
        public var readsGradients: Bool { self == .snip || isGathered }

        /// Whether it is made of many steps' gradients, so that some must have been before.
        public var isGathered: Bool { self == .taylor || self == .movement }
    }

    /// How several weights' sizes become one.
    public enum Norm: String, Sendable, CaseIterable { case l1, l2 }

    /// What is ranked together.
    public enum Scope: String, Sendable, CaseIterable { case global, layer }

    /// What the model must be brought below.
    public struct Constraint: Sendable, Hashable {
        /// A size of a model.
        public enum Metric: String, Sendable, CaseIterable {
            case macs, params, bytes
            case latencyMilliseconds = "latency_ms"
        }

        /// How much of it may be left.
        public enum Limit: Sendable, Hashable {
            case absolute(Double)
            /// Of the original model's.
            case fraction(Double)
        }

        public var metric: Metric
        public var limit: Limit

        public init(_ metric: Metric, _ limit: Limit) { (self.metric, self.limit) = (metric, limit) }

        /// The limit as a number, for a model that measures `original`.
        public func limit(of original: Double) -> Double {
            switch limit {
            case .absolute(let value): value
            case .fraction(let fraction): fraction * original
            }
        }
    }

    /// What happens to the weights that stay, after each pruning; unless it is nothing, training starts again
    /// from there.
    public enum Rewind: Sendable, Hashable {
        case none
        /// Back to their first values (Frankle and Carbin, 2019).
        case initial
        /// Back to their values at a step of the first round (Frankle et al., 2020).
        case step(Int)
        /// They stay, and the learning rate's schedule starts again (Renda et al., 2020).
        case learningRate

        /// The step of training that is gone back to; nil for none.
        public var step: Int? {
            switch self {
            case .none: nil
            case .initial, .learningRate: 0
            case .step(let step): step
            }
        }
    }

    /// Training behind each pruning.
    public struct FineTuning: Sendable, Hashable {
        public var epochs = 3
        /// What the learning rate is multiplied by.
        public var rateFactor = 0.1

        public init() {}
    }

    public var structure = Structure.unstructured
    /// A tile's rows and columns.
    public var blockRows = 4
    public var blockColumns = 1
    /// How many of every `groupSize` weights are kept.
    public var keptOfGroup = 2
    public var groupSize = 4
    public var criterion = Criterion.magnitude
    public var norm = Norm.l1
    public var scope = Scope.global
    /// Part of the original weights, tiles or channels that goes.
    public var targetSparsity = 0.5
    /// What decides how much goes, instead of `targetSparsity`; all of them must hold.
    public var constraints: [Constraint] = []
    public var curve = SparsitySchedule.Curve.oneshot
    public var initialSparsity = 0.0
    /// nil for where the schedule and the criterion have it; see `PruneTimeline`.
    public var beginStep: Int?
    /// nil for the last step of training.
    public var endStep: Int?
    /// Steps between two updates of the masks.
    public var frequency = 100
    public var rounds = 5
    public var rewind = Rewind.none
    /// Targets of layers by name, instead of `targetSparsity`.
    public var perLayer: [String: Double] = [:]
    /// Names of layers that are left alone, in which `*` stands for any characters; `output` is the layer
    /// that makes the model's output.
    public var exclude = ["output"]
    public var minPerLayer = 0.0
    public var maxPerLayer = 0.98
    /// Channels of a pruned layer are a multiple of this, where there were enough.
    public var roundTo = 1
    public var minChannels = 1
    /// Whether channels that are all zero are removed from the model.
    public var shrinks = true
    /// Whether biases are ranked with the weights of an unstructured pruning.
    public var includesBias = false
    public var fineTuning = FineTuning()

    public init() {}

    /// The name in `exclude` that stands for the layer that makes the output.
    public static let outputName = "output"
}
