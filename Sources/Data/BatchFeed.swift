import Tensor

/// How a run reads a dataset.
public struct ReadingOptions: Sendable, Equatable {
    /// Samples of a training batch.
    public var batchSize: Int
    /// Samples of an evaluation batch.
    public var evaluationBatchSize: Int
    /// Tokens of a sample, the length of the model's input; has no meaning for images.
    public var context: Int
    /// Part of the training split that is set aside where the dataset has no validation split; 0 = none, and
    /// the test split is validated with.
    public var validationFraction: Double
    /// Random changes of training images.
    public var augmentation: Augmentation
    /// Decides every random choice.
    public var seed: UInt64
    /// What a model was trained with, where that is not the dataset's own; has no meaning for tokens.
    public var normalization: PixelNormalization?

    /// Reads without changes and sets nothing aside.
    public init(
        batchSize: Int, evaluationBatchSize: Int, context: Int = 1, validationFraction: Double = 0,
        augmentation: Augmentation = .none, seed: UInt64 = 0, normalization: PixelNormalization? = nil
    ) {
        (self.batchSize, self.evaluationBatchSize) = (batchSize, evaluationBatchSize)
        (self.context, self.validationFraction) = (context, validationFraction)
        (self.augmentation, self.seed) = (augmentation, seed)
        self.normalization = normalization
    }
}

/// What pixels are brought to mean 0 and deviation 1 by, once they are divided by 255.
public struct PixelNormalization: Sendable, Hashable {
    /// Per channel.
    public let mean: [Double]
    /// Per channel.
    public let standardDeviation: [Double]

    /// Names both; one number a channel each.
    public init(mean: [Double], standardDeviation: [Double]) {
        (self.mean, self.standardDeviation) = (mean, standardDeviation)
    }
}

/// The parts of a dataset.
public enum SplitName: String, Sendable, CaseIterable { case train, validation, test }

/// What a prefetcher reads: which samples in which order, and how they are written.
public struct BatchFeed: Sendable {
    /// Which samples, in which order.
    public let batcher: Batcher
    /// How they become numbers.
    public let filler: any BatchFiller

    /// Starts reading ahead; see `Prefetcher`.
    public func prefetcher(
        from start: BatchPosition = BatchPosition(), epochs: Int
    ) throws(DataError) -> Prefetcher {
        try Prefetcher(batcher, filler: filler, from: start, epochs: epochs)
    }
}

extension Dataset {
    /// What to train on: images and sequences once an epoch in random order; of running text random windows,
    /// as many in an epoch as lie in it side by side, in full batches.
    ///
    /// - Precondition: `info.check(options)` has not thrown.
    public func trainingFeed(_ options: ReadingOptions) -> BatchFeed {
        let filler = filler(of: train, options, augmentation: options.augmentation)
        switch train {
        case .text(let split):
            let windows = TextSplit.windowCount(tokens: split.count, context: options.context)
            let batcher = Batcher(
                drawing: max(windows / options.batchSize, 1), outOf: UInt32(split.count - options.context),
                batchSize: options.batchSize, seed: options.seed)
            return BatchFeed(batcher: batcher, filler: filler)
        case .images(let split):
            let parts = Batcher.setAside(
                info.fractionSetAside(options), of: split.count, seed: options.seed)
            return BatchFeed(batcher: shuffled(parts.train, options), filler: filler)
        case .sequences(let split):
            let everything = (0..<UInt32(split.count)).map { $0 }
            return BatchFeed(batcher: shuffled(everything, options), filler: filler)
        }
    }

    /// What to validate with: the validation split, else what was set aside, else the test split.
    public func validationFeed(_ options: ReadingOptions) -> BatchFeed {
        if let validation { return whole(validation, options) }
        guard info.fractionSetAside(options) > 0, case .images(let split) = train else {
            return whole(test, options)
        }
        let parts = Batcher.setAside(options.validationFraction, of: split.count, seed: options.seed)
        return BatchFeed(
            batcher: Batcher(
                indices: parts.validation, batchSize: options.evaluationBatchSize, order: .stored),
            filler: filler(of: train, options))
    }

    /// What the final report is measured on: all samples; of a text all tokens, in windows side by side.
    public func testFeed(_ options: ReadingOptions) -> BatchFeed { whole(test, options) }

    /// Every sample of a split once, as it is stored; nil where the dataset has no such split.
    public func wholeFeed(of name: SplitName, _ options: ReadingOptions) -> BatchFeed? {
        switch name {
        case .train: whole(train, options)
        case .validation: validation.map { whole($0, options) }
        case .test: whole(test, options)
        }
    }

    private func whole(_ split: Split, _ options: ReadingOptions) -> BatchFeed {
        let samples: [UInt32] =
            switch split {
            case .images(let split): (0..<UInt32(split.count)).map { $0 }
            case .sequences(let split): (0..<UInt32(split.count)).map { $0 }
            case .text(let split): stride(from: 0, to: split.count - 1, by: options.context).map(UInt32.init)
            }
        return BatchFeed(
            batcher: Batcher(indices: samples, batchSize: options.evaluationBatchSize, order: .stored),
            filler: filler(of: split, options))
    }

    private func shuffled(_ samples: [UInt32], _ options: ReadingOptions) -> Batcher {
        Batcher(indices: samples, batchSize: options.batchSize, order: .shuffled(seed: options.seed))
    }

    private func filler(
        of split: Split, _ options: ReadingOptions, augmentation: Augmentation = .none
    ) -> any BatchFiller {
        switch (split, info.kind) {
        case (.images(let split), .images(let images)):
            ImageFiller(
                split, of: images, normalization: options.normalization, augmentation: augmentation,
                seed: options.seed)
        case (.text(let split), _): TextFiller(split, context: options.context)
        case (.sequences(let split), .sequences(let sequences)):
            SequenceFiller(split, labelling: sequences.labelling, context: options.context)
        case (.images, _), (.sequences, _): preconditionFailure("a split of another kind than its dataset")
        }
    }
}

extension DatasetInfo {
    /// Whether the dataset can be read this way.
    ///
    /// - Throws: `DataError.tooShort` when running text has no window of the model's length.
    public func check(_ options: ReadingOptions) throws(DataError) {
        guard case .text = kind else { return }
        let (needed, overflow) = options.context.addingReportingOverflow(1)
        guard !overflow, options.context > 0, trainCount >= needed else {
            throw .tooShort(split: "training", tokens: trainCount, needed: overflow ? .max : needed)
        }
    }

    /// What a sample takes in a batch of this dataset.
    public func layout(_ options: ReadingOptions) -> BatchLayout {
        switch kind {
        case .images(let info):
            ImageFiller.layout(of: info, options.augmentation)
        case .text, .sequences:
            BatchLayout(
                input: .int32, inputWidth: options.context, target: .int32,
                targetWidth: hasTargetPerToken ? options.context : 1)
        }
    }

    /// Samples of an epoch of training.
    public func sampleCount(_ options: ReadingOptions) -> Int {
        switch kind {
        case .images:
            return trainCount - Batcher.setAsideCount(fractionSetAside(options), of: trainCount)
        case .text:
            let windows = TextSplit.windowCount(tokens: trainCount, context: options.context)
            return max(windows / options.batchSize, 1) * options.batchSize
        case .sequences: return trainCount
        }
    }

    /// Steps of an epoch of training.
    public func stepCount(_ options: ReadingOptions) -> Int {
        (sampleCount(options) + options.batchSize - 1) / options.batchSize
    }

    /// The batch sizes that occur: the full ones and the short last ones, of training and of evaluation.
    public func batchSizes(_ options: ReadingOptions) -> (training: [Int], evaluation: [Int]) {
        func sizes(_ count: Int, _ size: Int) -> [Int] {
            (count >= size ? [size] : []) + (count % size > 0 ? [count % size] : [])
        }
        func samples(_ count: Int) -> Int {
            guard case .text = kind else { return count }
            return TextSplit.windowCount(tokens: count, context: options.context)
        }
        let setAside = Batcher.setAsideCount(fractionSetAside(options), of: trainCount)
        let evaluated = [samples(validationCount), setAside, samples(testCount)]
        return (
            sizes(sampleCount(options), options.batchSize),
            evaluated.flatMap { sizes($0, options.evaluationBatchSize) }
        )
    }

    /// Whether samples can be set aside for validation: only images may come without such a split.
    public var canSetAside: Bool { images != nil && validationCount == 0 }

    /// The fraction that is really set aside.
    fileprivate func fractionSetAside(_ options: ReadingOptions) -> Double {
        canSetAside ? options.validationFraction : 0
    }
}
