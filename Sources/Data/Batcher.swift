import Tensor

/// In which order the samples of an epoch come.
public enum SampleOrder: Sendable, Equatable {
    /// As they are stored, in every epoch.
    case stored
    /// In another order each epoch, which follows from the seed and the epoch's number alone.
    case shuffled(seed: UInt64)
}

/// Where training stands in its data: the next batch to be read.
public struct BatchPosition: Sendable, Hashable, Comparable {
    /// Counted from 0.
    public var epoch: Int
    /// Within the epoch, counted from 0.
    public var batch: Int

    /// The start of training, or a place in it.
    public init(epoch: Int = 0, batch: Int = 0) {
        self.epoch = epoch
        self.batch = batch
    }

    /// Whether `left` is read before `right`.
    public static func < (left: BatchPosition, right: BatchPosition) -> Bool {
        (left.epoch, left.batch) < (right.epoch, right.batch)
    }
}

/// Cuts the samples of each epoch into batches; the last one may be short.
///
/// A value without a position: any epoch can be asked for at any time, which is what makes resuming exact.
public struct Batcher: Sendable {
    /// The samples of an epoch, as indices into a split, before shuffling.
    public let indices: [UInt32]
    /// Samples of every batch but the last.
    public let batchSize: Int
    /// How each epoch is ordered.
    public let order: SampleOrder

    /// Cuts the samples `indices` of a split.
    public init(indices: [UInt32], batchSize: Int, order: SampleOrder) {
        precondition(batchSize > 0, "batches of \(batchSize) samples")
        self.indices = indices
        self.batchSize = batchSize
        self.order = order
    }

    /// Cuts all `sampleCount` samples of a split.
    public init(sampleCount: Int, batchSize: Int, order: SampleOrder) {
        self.init(indices: (0..<UInt32(sampleCount)).map { $0 }, batchSize: batchSize, order: order)
    }

    /// Batches of an epoch.
    public var batchCount: Int { (indices.count + batchSize - 1) / batchSize }

    /// The samples of an epoch in their order.
    ///
    /// A Fisher-Yates shuffle, so that all orders are equally likely.
    public func samples(ofEpoch epoch: Int) -> [UInt32] {
        guard case .shuffled(let seed) = order else { return indices }
        var random = CounterRandom(seed: seed, purpose: .shuffle, epoch: UInt32(truncatingIfNeeded: epoch))
        return Self.shuffled(indices, with: &random)
    }

    /// Which of an epoch's samples form a batch.
    public func range(ofBatch batch: Int) -> Range<Int> {
        precondition(batch >= 0 && batch < batchCount, "batch \(batch) of \(batchCount)")
        return batch * batchSize..<min((batch + 1) * batchSize, indices.count)
    }

    /// Sets part of a split aside for validation.
    ///
    /// - Parameters:
    ///   - fraction: Of the split, at least 0 and below 1; 0 sets nothing aside.
    ///   - sampleCount: Samples of the split.
    ///   - seed: Decides which; the same seed gives the same samples.
    /// - Returns: Indices in ascending order; with a fraction above 0 both parts hold at least one sample
    ///   when the split holds two.
    public static func setAside(
        _ fraction: Double, of sampleCount: Int, seed: UInt64
    ) -> (train: [UInt32], validation: [UInt32]) {
        precondition(fraction >= 0 && fraction < 1, "a validation fraction of \(fraction)")
        let all = (0..<UInt32(sampleCount)).map { $0 }
        guard fraction > 0, sampleCount > 1 else { return (all, []) }
        let count = min(max(Int((Double(sampleCount) * fraction).rounded()), 1), sampleCount - 1)
        var random = CounterRandom(seed: seed, purpose: .split)
        let mixed = shuffled(all, with: &random)
        return (mixed[count...].sorted(), mixed[..<count].sorted())
    }

    private static func shuffled(_ indices: [UInt32], with random: inout CounterRandom) -> [UInt32] {
        var mixed = indices
        for last in stride(from: mixed.count - 1, to: 0, by: -1) {
            mixed.swapAt(last, Int(random.below(UInt32(last + 1))))
        }
        return mixed
    }
}
