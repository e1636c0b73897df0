import Tensor
import Testing

@testable import Data

extension Batcher {
    /// All samples of an epoch.
    fileprivate func samples(ofEpoch number: Int) -> [UInt32] {
        let epoch = epoch(number)
        return (0..<batchCount).flatMap { epoch[$0] }
    }
}

@Suite("A batcher's order follows from seed and epoch alone") struct BatcherTests {
    @Test("the same seed gives the same order, another epoch or seed another one")
    func reproducible() {
        let batcher = Batcher(sampleCount: 1000, batchSize: 64, order: .shuffled(seed: 7))
        let other = Batcher(sampleCount: 1000, batchSize: 64, order: .shuffled(seed: 8))
        #expect(batcher.samples(ofEpoch: 3) == batcher.samples(ofEpoch: 3))
        #expect(batcher.samples(ofEpoch: 3) != batcher.samples(ofEpoch: 4))
        #expect(batcher.samples(ofEpoch: 3) != other.samples(ofEpoch: 3))
    }

    @Test("each epoch holds every sample once", arguments: [1, 2, 63, 64, 65, 1000], [1, 7, 64, 2000])
    func permutation(sampleCount: Int, batchSize: Int) {
        let batcher = Batcher(sampleCount: sampleCount, batchSize: batchSize, order: .shuffled(seed: 1))
        let samples = batcher.samples(ofEpoch: 2)
        #expect(samples.sorted() == (0..<UInt32(sampleCount)).map { $0 })
        let epoch = batcher.epoch(2)
        let batches = (0..<batcher.batchCount).map { epoch[$0] }
        #expect(batches.dropLast().allSatisfy { $0.count == batchSize })
        #expect(batches.allSatisfy { !$0.isEmpty })
    }

    @Test("all orders of three samples are about equally likely")
    func uniform() {
        var counts: [[UInt32]: Int] = [:]
        let batcher = Batcher(sampleCount: 3, batchSize: 3, order: .shuffled(seed: 5))
        for epoch in 0..<6000 { counts[batcher.samples(ofEpoch: epoch), default: 0] += 1 }
        #expect(counts.count == 6)
        // Binomial with p = 1/6: deviation 29; five of them.
        for (order, count) in counts { #expect(abs(count - 1000) < 145, "\(order)") }
    }

    @Test("stored order is left alone, subsets too")
    func stored() {
        let batcher = Batcher(indices: [5, 3, 9], batchSize: 2, order: .stored)
        #expect(batcher.samples(ofEpoch: 9) == [5, 3, 9])
        #expect(batcher.batchCount == 2)
        let mixed = Batcher(indices: [5, 3, 9], batchSize: 2, order: .shuffled(seed: 0))
        #expect(mixed.samples(ofEpoch: 1).sorted() == [3, 5, 9])
    }

    @Test("drawn batches are full, follow from the step alone and cover the range evenly")
    func drawn() {
        let batcher = Batcher(drawing: 10, outOf: 7, batchSize: 60, seed: 3)
        #expect(batcher.batchCount == 10 && batcher.indices.isEmpty)
        let samples = (0..<100).flatMap { batcher.samples(ofEpoch: $0) }
        #expect(samples.count == 100 * 10 * 60)
        for value in 0..<7 {
            // Binomial with p = 1/7 of 60,000: deviation 86; five of them.
            #expect(abs(samples.count { $0 == UInt32(value) } - 60_000 / 7) < 430)
        }
        // Step 25, whatever the epoch's length is called.
        let longer = Batcher(drawing: 20, outOf: 7, batchSize: 60, seed: 3)
        #expect(batcher.epoch(2)[5] == longer.epoch(1)[5])
        #expect(batcher.epoch(2)[5] != batcher.epoch(2)[6])
        let other = Batcher(drawing: 10, outOf: 7, batchSize: 60, seed: 4)
        #expect(batcher.epoch(0)[0] != other.epoch(0)[0])
    }

    @Test(
        "a validation part is disjoint, complete, seeded and never swallows all",
        arguments: [
            (10, 0.1, 1), (60_000, 0.1, 6000), (3, 0.99, 2), (2, 0.001, 1), (5, 0.0, 0), (1, 0.5, 0),
        ])
    func setAside(sampleCount: Int, fraction: Double, expected: Int) {
        let parts = Batcher.setAside(fraction, of: sampleCount, seed: 4)
        #expect(parts.validation.count == expected)
        #expect((parts.train + parts.validation).sorted() == (0..<UInt32(sampleCount)).map { $0 })
        #expect(parts.train == parts.train.sorted())
        #expect(parts.validation == Batcher.setAside(fraction, of: sampleCount, seed: 4).validation)
        if expected > 100 {
            #expect(parts.validation != Batcher.setAside(fraction, of: sampleCount, seed: 5).validation)
        }
    }
}
