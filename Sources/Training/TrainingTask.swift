public import Data
public import Graph
public import Plan
internal import Tensor

/// Everything that decides what a training run computes, besides the machine.
public struct TrainingTask: Sendable {
    public let model: ModelSpec
    public let options: TrainOptions
    public let dataset: ImageDataset
    public let seed: UInt64

    /// Samples of one evaluation batch: four training batches fill the cores, and take about as much memory
    /// as one that is trained on; never less than 16 nor more than 256.
    public static func evaluationBatch(_ options: TrainOptions) -> Int {
        max(16, min(256, options.batchSize * 4))
    }

    public init(model: ModelSpec, options: TrainOptions, dataset: ImageDataset, seed: UInt64) {
        self.model = model
        self.options = options
        self.dataset = dataset
        self.seed = seed
    }

    /// Where samples come from.
    struct Source {
        let split: ImageSplit
        let indices: [UInt32]
    }

    /// The samples to train on and to validate with.
    var sources: (train: Source, validation: Source) {
        let everything = (0..<UInt32(dataset.train.count)).map { $0 }
        if let validation = dataset.validation {
            return (Source(split: dataset.train, indices: everything), whole(validation))
        }
        guard options.validationFraction > 0 else {
            return (Source(split: dataset.train, indices: everything), whole(dataset.test))
        }
        let parts = Batcher.setAside(
            options.validationFraction, of: dataset.train.count, seed: seed)
        return (
            Source(split: dataset.train, indices: parts.train),
            Source(split: dataset.train, indices: parts.validation)
        )
    }

    func whole(_ split: ImageSplit) -> Source {
        Source(split: split, indices: (0..<UInt32(split.count)).map { $0 })
    }

    /// Samples of one epoch.
    public static func sampleCount(_ info: DatasetInfo, _ options: TrainOptions) -> Int {
        guard info.validationCount == 0, options.validationFraction > 0 else { return info.trainCount }
        let parts = Batcher.setAside(options.validationFraction, of: info.trainCount, seed: 0)
        return parts.train.count
    }

    /// What to compile for a dataset: the full batch and the short last one, for training and evaluation.
    public static func programOptions(_ info: DatasetInfo, _ options: TrainOptions) -> Program.Options {
        let samples = sampleCount(info, options)
        let held = info.validationCount > 0 ? info.validationCount : max(info.trainCount - samples, 0)
        var evaluation: [Int] = []
        for count in [held, info.testCount] where count > 0 {
            evaluation += batches(of: count, by: evaluationBatch(options))
        }
        return Program.Options(
            loss: options.loss, optimizer: options.optimizer,
            trainingBatches: batches(of: samples, by: options.batchSize), evaluationBatches: evaluation)
    }

    /// The batch sizes that occur when `count` samples are cut by `size`.
    private static func batches(of count: Int, by size: Int) -> [Int] {
        var sizes: [Int] = []
        if count >= size { sizes.append(size) }
        if count % size > 0 { sizes.append(count % size) }
        return sizes
    }

    /// Bytes of the prefetcher's slots for training and for evaluation, of which two are alive at a time.
    public static func inputByteCount(_ info: DatasetInfo, _ options: TrainOptions) -> Int {
        let sample = (info.shape.elementCount + 1) * 4
        return 2 * sample * (options.batchSize + evaluationBatch(options))
    }
}
