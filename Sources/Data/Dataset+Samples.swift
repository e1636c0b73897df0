import Tensor

extension Dataset {
    /// Some samples of a split, drawn without replacement, as they are stored: fewer where it has fewer.
    ///
    /// nil where the dataset has no such split.
    public func drawnFeed(
        of name: SplitName, count: Int, _ options: ReadingOptions
    ) -> BatchFeed? {
        guard let whole = wholeFeed(of: name, options) else { return nil }
        var samples = whole.batcher.indices
        var random = CounterRandom(seed: options.seed, purpose: .calibration)
        let drawn = min(count, samples.count)
        // The first steps of Fisher and Yates's shuffle.
        for place in 0..<drawn {
            let other = place + Int(random.below(UInt32(samples.count - place)))
            samples.swapAt(place, other)
        }
        return BatchFeed(
            batcher: Batcher(
                indices: Array(samples.prefix(drawn)), batchSize: options.evaluationBatchSize,
                order: .stored),
            filler: whole.filler)
    }
}
