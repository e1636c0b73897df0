import Glibc

/// A range of an arena, in bytes; offsets are multiples of `Arena.alignment`.
public struct Slot: Hashable, Sendable {
    public let offset: Int
    public let byteCount: Int

    public init(offset: Int, byteCount: Int) {
        self.offset = offset
        self.byteCount = byteCount
    }

    /// The first byte behind the slot.
    public var end: Int { offset + byteCount }
}

/// The one block of memory that execution plans run in.
///
/// The planner fixes every slot before the first step, so running a plan never allocates. The block is mapped
/// zeroed and lazily: bytes that no step touches cost nothing. One thread uses an arena at a time.
@safe public final class Arena {
    /// One cache line, and the width of an AVX-512 register.
    public static let alignment = 64

    public let byteCount: Int
    private let memory: UnsafeMutableRawPointer

    /// - Throws: `TensorError.outOfMemory` when the system refuses the mapping.
    public init(byteCount: Int) throws(TensorError) {
        precondition(byteCount >= 0, "an arena of \(byteCount) bytes")
        self.byteCount = byteCount
        let mapped = unsafe mmap(
            nil, max(byteCount, 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0
        )
        guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
            throw .outOfMemory(byteCount: byteCount)
        }
        unsafe memory = mapped
        // Large pages spare the first touch and the TLB; a kernel without them ignores the advice.
        unsafe _ = madvise(mapped, max(byteCount, 1), MADV_HUGEPAGE)
    }

    deinit { unsafe _ = munmap(memory, max(byteCount, 1)) }

    /// The address of a slot's first byte, valid as long as the arena; for `Kernels` alone.
    public func address(of slot: Slot) -> UnsafeMutableRawPointer {
        precondition(
            slot.offset >= 0 && slot.byteCount >= 0 && slot.end <= byteCount, "\(slot) lies outside the arena"
        )
        return unsafe memory + slot.offset
    }

    /// Lends one slot's elements for the duration of `body`.
    ///
    /// `T` is `Float` or a fixed-width integer; the slot's bytes are taken as `T` whatever wrote them.
    public func withSlot<T: BitwiseCopyable, R, E: Error>(
        _ slot: Slot, as type: T.Type, _ body: (inout MutableSpan<T>) throws(E) -> R
    ) throws(E) -> R {
        let count = slot.byteCount / MemoryLayout<T>.stride
        let elements = unsafe UnsafeMutableBufferPointer(
            start: address(of: slot).assumingMemoryBound(to: T.self), count: count)
        var span = unsafe MutableSpan(_unsafeElements: elements)
        return try body(&span)
    }

    /// Copies a slot's elements out.
    public func read<T: BitwiseCopyable>(_ slot: Slot, as type: T.Type) -> [T] {
        withSlot(slot, as: type) { span in
            unsafe [T](unsafeUninitializedCapacity: span.count) { buffer, count in
                unsafe span.withUnsafeBufferPointer { source in
                    unsafe _ = buffer.initialize(from: source)
                }
                count = span.count
            }
        }
    }

    /// Copies the bytes of another arena's slot, or of one of its own that does not overlap, into a slot of
    /// the same size.
    public func copy(_ source: Slot, of other: Arena, to slot: Slot) {
        precondition(source.byteCount == slot.byteCount, "\(source) into \(slot)")
        unsafe address(of: slot).copyMemory(from: other.address(of: source), byteCount: slot.byteCount)
    }

    /// Copies elements in; their count must be the slot's.
    public func write<T: BitwiseCopyable>(_ values: [T], to slot: Slot) {
        withSlot(slot, as: T.self) { span in
            precondition(values.count == span.count, "\(values.count) elements for a slot of \(span.count)")
            unsafe values.withUnsafeBufferPointer { source in
                unsafe span.withUnsafeMutableBufferPointer { target in
                    unsafe _ = target.update(from: source)
                }
            }
        }
    }
}
