public import Data
public import Graph
internal import Plan
internal import Tensor

/// Measures a stored model on a split of a dataset.
public struct Evaluator {
    private let model: InferenceModel
    private let feed: BatchFeed
    private let classCount: Int

    /// Samples of a batch.
    public static let batchMax = 256

    /// How a model reads a dataset to be measured.
    public static func reading(_ model: ModelSpec) -> ReadingOptions {
        ReadingOptions(
            batchSize: batchMax, evaluationBatchSize: batchMax, context: model.input.dimensions.first ?? 1)
    }

    /// Loads the model for the split.
    ///
    /// - Throws: `TrainingError.misfit` where the dataset is not what the model was made for, or has no such
    ///   split; what loading throws.
    public init(
        _ stored: StoredModel, on dataset: Dataset, split: SplitName
    ) throws(TrainingError) {
        var reading = Self.reading(stored.model)
        reading.normalization = stored.normalization
        try stored.check(fits: dataset.info, vocabulary: dataset.vocabulary, asks: .sameClasses)
        do { try dataset.info.check(reading) } catch { throw .data(error) }
        guard let feed = dataset.wholeFeed(of: split, reading) else {
            throw .misfit(reason: "the dataset has no \(split.rawValue) split")
        }
        let count = feed.batcher.indices.count
        let sizes = [min(count, Self.batchMax), count % Self.batchMax].filter { $0 > 0 }
        guard !sizes.isEmpty else {
            throw .misfit(reason: "the dataset's \(split.rawValue) split is empty")
        }
        self.feed = feed
        model = try InferenceModel(stored, batches: Array(Set(sizes)))
        let graph = stored.model.graph
        classCount = graph[graph.output].channels
    }

    /// Bytes that stay in use, besides the dataset.
    public var byteCount: Int { model.byteCount }

    /// Runs the model over the whole split.
    ///
    /// - Parameter isStopped: Asked between batches, with the part that is done.
    /// - Returns: nil once it says so.
    /// - Throws: `TrainingError.badModel` where an output is not a number.
    public func run(
        isStopped: (_ fraction: Double) -> Bool = { _ in false }
    ) throws(TrainingError) -> ClassificationTally? {
        let prefetcher: Prefetcher
        do { prefetcher = try feed.prefetcher(epochs: 1) } catch { throw .data(error) }
        var tally = ClassificationTally(classCount: classCount)
        var done = 0
        while let batch = prefetcher.next() {
            if isStopped(Double(done) / Double(max(feed.batcher.indices.count, 1))) { return nil }
            let plan = try model.run(batch)
            let labels = batch.arena.read(batch.targetSlot(0..<batch.count), as: Int32.self)
            let areNumbers = tally.add(
                outputs: plan.output(), labels: labels, areProbabilities: model.endsInSoftmax)
            guard areNumbers else { throw .misfit(reason: "the model's outputs are not all numbers") }
            done += batch.count
        }
        return tally
    }
}
