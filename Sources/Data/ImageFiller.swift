import Tensor

/// Random changes that keep an image's class.
public struct Augmentation: Sendable, Equatable {
    /// Black pixels added on every side before a window of the original size is cut out at random; 0 = off.
    public var cropPadding: Int
    /// Whether half of the images are mirrored left to right.
    public var flipsHorizontally: Bool

    /// Side of a square at a random place that becomes the mean colour (DeVries and Taylor, 2017); 0 = off.
    public var cutoutSide: Int
    /// The alpha of Beta(alpha, alpha), by whose draws each batch is mixed with itself; 0 = off.
    ///
    /// Zhang et al., 2018. Targets then are shares of the classes.
    public var mixupAlpha: Double

    /// Leaves images as they are.
    public static let none = Augmentation()

    /// Combines changes.
    public init(
        cropPadding: Int = 0, flipsHorizontally: Bool = false, cutoutSide: Int = 0, mixupAlpha: Double = 0
    ) {
        precondition(cropPadding >= 0 && cutoutSide >= 0 && mixupAlpha >= 0, "a negative change")
        self.cropPadding = cropPadding
        self.flipsHorizontally = flipsHorizontally
        self.cutoutSide = cutoutSide
        self.mixupAlpha = mixupAlpha
    }

    /// Whether targets are shares of the classes instead of labels.
    public var mixesLabels: Bool { mixupAlpha > 0 }
}

/// Turns images of a split into normalised floats and class labels.
///
/// Every random choice follows from (seed, epoch, sample), not from the order of the samples, so batch
/// size, resuming and reading ahead change nothing.
public struct ImageFiller: BatchFiller {
    let split: ImageSplit
    let shape: ImageShape
    let table: PixelTable
    let augmentation: Augmentation
    let classCount: Int
    let seed: UInt64

    /// Reads from one split of a dataset, normalised as asked, or by the mean and deviation stored with it.
    public init(
        _ split: ImageSplit, of info: ImageInfo, normalization: PixelNormalization? = nil,
        augmentation: Augmentation = .none, seed: UInt64 = 0
    ) {
        self.split = split
        shape = info.shape
        let normalization = normalization ?? info.normalization
        table = PixelTable(
            shape: info.shape, mean: normalization.mean, standardDeviation: normalization.standardDeviation)
        self.augmentation = augmentation
        classCount = info.classNames.count
        layout = Self.layout(of: info, augmentation)
        self.seed = seed
    }

    /// Floats per image.
    public var elementCount: Int { shape.elementCount }

    /// An image of floats and its label, or the shares of the classes in a mixed one.
    public let layout: BatchLayout

    static func layout(of info: ImageInfo, _ augmentation: Augmentation) -> BatchLayout {
        BatchLayout(
            input: .float32, inputWidth: info.shape.elementCount,
            target: augmentation.mixesLabels ? .float32 : .int32,
            targetWidth: augmentation.mixesLabels ? info.classNames.count : 1)
    }

    /// Writes `[capacity, height, width, channels]` and `[capacity]`, or `[capacity, classes]`.
    public func fill(
        _ samples: ArraySlice<UInt32>, at position: BatchPosition, into buffers: BatchBuffers
    ) -> Int {
        if augmentation.mixesLabels { return fillMixed(samples, at: position, into: buffers) }
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
            fill(sample, epoch: epoch, into: &images, at: place * elementCount)
            labels[place] = Int32(split.labels[Int(sample)])
        }
        guard samples.count < labels.count else { return }
        for place in samples.count..<labels.count { labels[place] = BatchLayout.ignoredLabel }
        for element in samples.count * elementCount..<images.count { images[element] = 0 }
    }

    /// Writes one image with its changes.
    func fill(_ sample: UInt32, epoch: Int, into images: inout MutableSpan<Float>, at start: Int) {
        let (view, hole) = changes(of: sample, epoch: epoch)
        table.fill(Int(sample), of: split.images, view: view, into: &images, at: start)
        if let hole { table.clear(hole, in: &images, at: start) }
    }

    /// The shift and flip that a sample gets in an epoch; `nil` for none.
    func view(of sample: UInt32, epoch: Int) -> PixelView? { changes(of: sample, epoch: epoch).view }

    /// What happens to a sample in an epoch.
    func changes(of sample: UInt32, epoch: Int) -> (view: PixelView?, hole: PixelHole?) {
        guard augmentation != .none else { return (nil, nil) }
        var random = CounterRandom(
            seed: seed, purpose: .augmentation, epoch: UInt32(truncatingIfNeeded: epoch), step: UInt64(sample)
        )
        let padding = augmentation.cropPadding
        let places = UInt32(clamping: 2 * padding + 1)
        let row = padding > 0 ? Int(random.below(places)) - padding : 0
        let column = padding > 0 ? Int(random.below(places)) - padding : 0
        let isFlipped = augmentation.flipsHorizontally && random.below(2) == 1
        let view = PixelView(rowOffset: row, columnOffset: column, isFlipped: isFlipped)
        let side = augmentation.cutoutSide
        guard side > 0 else { return (view, nil) }
        // Around any pixel, so that the square may reach over the border.
        let top = Int(random.below(UInt32(shape.height))) - side / 2
        let left = Int(random.below(UInt32(shape.width))) - side / 2
        let hole = PixelHole(
            rows: max(top, 0)..<min(top + side, shape.height),
            columns: max(left, 0)..<min(left + side, shape.width))
        return (view, hole)
    }
}
