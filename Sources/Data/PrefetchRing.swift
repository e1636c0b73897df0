import Synchronization
import Tensor
import Threads

/// The slots of a prefetcher and who has which.
// Sendable because a slot's bytes belong to one thread at a time: to the producer while its bit in `filled`
// is clear, to the consumer while it is set; setting and clearing it hands them over.
final class PrefetchRing: @unchecked Sendable {
    /// What a slot says of its batch.
    struct Label {
        let position: BatchPosition
        let count: Int
        let targetCount: Int
    }

    let arena: Arena
    let capacity: Int
    let layout: BatchLayout
    private let slotCount: Int
    private let inputByteCount: Int
    private let targetByteCount: Int
    private let slotStride: Int
    /// Bit i: slot i holds a batch, ready or lent.
    private let filled = Atomic<UInt64>(0)
    /// Bit i: slot i is with the consumer.
    private let lent = Atomic<UInt64>(0)
    private let nextToTake = Atomic<Int>(0)
    private let isOver = Atomic<Bool>(false)
    private let isCancelled = Atomic<Bool>(false)
    private let waited = Atomic<Int64>(0)
    private let sleepers = Atomic<Int>(0)
    // Of something: ThreadSanitizer takes an access to an empty state for one to the object's first word.
    private let bell = Monitor(0)

    init(slotCount: Int, capacity: Int, layout: BatchLayout) throws(DataError) {
        precondition((2...64).contains(slotCount), "a prefetcher of \(slotCount) slots")
        guard let counts = layout.byteCounts(capacity: capacity) else {
            throw .outOfResources("\(slotCount) batches of \(capacity) samples")
        }
        (self.slotCount, self.capacity, self.layout) = (slotCount, capacity, layout)
        (inputByteCount, targetByteCount) = counts
        slotStride = Self.labelByteCount + Self.aligned(counts.input) + Self.aligned(counts.target)
        do { arena = try Arena(byteCount: slotCount * slotStride) } catch {
            throw .outOfResources("\(slotCount * slotStride) bytes for input batches")
        }
    }

    private static let labelByteCount = Arena.alignment

    private static func aligned(_ count: Int) -> Int {
        (count + Arena.alignment - 1) / Arena.alignment * Arena.alignment
    }

    /// Where a slot's batch lies.
    func buffers(_ slot: Int) -> BatchBuffers {
        let start = slot * slotStride + Self.labelByteCount
        return BatchBuffers(
            arena: arena, input: Slot(offset: start, byteCount: inputByteCount),
            target: Slot(offset: start + Self.aligned(inputByteCount), byteCount: targetByteCount))
    }

    private func labelSlot(_ slot: Int) -> Slot {
        Slot(offset: slot * slotStride, byteCount: 4 * MemoryLayout<Int>.stride)
    }

    /// What the producer wrote beside a batch.
    func label(of slot: Int) -> Label {
        arena.withSlot(labelSlot(slot), as: Int.self) { words in
            Label(
                position: BatchPosition(epoch: words[0], batch: words[1]), count: words[2],
                targetCount: words[3])
        }
    }

    private func write(_ label: Label, to slot: Int) {
        arena.withSlot(labelSlot(slot), as: Int.self) { words in
            (words[0], words[1]) = (label.position.epoch, label.position.batch)
            (words[2], words[3]) = (label.count, label.targetCount)
        }
    }

    var waitNanoseconds: Int64 { waited.load(ordering: .relaxed) }

    func cancel() {
        isCancelled.store(true, ordering: .sequentiallyConsistent)
        wake()
    }

    func release(_ slot: Int) {
        let others = ~(UInt64(1) << UInt64(slot))
        lent.bitwiseAnd(others, ordering: .relaxed)
        filled.bitwiseAnd(others, ordering: .sequentiallyConsistent)
        wake()
    }

    private func isFilled(_ slot: Int) -> Bool {
        filled.load(ordering: .sequentiallyConsistent) & (1 << UInt64(slot)) != 0
    }

    private var cancelled: Bool { isCancelled.load(ordering: .sequentiallyConsistent) }

    /// The next slot with a batch, waiting for it; `nil` at the end or after a cancel.
    func take() -> Int? {
        let slot = nextToTake.load(ordering: .relaxed)
        let isLent = lent.load(ordering: .relaxed) & (1 << UInt64(slot)) != 0
        precondition(!isLent, "all slots are lent: release a batch before taking the next")
        if !isFilled(slot) {
            let nanoseconds = sleep {
                self.cancelled || self.isOver.load(ordering: .sequentiallyConsistent) || self.isFilled(slot)
            }
            waited.wrappingAdd(nanoseconds, ordering: .relaxed)
        }
        guard !cancelled, isFilled(slot) else { return nil }
        lent.bitwiseOr(1 << UInt64(slot), ordering: .relaxed)
        nextToTake.store((slot + 1) % slotCount, ordering: .relaxed)
        return slot
    }

    /// Fills slot after slot until the last epoch is over or the ring is cancelled.
    func produce(_ batcher: Batcher, _ filler: any BatchFiller, from start: BatchPosition, epochs: Int) {
        var slot = 0
        for number in start.epoch..<max(epochs, start.epoch) {
            if cancelled { return }
            let epoch = batcher.epoch(number)
            let first = number == start.epoch ? min(start.batch, batcher.batchCount) : 0
            for batch in first..<batcher.batchCount {
                if isFilled(slot) { _ = sleep { self.cancelled || !self.isFilled(slot) } }
                if cancelled { return }
                let position = BatchPosition(epoch: number, batch: batch)
                let samples = epoch[batch]
                let targetCount = filler.fill(samples, at: position, into: buffers(slot))
                write(Label(position: position, count: samples.count, targetCount: targetCount), to: slot)
                filled.bitwiseOr(1 << UInt64(slot), ordering: .sequentiallyConsistent)
                wake()
                slot = (slot + 1) % slotCount
            }
        }
        isOver.store(true, ordering: .sequentiallyConsistent)
        wake()
    }

    /// Waits until `isDone` and answers for how many nanoseconds.
    ///
    /// No wake-up is lost: the sleeper counts itself before it looks, the waker changes the state before it
    /// looks for sleepers, and all of that is sequentially consistent; the lock covers the rest.
    private func sleep(until isDone: () -> Bool) -> Int64 {
        sleepers.wrappingAdd(1, ordering: .sequentiallyConsistent)
        defer { sleepers.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
        return bell.wait { _ in isDone() ? true : nil }.nanoseconds
    }

    private func wake() {
        if sleepers.load(ordering: .sequentiallyConsistent) > 0 { bell.update { _ in } }
    }
}
