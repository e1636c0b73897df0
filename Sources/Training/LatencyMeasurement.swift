internal import Data
public import Graph
public import Plan
internal import Tensor

/// How long models take to answer.
public enum LatencyMeasurement {
    /// Runs before any is timed.
    public static let warmUp = 10
    /// Runs of each model that are timed.
    public static let runs = 100
    /// Seconds after which a batch size has been measured long enough, once there are `runsMin` runs.
    public static let secondsMax = 10.0
    /// The fewest runs that a median is taken of.
    public static let runsMin = 10

    /// Times of one batch size, in seconds.
    public struct Figures: Sendable, Equatable {
        /// The median.
        public let median: Double
        /// What 95 of 100 runs do not take longer than.
        public let p95: Double
        /// Runs that were timed.
        public let runs: Int

        /// Sums up some runs; nil for none.
        public init?(seconds: [Double]) {
            let sorted = seconds.sorted()
            guard let longest = sorted.last else { return nil }
            let middle = sorted.count / 2
            median = sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
            let rank = (Double(sorted.count) * 0.95).rounded(.up)
            p95 = sorted.indices.contains(Int(rank) - 1) ? sorted[Int(rank) - 1] : longest
            runs = sorted.count
        }
    }

    /// Times one model at a batch of one sample, in about a tenth of a second or two runs.
    ///
    /// - Parameters:
    ///   - model: Compiled for that.
    ///   - now: A monotonic clock in nanoseconds.
    /// - Returns: Its figures.
    /// - Throws: `TrainingError.plan` when a call fails.
    public static func glance(at model: InferenceModel, now: () -> UInt64) throws(TrainingError) -> Figures? {
        model.placeRandom(batch: 1, seed: 0)
        var seconds: [Double] = []
        let began = now()
        for run in 0..<warmUp + runs {
            let start = now()
            try model.repeatRun(batch: 1)
            let end = now()
            if run >= warmUp || Double(start - began) * 1e-9 > glanceSeconds / 2 {
                seconds.append(Double(end - start) * 1e-9)
            }
            if !seconds.isEmpty, Double(end - began) * 1e-9 > glanceSeconds { break }
        }
        return Figures(seconds: seconds)
    }

    /// How long a glance takes, unless one run takes longer.
    static let glanceSeconds = 0.1

    /// Times models against each other: they take turns, so that all see the same state of the machine.
    ///
    /// - Parameters:
    ///   - models: Compiled for every one of the batch sizes.
    ///   - batches: What is measured, one size after the other, on the calling thread's team.
    ///   - now: A monotonic clock in nanoseconds.
    ///   - isStopped: Asked between runs.
    /// - Returns: For each model its figures by batch size; nil once `isStopped` says so.
    /// - Throws: `TrainingError.plan` when a call fails.
    public static func measure(
        _ models: [InferenceModel], batches: [Int], now: () -> UInt64, isStopped: () -> Bool = { false }
    ) throws(TrainingError) -> [[Int: Figures]]? {
        var results = models.map { _ in [Int: Figures]() }
        for batch in batches {
            for model in models { model.placeRandom(batch: batch, seed: 0) }
            var seconds = models.map { _ in [Double]() }
            let began = now()
            for run in 0..<warmUp + runs {
                for (index, model) in models.enumerated() {
                    if isStopped() { return nil }
                    let start = now()
                    try model.repeatRun(batch: batch)
                    if run >= warmUp { seconds[index].append(Double(now() - start) * 1e-9) }
                }
                let isEnough = run + 1 >= warmUp + runsMin
                if isEnough, Double(now() - began) * 1e-9 > secondsMax { break }
            }
            for index in models.indices { results[index][batch] = Figures(seconds: seconds[index]) }
        }
        return results
    }
}

extension LatencyMeasurement {
    /// The median time of one sample in a model of random weights, in milliseconds.
    static func milliseconds(of model: ModelSpec, now: () -> UInt64) throws(TrainingError) -> Double {
        let found = try measure([InferenceModel(drawing: model, batches: [1])], batches: [1], now: now)
        return (found?.first?[1]?.median ?? 0) * 1000
    }
}

extension InferenceModel {
    /// A model whose weights are drawn by its own rule, with seed 0.
    public convenience init(
        drawing model: ModelSpec, batches: [Int], options: LoweringOptions = LoweringOptions()
    ) throws(TrainingError) {
        let graph = model.graph
        try self.init(graph, batches: batches, options: options) { id throws(TrainingError) in
            Initializer.values(of: graph[id], index: id.index, rule: model.initialization, seed: 0)
        }
    }

    /// Puts a batch of random numbers or tokens in place: the standard normal distribution, or every token
    /// equally likely.
    public func placeRandom(batch: Int, seed: UInt64) {
        let graph = program.graph
        let count = batch * graph.inputShape.elementCount
        var random = CounterRandom(seed: seed, purpose: .sampling)
        guard graph[graph.input].element == .token else {
            return place(Initializer.normal(count, 1, &random))
        }
        let vocabulary = graph.vocabularySize ?? 1
        place((0..<count).map { _ in Int32(random.below(UInt32(clamping: vocabulary))) })
    }
}

extension Graph {
    /// Rows of the table that the input's tokens are looked up in; nil where the input is no tokens.
    var vocabularySize: Int? {
        let readers = consumers(of: input).map { self[$0] }
        let table = readers.first { $0.operation == .embedding }.flatMap { parameter(.embedding, of: $0) }
        return table.map { self[$0].shape[0] }
    }
}
