import Tensor

/// Random changes that keep an image's class.
public struct Augmentation: Sendable, Equatable {
    /// Black pixels added on every side before a window of the original size is cut out at random; 0 = off.
    public var cropPadding: Int
    /// Whether half of the images are mirrored left to right.
    public var flipsHorizontally: Bool

    /// Leaves images as they are.
    public static let none = Augmentation(cropPadding: 0, flipsHorizontally: false)

    /// Combines the two changes.
    public init(cropPadding: Int, flipsHorizontally: Bool) {
        precondition(cropPadding >= 0, "a padding of \(cropPadding)")
        self.cropPadding = cropPadding
        self.flipsHorizontally = flipsHorizontally
    }
}

/// Turns images of a split into normalised floats and class labels.
///
/// Every random choice follows from (seed, epoch, sample), not from the order of the samples, so batch
/// size, resuming and reading ahead change nothing.
public struct ImageFiller: BatchFiller {
    private let split: ImageSplit
    private let shape: ImageShape
    private let table: PixelTable
    private let augmentation: Augmentation
    private let seed: UInt64

    /// Reads from one split of a dataset, normalised by the mean and deviation stored with it.
    public init(
        _ split: ImageSplit, of info: ImageInfo, augmentation: Augmentation = .none, seed: UInt64 = 0
    ) {
        self.split = split
        shape = info.shape
        table = PixelTable(shape: info.shape, mean: info.mean, standardDeviation: info.standardDeviation)
        self.augmentation = augmentation
        self.seed = seed
    }

    /// Floats per image.
    public var elementCount: Int { shape.elementCount }

    /// An image of floats and its label.
    public var layout: BatchLayout {
        BatchLayout(input: .float32, inputWidth: elementCount, target: .int32, targetWidth: 1)
    }

    /// Writes `[capacity, height, width, channels]` and `[capacity]`.
    public func fill(
        _ samples: ArraySlice<UInt32>, at position: BatchPosition, into buffers: BatchBuffers
    ) -> Int {
        buffers.arena.withSlot(buffers.input, as: Float.self) { images in
            buffers.arena.withSlot(buffers.target, as: Int32.self) { labels in
                fill(samples, epoch: position.epoch, images: &images, labels: &labels)
            }
        }
        return samples.count
    }

    /// Writes one batch.
    ///
    /// - Parameters:
    ///   - samples: Indices into the split, at most as many as the buffers hold.
    ///   - epoch: Chooses the random changes.
    ///   - images: Receives `[capacity, height, width, channels]`; behind the last sample, zeros.
    ///   - labels: Receives `[capacity]`; behind the last sample, the ignored label.
    func fill(
        _ samples: ArraySlice<UInt32>, epoch: Int, images: inout MutableSpan<Float>,
        labels: inout MutableSpan<Int32>
    ) {
        precondition(images.count == labels.count * elementCount, "buffers of different capacity")
        precondition(samples.count <= labels.count, "\(samples.count) samples for \(labels.count) places")
        for (place, sample) in samples.enumerated() {
            let index = Int(sample)
            table.fill(
                index, of: split.images, view: view(of: sample, epoch: epoch), into: &images,
                at: place * elementCount)
            labels[place] = Int32(split.labels[index])
        }
        guard samples.count < labels.count else { return }
        for place in samples.count..<labels.count { labels[place] = BatchLayout.ignoredLabel }
        for element in samples.count * elementCount..<images.count { images[element] = 0 }
    }

    /// The change that a sample gets in an epoch; `nil` for none.
    func view(of sample: UInt32, epoch: Int) -> PixelView? {
        guard augmentation != .none else { return nil }
        var random = CounterRandom(
            seed: seed, purpose: .augmentation, epoch: UInt32(truncatingIfNeeded: epoch), step: UInt64(sample)
        )
        let padding = augmentation.cropPadding
        let places = UInt32(clamping: 2 * padding + 1)
        let row = padding > 0 ? Int(random.below(places)) - padding : 0
        let column = padding > 0 ? Int(random.below(places)) - padding : 0
        let isFlipped = augmentation.flipsHorizontally && random.below(2) == 1
        return PixelView(rowOffset: row, columnOffset: column, isFlipped: isFlipped)
    }
}
