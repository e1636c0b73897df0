import Foundation
import Tensor
import Testing

@testable import Data

/// Takes and releases one batch, if there is one.
private func isAtEnd(_ prefetcher: Prefetcher) -> Bool {
    if let _ = prefetcher.next() { false } else { true }
}

@Suite("A prefetcher gives the batcher's batches in order") struct PrefetcherTests {
    static let data = TestImages(count: 37, shape: ImageShape(height: 3, width: 3, channels: 1))

    struct Seen: Equatable {
        var position: BatchPosition
        var labels: [Int32]
        var images: [Float]
    }

    private func filler() -> ImageFiller {
        ImageFiller(
            Self.data.split, of: Self.data.info,
            augmentation: Augmentation(cropPadding: 1, flipsHorizontally: true), seed: 6)
    }

    private func run(
        batchSize: Int, from start: BatchPosition = BatchPosition(), epochs: Int = 3, slotCount: Int = 2
    ) throws -> [Seen] {
        let batcher = Batcher(sampleCount: 37, batchSize: batchSize, order: .shuffled(seed: 2))
        let prefetcher = try Prefetcher(
            batcher, filler: filler(), from: start, epochs: epochs, slotCount: slotCount)
        var seen: [Seen] = []
        while let batch = prefetcher.next() {
            #expect(batch.inputSlot.offset % 64 == 0 && batch.targetSlot.offset % 64 == 0)
            seen.append(
                Seen(
                    position: batch.position,
                    labels: batch.arena.read(batch.targetSlot, as: Int32.self),
                    images: batch.arena.read(batch.inputSlot, as: Float.self)))
        }
        #expect(prefetcher.waitNanoseconds >= 0)
        return seen
    }

    @Test("whatever the sizes", arguments: [1, 2, 5, 36, 37, 64], [2, 3, 8])
    func order(batchSize: Int, slotCount: Int) throws {
        let batcher = Batcher(sampleCount: 37, batchSize: batchSize, order: .shuffled(seed: 2))
        var expected: [Seen] = []
        for epoch in 0..<3 {
            let samples = batcher.epoch(epoch)
            for batch in 0..<batcher.batchCount {
                var images = [Float](repeating: .nan, count: batchSize * 9)
                var labels = [Int32](repeating: 0, count: batchSize)
                var imageSpan = images.mutableSpan
                var labelSpan = labels.mutableSpan
                filler().fill(
                    samples[batch], epoch: epoch, images: &imageSpan,
                    labels: &labelSpan)
                let position = BatchPosition(epoch: epoch, batch: batch)
                expected.append(Seen(position: position, labels: labels, images: images))
            }
        }
        #expect(try run(batchSize: batchSize, slotCount: slotCount) == expected)
    }

    @Test(
        "a resumed run is the tail of a full one",
        arguments: [(0, 3), (1, 0), (1, 4), (2, 7), (2, 8), (3, 0)])
    func resume(epoch: Int, batch: Int) throws {
        let full = try run(batchSize: 5)
        let start = BatchPosition(epoch: epoch, batch: batch)
        #expect(try run(batchSize: 5, from: start) == full.filter { $0.position >= start })
    }

    @Test("cancelling ends a consumer that waits and a producer that waits")
    func cancel() throws {
        let batcher = Batcher(sampleCount: 37, batchSize: 5, order: .stored)
        let prefetcher = try Prefetcher(batcher, filler: filler(), epochs: 1000)
        #expect(!isAtEnd(prefetcher))
        prefetcher.cancel()
        #expect(isAtEnd(prefetcher))
        #expect(isAtEnd(prefetcher))
    }

    @Test("a consumer blocked on an endless wait is let go by a cancel")
    func cancelWhileBlocked() throws {
        // No samples and epochs without end: nothing will ever be ready.
        let batcher = Batcher(indices: [], batchSize: 5, order: .stored)
        let prefetcher = try Prefetcher(batcher, filler: filler(), epochs: .max)
        let ended = DispatchSemaphore(value: 0)
        DispatchQueue.global().async {
            if isAtEnd(prefetcher) { ended.signal() }
        }
        #expect(ended.wait(timeout: .now() + .milliseconds(20)) == .timedOut)
        prefetcher.cancel()
        #expect(ended.wait(timeout: .now() + .seconds(10)) == .success)
    }

    @Test("a batch outlives its prefetcher")
    func batchOutlives() throws {
        let batcher = Batcher(sampleCount: 37, batchSize: 5, order: .stored)
        var prefetcher: Prefetcher? = try Prefetcher(batcher, filler: filler(), epochs: 1)
        let batch = prefetcher?.next()
        prefetcher = nil
        if let batch {
            #expect(batch.arena.read(batch.targetSlot, as: Int32.self)[4] == 4)
        } else {
            Issue.record("no batch")
        }
    }

    @Test("two batches may be held at once, and the younger one go first", arguments: [2, 3, 64])
    func heldBatches(slotCount: Int) throws {
        let batcher = Batcher(sampleCount: 38, batchSize: 1, order: .stored)
        let data = TestImages(count: 38, shape: ImageShape(height: 3, width: 3, channels: 1))
        let prefetcher = try Prefetcher(
            batcher, filler: ImageFiller(data.split, of: data.info), epochs: 1, slotCount: slotCount)
        var count = 0
        while let older = prefetcher.next() {
            if let younger = prefetcher.next() {
                #expect(younger.position.batch == count + 1 && younger.targetCount == 1)
                #expect(younger.arena.read(younger.targetSlot, as: Int32.self) == [Int32((count + 1) % 10)])
            }
            #expect(older.arena.read(older.targetSlot, as: Int32.self) == [Int32(count % 10)])
            count += 2
        }
        #expect(count == 38)
    }

    @Test("waiting is counted only when the consumer is faster")
    func waiting() throws {
        let batcher = Batcher(sampleCount: 37, batchSize: 5, order: .stored)
        let prefetcher = try Prefetcher(batcher, filler: filler(), epochs: 50)
        var count = 0
        while !isAtEnd(prefetcher) { count += 1 }
        #expect(count == 400)
        #expect(prefetcher.waitNanoseconds > 0, "a consumer that does nothing must have waited")
    }
}
