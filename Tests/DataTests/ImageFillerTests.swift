import Tensor
import Testing

@testable import Data

/// A dataset in memory, made from a seed.
struct TestImages {
    let info: ImageInfo
    let split: ImageSplit

    init(count: Int, shape: ImageShape, seed: UInt64 = 3) {
        var random = CounterRandom(seed: seed, purpose: .test)
        let images = (0..<count * shape.elementCount).map { _ in UInt8(random.below(256)) }
        split = ImageSplit(images: images, labels: (0..<count).map { UInt8($0 % 10) })
        info = ImageInfo(
            shape: shape, classNames: (0..<10).map(String.init),
            mean: (0..<shape.channels).map { 0.3 + 0.1 * Double($0) },
            standardDeviation: (0..<shape.channels).map { 0.2 + 0.05 * Double($0) })
    }
}

@Suite("A batch holds normalised, changed images") struct ImageFillerTests {
    static let shapes = [
        ImageShape(height: 5, width: 7, channels: 1), ImageShape(height: 4, width: 3, channels: 3),
        ImageShape(height: 1, width: 1, channels: 2),
    ]

    private func fill(
        _ filler: ImageFiller, _ samples: [UInt32], epoch: Int = 0, capacity: Int
    ) -> (images: [Float], labels: [Int32]) {
        var images = [Float](repeating: .nan, count: capacity * filler.elementCount)
        var labels = [Int32](repeating: 99, count: capacity)
        var imageSpan = images.mutableSpan
        var labelSpan = labels.mutableSpan
        filler.fill(samples[...], epoch: epoch, images: &imageSpan, labels: &labelSpan)
        return (images, labels)
    }

    /// What one output value must be, written from the definition.
    private func expected(
        _ data: TestImages, _ sample: Int, _ view: PixelView, _ y: Int, _ x: Int, _ c: Int
    ) -> Float {
        let shape = data.info.shape
        let column = (view.isFlipped ? shape.width - 1 - x : x) + view.columnOffset
        let row = y + view.rowOffset
        var value: UInt8 = 0
        if (0..<shape.height).contains(row) && (0..<shape.width).contains(column) {
            value =
                data.split.images[
                    ((sample * shape.height + row) * shape.width + column) * shape.channels + c]
        }
        return (Float(value) / 255 - Float(data.info.mean[c])) / Float(data.info.standardDeviation[c])
    }

    @Test(
        "exactly as defined, with and without changes", arguments: shapes,
        [
            Augmentation.none, Augmentation(cropPadding: 2, flipsHorizontally: true),
            Augmentation(cropPadding: 0, flipsHorizontally: true),
            Augmentation(cropPadding: 9, flipsHorizontally: false),
        ])
    func oracle(shape: ImageShape, augmentation: Augmentation) {
        let data = TestImages(count: 9, shape: shape)
        let filler = ImageFiller(data.split, of: data.info, augmentation: augmentation, seed: 11)
        let samples: [UInt32] = [8, 0, 3, 3, 5]
        let (images, labels) = fill(filler, samples, epoch: 2, capacity: 7)
        #expect(labels == samples.map { Int32($0 % 10) } + [-100, -100])
        var element = 0
        for sample in samples {
            let view =
                filler.view(of: sample, epoch: 2)
                ?? PixelView(rowOffset: 0, columnOffset: 0, isFlipped: false)
            for y in 0..<shape.height {
                for x in 0..<shape.width {
                    for c in 0..<shape.channels {
                        #expect(images[element] == expected(data, Int(sample), view, y, x, c))
                        element += 1
                    }
                }
            }
        }
        #expect(images[element...].allSatisfy { $0 == 0 })
    }

    @Test("changes stay in bounds, use all of them and differ by sample and epoch")
    func views() {
        let data = TestImages(count: 1, shape: Self.shapes[0])
        let filler = ImageFiller(
            data.split, of: data.info, augmentation: Augmentation(cropPadding: 2, flipsHorizontally: true),
            seed: 1)
        let views = (0..<2000).compactMap { filler.view(of: UInt32($0), epoch: 0) }
        #expect(Set(views.map(\.rowOffset)) == Set(-2...2))
        #expect(Set(views.map(\.columnOffset)) == Set(-2...2))
        // Binomial with p = 1/2: deviation 22; five of them.
        #expect(abs(views.count(where: \.isFlipped) - 1000) < 112)
        #expect(views == (0..<2000).compactMap { filler.view(of: UInt32($0), epoch: 0) })
        #expect(views != (0..<2000).compactMap { filler.view(of: UInt32($0), epoch: 1) })
    }

    @Test("a histogram's moments agree with sums in double precision", arguments: [1, 3])
    func moments(channels: Int) {
        let data = TestImages(count: 50, shape: ImageShape(height: 7, width: 5, channels: channels))
        var histogram = ValueHistogram(channels: channels)
        for start in stride(from: 0, to: data.split.images.count, by: 101) {
            histogram.add(Array(data.split.images[start..<min(start + 101, data.split.images.count)]))
        }
        let moments = histogram.moments()
        for channel in 0..<channels {
            let values = stride(from: channel, to: data.split.images.count, by: channels).map {
                Double(data.split.images[$0]) / 255
            }
            let mean = values.reduce(0, +) / Double(values.count)
            let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
            // Both sides sum exactly representable products; what is left is a few roundings.
            #expect(abs(moments.mean[channel] - mean) < 1e-13)
            #expect(abs(moments.standardDeviation[channel] - variance.squareRoot()) < 1e-13)
        }
    }

    @Test("one grey value everywhere has a deviation of 1, so nothing is divided by 0")
    func constantImages() {
        var histogram = ValueHistogram(channels: 1)
        histogram.add([255, 255])
        #expect(histogram.moments().mean == [1])
        #expect(histogram.moments().standardDeviation == [1])
    }
}
