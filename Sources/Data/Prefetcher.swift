public import Tensor

/// Fills batches on a thread of its own, ahead of the thread that trains.
///
/// A ring of slots in one arena, two unless asked otherwise. No lock is held while a slot is filled or
/// read. The order is the batcher's, so what the consumer sees does not depend on timing. One consumer;
/// dropping the prefetcher stops its thread.
public final class Prefetcher: Sendable {
    private let ring: PrefetchRing

    /// Starts filling at once.
    ///
    /// - Parameters:
    ///   - batcher: Which samples, in which order.
    ///   - filler: Where they come from.
    ///   - start: The first batch; a position behind an epoch's last batch means the next epoch.
    ///   - epochs: Where to stop: the first epoch that is not read.
    ///   - slotCount: Batches that may be ready or in use at once, at least 2.
    /// - Throws: `DataError.outOfResources` when there is no memory or no thread.
    public init(
        _ batcher: Batcher, filler: BatchFiller, from start: BatchPosition = BatchPosition(),
        epochs: Int, slotCount: Int = 2
    ) throws(DataError) {
        precondition(slotCount >= 2, "a prefetcher of \(slotCount) slots")
        let ring = try PrefetchRing(
            slotCount: slotCount, batchSize: batcher.batchSize, elementCount: filler.elementCount)
        self.ring = ring
        try BackgroundThread.start {
            ring.produce(batcher, filler, from: start, epochs: epochs)
        }
    }

    deinit { ring.cancel() }

    /// The next batch, waiting only when it is not ready yet; `nil` at the end or after `cancel()`.
    ///
    /// - Precondition: Of `slotCount` batches at least one has been released.
    public func next() -> Batch? { ring.take() }

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
    private let slot: Int
    private let ring: PrefetchRing

    fileprivate init(position: BatchPosition, count: Int, slot: Int, ring: PrefetchRing) {
        self.position = position
        self.count = count
        self.slot = slot
        self.ring = ring
    }

    deinit { ring.release(slot) }

    /// Places in the buffers: the batch size.
    public var capacity: Int { ring.batchSize }

    /// Lends `[capacity, height, width, channels]` floats; zeros behind `count`.
    public func withImages<R, E: Error>(_ body: (Span<Float>) throws(E) -> R) throws(E) -> R {
        try ring.arena.withSlot(ring.images(slot), as: Float.self) { (span) throws(E) in try body(span.span) }
    }

    /// Lends `[capacity]` class indices; −1 behind `count`.
    public func withLabels<R, E: Error>(_ body: (Span<Int32>) throws(E) -> R) throws(E) -> R {
        try ring.arena.withSlot(ring.labels(slot), as: Int32.self) { (span) throws(E) in try body(span.span) }
    }

    /// The arena that holds the batch; its memory belongs to this batch as long as this value lives.
    public var arena: Arena { ring.arena }

    /// Where in `arena` the images lie, aligned to 64 bytes.
    public var imagesSlot: Slot { ring.images(slot) }

    /// Where in `arena` the labels lie, aligned to 64 bytes.
    public var labelsSlot: Slot { ring.labels(slot) }
}

/// The slots and who has which.
// Sendable because a slot's bytes belong to one thread at a time: to the producer while `free`, to the
// consumer while `lent`; `state` hands them over.
private final class PrefetchRing: @unchecked Sendable {
    private enum Slots: Equatable {
        case free
        case ready(BatchPosition, count: Int)
        case lent
    }

    private struct State {
        var slots: [Slots]
        var nextToTake = 0
        var isOver = false
        var isCancelled = false
        var waitNanoseconds: Int64 = 0
    }

    let arena: Arena
    let batchSize: Int
    private let imageByteCount: Int
    private let labelsOffset: Int
    private let slotStride: Int
    private let state: Monitor<State>

    init(slotCount: Int, batchSize: Int, elementCount: Int) throws(DataError) {
        func aligned(_ count: Int) -> Int {
            (count + Arena.alignment - 1) / Arena.alignment * Arena.alignment
        }
        self.batchSize = batchSize
        imageByteCount = batchSize * elementCount * MemoryLayout<Float>.stride
        labelsOffset = aligned(imageByteCount)
        slotStride = labelsOffset + aligned(batchSize * MemoryLayout<Int32>.stride)
        do { arena = try Arena(byteCount: slotCount * slotStride) } catch {
            throw .outOfResources("\(slotCount * slotStride) bytes for input batches")
        }
        state = Monitor(State(slots: Array(repeating: .free, count: slotCount)))
    }

    func images(_ slot: Int) -> Slot { Slot(offset: slot * slotStride, byteCount: imageByteCount) }

    func labels(_ slot: Int) -> Slot {
        Slot(offset: slot * slotStride + labelsOffset, byteCount: batchSize * MemoryLayout<Int32>.stride)
    }

    var waitNanoseconds: Int64 { state.read { $0.waitNanoseconds } }

    func cancel() { state.update { $0.isCancelled = true } }

    func release(_ slot: Int) { state.update { $0.slots[slot] = .free } }

    func take() -> Batch? {
        let (taken, nanoseconds) = state.wait { state -> (BatchPosition, Int, Int)?? in
            if state.isCancelled { return .some(nil) }
            let slot = state.nextToTake
            switch state.slots[slot] {
            case .ready(let position, let count):
                state.slots[slot] = .lent
                state.nextToTake = (slot + 1) % state.slots.count
                return (position, count, slot)
            case .free: return state.isOver ? .some(nil) : nil
            case .lent: preconditionFailure("all slots are lent: release a batch before taking the next")
            }
        }
        if nanoseconds > 0 { state.update { $0.waitNanoseconds += nanoseconds } }
        guard let (position, count, slot) = taken else { return nil }
        return Batch(position: position, count: count, slot: slot, ring: self)
    }

    /// Fills slot after slot until the last epoch is over or the ring is cancelled.
    func produce(_ batcher: Batcher, _ filler: BatchFiller, from start: BatchPosition, epochs: Int) {
        let slotCount = state.read { $0.slots.count }
        var slot = 0
        for epoch in start.epoch..<max(epochs, start.epoch) {
            let samples = batcher.samples(ofEpoch: epoch)
            let first = epoch == start.epoch ? min(start.batch, batcher.batchCount) : 0
            for batch in first..<batcher.batchCount {
                let isCancelled = state.wait { state -> Bool? in
                    if state.isCancelled { return true }
                    return state.slots[slot] == .free ? false : nil
                }.value
                if isCancelled { return }
                let members = samples[batcher.range(ofBatch: batch)]
                arena.withSlot(images(slot), as: Float.self) { images in
                    arena.withSlot(labels(slot), as: Int32.self) { labels in
                        filler.fill(members, epoch: epoch, images: &images, labels: &labels)
                    }
                }
                let position = BatchPosition(epoch: epoch, batch: batch)
                state.update { $0.slots[slot] = .ready(position, count: members.count) }
                slot = (slot + 1) % slotCount
            }
        }
        state.update { $0.isOver = true }
    }
}
