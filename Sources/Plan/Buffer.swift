public import Tensor

/// An index into a plan's buffers.
public struct BufferID: Hashable, Sendable { let index: Int }

/// A block of memory that the steps of a plan read and write.
public struct Buffer {
    /// Where the bytes come from.
    public enum Home: Sendable, Equatable {
        /// Placed by the memory planner; lives from its first to its last use.
        case transient
        /// Outlives the step: a parameter, the optimiser's state.
        case persistent(Slot)
        /// Filled once, in an arena of its own: a table.
        case constant
        /// Bound before each run: the batch.
        case external(Role)
    }

    /// What is bound from outside.
    public enum Role: Sendable, Equatable {
        case input, target, teacher
        /// What a teacher's layer has made, for one of the graph's features.
        case feature(Int)
    }

    /// What it holds, for people: `conv1 output`.
    public let label: String
    /// Grows while lowering to the largest operand that uses it.
    public internal(set) var byteCount: Int
    public internal(set) var home: Home
    /// The first and last step that use it; nil when none does.
    public internal(set) var lifetime: ClosedRange<Int>?
    /// Whether it is read after the run, so that nothing may take its place.
    public internal(set) var isKept = false
    /// A constant's memory.
    var constant: Arena?
    /// Whether other plans read that memory too.
    var isShared = false
    /// Where it lies, once placed.
    public internal(set) var slot: Slot?
}

/// Bytes that lie in some arena.
public struct Place {
    public let slot: Slot
    public let arena: Arena

    /// Names them.
    public init(_ slot: Slot, in arena: Arena) { (self.slot, self.arena) = (slot, arena) }
}
