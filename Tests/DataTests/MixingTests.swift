import Tensor
import Testing

@testable import Data

@Suite("Images are mixed and holes cut") struct MixingTests {
    private static let shape = ImageShape(height: 5, width: 7, channels: 2)

    /// Mean ½ and variance 1 / (4 (2 alpha + 1)); each within five standard errors, where the fourth moment
    /// is at most a quarter of the variance.
    @Test("a symmetric beta distribution has its moments", arguments: [0.05, 0.2, 1, 4, 50])
    func moments(alpha: Double) {
        var random = CounterRandom(seed: 9, purpose: .test)
        let beta = SymmetricBeta(alpha: alpha)
        let draws = (0..<20_000).map { _ in beta.draw(&random) }
        let count = Double(draws.count)
        let variance = 1 / (4 * (2 * alpha + 1))
        #expect(draws.allSatisfy { $0 >= 0 && $0 <= 1 })
        let mean = draws.reduce(0, +) / count
        #expect(abs(mean - 0.5) < 5 * (variance / count).squareRoot())
        let found = draws.reduce(0) { $0 + ($1 - 0.5) * ($1 - 0.5) } / count
        #expect(abs(found - variance) < 5 * (variance / 4 / count).squareRoot())
    }

    private func fill(
        _ filler: ImageFiller, _ samples: [UInt32], _ position: BatchPosition, capacity: Int
    ) throws -> (images: [Float], targets: [Float]) {
        let bytes = try #require(filler.layout.byteCounts(capacity: capacity))
        let input = Slot(offset: 0, byteCount: bytes.input)
        let target = Slot(offset: (bytes.input + 63) / 64 * 64, byteCount: bytes.target)
        let arena = try Arena(byteCount: target.end)
        for slot in [input, target] {
            arena.write([Float](repeating: .nan, count: slot.byteCount / 4), to: slot)
        }
        let counted = filler.fill(
            samples[...], at: position, into: BatchBuffers(arena: arena, input: input, target: target))
        #expect(counted == samples.count)
        return (arena.read(input, as: Float.self), arena.read(target, as: Float.self))
    }

    /// Two products and a sum of normalised values below 5 round to 5 · 2^-23 each at most.
    @Test("each image with its partner, and their classes alike")
    func mixture() throws {
        let data = TestImages(count: 12, shape: Self.shape)
        let augmentation = Augmentation(flipsHorizontally: true, mixupAlpha: 1)
        let filler = ImageFiller(data.split, of: data.info, augmentation: augmentation, seed: 4)
        let samples: [UInt32] = [3, 8, 0, 11, 5]
        let position = BatchPosition(epoch: 2, batch: 6)
        let (images, targets) = try fill(filler, samples, position, capacity: 6)
        let mixture = filler.mixture(at: position, count: 5)
        #expect(mixture.share > 0.01 && mixture.share < 0.99 && mixture.partners.sorted() == Array(0..<5))
        let size = Self.shape.elementCount
        let apart = samples.map { sample in
            var image = [Float](repeating: 0, count: size)
            var span = image.mutableSpan
            filler.fill(sample, epoch: 2, into: &span, at: 0)
            return image
        }
        let share = Float(mixture.share)
        for place in 0..<5 {
            let partner = mixture.partners[place]
            for element in 0..<size {
                let expected = share * apart[place][element] + (1 - share) * apart[partner][element]
                #expect(abs(images[place * size + element] - expected) < 1e-5)
            }
            var shares = [Float](repeating: 0, count: 10)
            shares[Int(data.split.labels[Int(samples[place])])] += share
            shares[Int(data.split.labels[Int(samples[partner])])] += 1 - share
            for label in 0..<10 { #expect(abs(targets[place * 10 + label] - shares[label]) < 1e-6) }
        }
        #expect(images[(5 * size)...].allSatisfy { $0 == 0 } && targets[50...].allSatisfy { $0 == 0 })
    }

    @Test("the same at the same place in training, otherwise at another")
    func places() throws {
        let data = TestImages(count: 12, shape: Self.shape)
        let filler = ImageFiller(
            data.split, of: data.info, augmentation: Augmentation(mixupAlpha: 0.5), seed: 4)
        let first = filler.mixture(at: BatchPosition(epoch: 1, batch: 2), count: 9)
        #expect(first == filler.mixture(at: BatchPosition(epoch: 1, batch: 2), count: 9))
        for other in [BatchPosition(epoch: 1, batch: 3), BatchPosition(epoch: 2, batch: 2)] {
            #expect(first != filler.mixture(at: other, count: 9))
        }
    }

    @Test("a hole is a square around some pixel, cut off at the border", arguments: [1, 2, 3, 9])
    func holes(side: Int) throws {
        let data = TestImages(count: 40, shape: Self.shape)
        let cut = ImageFiller(data.split, of: data.info, augmentation: Augmentation(cutoutSide: side))
        let whole = ImageFiller(data.split, of: data.info)
        var seen: Set<Int> = []
        for sample in 0..<40 as Range<UInt32> {
            let hole = try #require(cut.changes(of: sample, epoch: 0).hole)
            #expect(hole.rows.count <= side && hole.columns.count <= side)
            #expect(!hole.rows.isEmpty && !hole.columns.isEmpty)
            #expect(hole.rows.upperBound <= 5 && hole.columns.upperBound <= 7)
            seen.insert(hole.rows.lowerBound * 7 + hole.columns.lowerBound)
            var (image, original) = (
                [Float](repeating: .nan, count: 70), [Float](repeating: .nan, count: 70)
            )
            var span = image.mutableSpan
            cut.fill(sample, epoch: 0, into: &span, at: 0)
            var other = original.mutableSpan
            whole.fill(sample, epoch: 0, into: &other, at: 0)
            for element in 0..<70 {
                let (row, column) = (element / 14, element / 2 % 7)
                let isCut = hole.rows.contains(row) && hole.columns.contains(column)
                #expect(image[element] == (isCut ? 0 : original[element]))
            }
        }
        #expect(side > 8 || seen.count > 5, "they are all at one place")
    }
}
