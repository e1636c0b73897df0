public import Graph
internal import Tensor

/// Finds how many channels must go for a model to be as small or as fast as asked.
public struct ConstraintSearch: Sendable {
    /// What was found.
    public struct Result: Sendable {
        public let choice: ChannelChoice
        public let shrinking: Shrinking
        /// The part of the channels that was asked of the selection.
        public let ratio: Double
    }

    private let selection: ChannelSelection
    private let model: ModelSpec
    private let rankings: [Ranking]
    private let previous: ChannelChoice?

    /// Ranks the channels once, for every size that is tried.
    ///
    /// - Parameters:
    ///   - selection: Its options hold the constraints.
    ///   - model: The model before.
    ///   - numbers: What the criterion looks at.
    ///   - previous: What is gone already.
    /// - Throws: `CompressionError` when numbers are missing.
    public init(
        _ selection: ChannelSelection, of model: ModelSpec, numbers: [Graph.ParameterID: [Float]],
        previous: ChannelChoice? = nil
    ) throws(CompressionError) {
        (self.selection, self.model, self.previous) = (selection, model, previous)
        rankings = try selection.rank(numbers, previous: previous)
    }

    /// The least pruned model that meets every constraint; one channel more would be too many.
    ///
    /// `latency` measures a model of a description; it is asked only where the latency is constrained. Throws
    /// `CompressionError.constraintOutOfReach` with the least that can be reached, before any training.
    public func run(
        latency: (ModelSpec) throws(CompressionError) -> Double
    ) throws(CompressionError) -> Result {
        let least = try attempt(selection.reachableSparsity)
        var limits: [(PruneOptions.Constraint, Double)] = []
        for constraint in selection.options.constraints {
            let limit = constraint.limit(of: try measure(constraint.metric, of: model, latency))
            let reached = try measure(constraint.metric, of: least.shrinking.model, latency)
            guard reached <= limit else {
                throw .constraintOutOfReach(constraint.metric, asked: limit, least: reached)
            }
            limits.append((constraint, limit))
        }
        func meets(_ result: Result) throws(CompressionError) -> Bool {
            for (constraint, limit) in limits {
                let found = try measure(constraint.metric, of: result.shrinking.model, latency)
                if found > limit { return false }
            }
            return true
        }
        let most = try attempt(0)
        if try meets(most) { return most }
        // Choices are nested: what is pruned at one ratio is pruned at every higher one.
        var (low, high) = (most, least)
        while high.choice.removed.count - low.choice.removed.count > 1 {
            let ratio = (low.ratio + high.ratio) / 2
            guard ratio > low.ratio, ratio < high.ratio else { break }
            let middle = try attempt(ratio)
            if try meets(middle) { high = middle } else { low = middle }
        }
        return high
    }

    private func attempt(_ ratio: Double) throws(CompressionError) -> Result {
        let choice = try selection.choose(rankings, previous: previous, sparsity: { $0 }, target: ratio)
        return Result(choice: choice, shrinking: try Shrinking(choice, of: model), ratio: ratio)
    }

    private func measure(
        _ metric: PruneOptions.Constraint.Metric, of model: ModelSpec,
        _ latency: (ModelSpec) throws(CompressionError) -> Double
    ) throws(CompressionError) -> Double {
        if metric == .latencyMilliseconds { return try latency(model) }
        let cost = CostModel(of: model.graph)
        return switch metric {
        case .macs: Double(cost.macsPerSample)
        case .params: Double(cost.parameters)
        case .bytes, .latencyMilliseconds: Double(cost.parameterBytes)
        }
    }
}
