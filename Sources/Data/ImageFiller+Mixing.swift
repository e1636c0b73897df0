internal import Tensor

/// Mixing the images of a batch with each other.
extension ImageFiller {
    /// What a batch is mixed by: the share of each image's own, and whose the rest is.
    struct Mixture: Equatable {
        let share: Double
        /// A place in the batch for each place.
        let partners: [Int]
    }

    /// The mixture of a batch of `count` samples at a place in training.
    func mixture(at position: BatchPosition, count: Int) -> Mixture {
        var random = CounterRandom(
            seed: seed, purpose: .mixing, epoch: UInt32(truncatingIfNeeded: position.epoch),
            step: UInt64(position.batch))
        let share = SymmetricBeta(alpha: augmentation.mixupAlpha).draw(&random)
        var partners = Array(0..<count)
        for last in stride(from: count - 1, to: 0, by: -1) {
            partners.swapAt(last, Int(random.below(UInt32(last + 1))))
        }
        return Mixture(share: share, partners: partners)
    }

    /// Writes mixed images, and in how far each is of which class.
    func fillMixed(
        _ samples: ArraySlice<UInt32>, at position: BatchPosition, into buffers: BatchBuffers
    ) -> Int {
        let mixture = mixture(at: position, count: samples.count)
        let members = Array(samples)
        buffers.arena.withSlot(buffers.input, as: Float.self) { images in
            var other = [Float](repeating: 0, count: elementCount)
            for (place, sample) in members.enumerated() {
                fill(sample, epoch: position.epoch, into: &images, at: place * elementCount)
                var span = other.mutableSpan
                fill(members[mixture.partners[place]], epoch: position.epoch, into: &span, at: 0)
                mix(other, into: &images, at: place * elementCount, share: Float(mixture.share))
            }
            for element in members.count * elementCount..<images.count { images[element] = 0 }
        }
        buffers.arena.withSlot(buffers.target, as: Float.self) { shares in
            for element in shares.indices { shares[element] = 0 }
            for (place, sample) in members.enumerated() {
                let (own, partner) = (sample, members[mixture.partners[place]])
                let first = place * classCount
                shares[first + Int(split.labels[Int(own)])] += Float(mixture.share)
                shares[first + Int(split.labels[Int(partner)])] += Float(1 - mixture.share)
            }
        }
        return samples.count
    }
}
