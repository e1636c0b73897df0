public import Tensor
import Threads

/// Fills batches on a thread of its own, ahead of the thread that trains.
///
/// A ring of slots in one arena, two unless asked otherwise. A slot that is ready is taken, and a free one
/// filled, without a lock; only who must wait takes one. The order is the batcher's, so what the consumer
/// sees does not depend on timing. One consumer; dropping the prefetcher stops its thread.
public final class Prefetcher: Sendable {
    private let ring: PrefetchRing

    /// Starts filling at once.
    ///
    /// - Parameters:
    ///   - batcher: Which samples, in which order.
    ///   - filler: Where they come from.
    ///   - start: The first batch; a position behind an epoch's last batch means the next epoch.
    ///   - epochs: Where to stop: the first epoch that is not read.
    ///   - slotCount: Batches that may be ready or in use at once, 2 to 64.
    /// - Throws: `DataError.outOfResources` when there is no memory or no thread.
    public init(
        _ batcher: Batcher, filler: any BatchFiller, from start: BatchPosition = BatchPosition(),
        epochs: Int, slotCount: Int = 2
    ) throws(DataError) {
        let ring = try PrefetchRing(
            slotCount: slotCount, capacity: batcher.batchSize, layout: filler.layout)
        self.ring = ring
        try DataError.translating { () throws(NoThread) in
            try BackgroundThread.start {
                ring.produce(batcher, filler, from: start, epochs: epochs)
            }
        }
    }

    deinit { ring.cancel() }

    /// The next batch, waiting only when it is not ready yet; `nil` at the end or after `cancel()`.
    ///
    /// - Precondition: Of `slotCount` batches at least one has been released.
    public func next() -> Batch? {
        guard let slot = ring.take() else { return nil }
        return Batch(slot: slot, ring: ring)
    }

    /// Makes `next()` return `nil` from now on, also where it is waiting, and ends the thread.
    public func cancel() { ring.cancel() }

    /// Nanoseconds that `next()` has waited in total: what training lost to its input.
    public var waitNanoseconds: Int64 { ring.waitNanoseconds }
}

/// One batch, lent by a prefetcher until this value goes away.
public struct Batch: ~Copyable {
    /// Where in training it stands.
    public let position: BatchPosition
    /// Samples in it; below the capacity only in an epoch's last batch.
    public let count: Int
    /// Targets that are not ignored: what a mean loss is divided by.
    public let targetCount: Int
    private let slot: Int
    private let ring: PrefetchRing

    fileprivate init(slot: Int, ring: PrefetchRing) {
        let label = ring.label(of: slot)
        (position, count, targetCount) = (label.position, label.count, label.targetCount)
        (self.slot, self.ring) = (slot, ring)
    }

    deinit { ring.release(slot) }

    /// Places in the buffers: the batch size.
    public var capacity: Int { ring.capacity }

    /// Types and widths of what it holds.
    public var layout: BatchLayout { ring.layout }

    /// The arena that holds the batch; its memory belongs to this batch as long as this value lives.
    public var arena: Arena { ring.arena }

    /// Where in `arena` the input lies, aligned to 64 bytes: `[capacity, inputWidth]`, zeros behind `count`.
    public var inputSlot: Slot { ring.buffers(slot).input }

    /// Where in `arena` the target lies, aligned to 64 bytes: `[capacity, targetWidth]`, behind `count`
    /// ignored labels, or zeros where it is floats.
    public var targetSlot: Slot { ring.buffers(slot).target }

    /// Where the input of some of the samples lies; aligned only where they begin at the first.
    public func inputSlot(_ samples: Range<Int>) -> Slot {
        inputSlot.part(samples, stride: layout.inputWidth * layout.input.byteCount)
    }

    /// Where the targets of some of the samples lie, likewise.
    public func targetSlot(_ samples: Range<Int>) -> Slot {
        targetSlot.part(samples, stride: layout.targetWidth * layout.target.byteCount)
    }
}

extension Slot {
    /// The bytes of some of the samples of `stride` bytes each.
    fileprivate func part(_ samples: Range<Int>, stride: Int) -> Slot {
        let part = Slot(offset: offset + samples.lowerBound * stride, byteCount: samples.count * stride)
        precondition(samples.lowerBound >= 0 && part.end <= end, "samples \(samples) of a smaller batch")
        return part
    }
}
