import Tensor

/// In which order the samples of an epoch come.
public enum SampleOrder: Sendable, Equatable {
    /// As they are stored, in every epoch.
    case stored
    /// In another order each epoch, which follows from the seed and the epoch's number alone.
    case shuffled(seed: UInt64)
    /// Drawn anew for each batch, with replacement, out of `0..<range`; an epoch has `batches` full batches.
    ///
    /// Batch `b` of epoch `e` follows from the seed and the step `e · batches + b` alone.
    case drawn(range: UInt32, batches: Int, seed: UInt64)
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
    /// The samples of an epoch, as indices into a split, before shuffling; none where they are drawn.
    public let indices: [UInt32]
    /// Samples of every batch but the last.
    public let batchSize: Int
    /// How each epoch is ordered.
    public let order: SampleOrder

    /// Cuts the samples `indices` of a split.
    public init(indices: [UInt32], batchSize: Int, order: SampleOrder) {
        precondition(batchSize > 0, "batches of \(batchSize) samples")
        if case .drawn(let range, let batches, _) = order {
            precondition(range > 0 && batches > 0, "\(batches) batches drawn out of \(range) samples")
        }
        self.indices = indices
        self.batchSize = batchSize
        self.order = order
    }

    /// Cuts all `sampleCount` samples of a split.
    public init(sampleCount: Int, batchSize: Int, order: SampleOrder) {
        self.init(indices: (0..<UInt32(sampleCount)).map { $0 }, batchSize: batchSize, order: order)
    }

    /// Draws full batches of `batchSize` samples out of `0..<range`, `batches` of them an epoch.
    public init(drawing batches: Int, outOf range: UInt32, batchSize: Int, seed: UInt64) {
        self.init(
            indices: [], batchSize: batchSize, order: .drawn(range: range, batches: batches, seed: seed))
    }

    /// Batches of an epoch.
    public var batchCount: Int {
        if case .drawn(_, let batches, _) = order { return batches }
        return (indices.count + batchSize - 1) / batchSize
    }

    /// The batches of an epoch.
    public func epoch(_ number: Int) -> Epoch {
        switch order {
        case .stored, .drawn: return Epoch(batcher: self, number: number, samples: indices)
        case .shuffled(let seed):
            var random = CounterRandom(
                seed: seed, purpose: .shuffle, epoch: UInt32(truncatingIfNeeded: number))
            let samples = Self.shuffled(indices, with: &random)
            return Epoch(batcher: self, number: number, samples: samples)
        }
    }

    /// One epoch's samples in their order, by batch.
    public struct Epoch: Sendable {
        private let batcher: Batcher
        private let number: Int
        private let samples: [UInt32]

        fileprivate init(batcher: Batcher, number: Int, samples: [UInt32]) {
            (self.batcher, self.number, self.samples) = (batcher, number, samples)
        }

        /// The samples of a batch.
        public subscript(batch: Int) -> ArraySlice<UInt32> {
            let (size, count) = (batcher.batchSize, batcher.batchCount)
            precondition(batch >= 0 && batch < count, "batch \(batch) of \(count)")
            guard case .drawn(let range, _, let seed) = batcher.order else {
                return samples[batch * size..<min((batch + 1) * size, samples.count)]
            }
            var random = CounterRandom(
                seed: seed, purpose: .window, step: UInt64(number) &* UInt64(count) &+ UInt64(batch))
            return (0..<size).map { _ in random.below(range) }[...]
        }
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
        let count = setAsideCount(fraction, of: sampleCount)
        guard count > 0 else { return (Array(0..<UInt32(sampleCount)), []) }
        var random = CounterRandom(seed: seed, purpose: .split)
        var train = shuffled(Array(0..<UInt32(sampleCount)), with: &random)
        let validation = train[..<count].sorted()
        train.removeFirst(count)
        train.sort()
        return (train, validation)
    }

    /// How many samples `setAside` takes.
    static func setAsideCount(_ fraction: Double, of sampleCount: Int) -> Int {
        guard fraction > 0, sampleCount > 1 else { return 0 }
        return min(max(Int((Double(sampleCount) * fraction).rounded()), 1), sampleCount - 1)
    }

    /// A Fisher-Yates shuffle, so that all orders are equally likely.
    private static func shuffled(_ indices: consuming [UInt32], with random: inout CounterRandom)
        -> [UInt32]
    {
        var mixed = indices
        for last in stride(from: mixed.count - 1, to: 0, by: -1) {
            mixed.swapAt(last, Int(random.below(UInt32(last + 1))))
        }
        return mixed
    }
}
