public import Tensor

/// How a kernel uses an operand.
public enum Access: Sendable { case read, write, readWrite }

/// One operand of a prepared kernel: what has to be bound before it runs.
public struct Operand: Sendable {
    /// Bytes that the kernel reads or writes from the bound address on.
    public let byteCount: Int
    public let access: Access

    init(_ byteCount: Int, _ access: Access) {
        self.byteCount = byteCount
        self.access = access
    }

    /// Activations, as they are stored.
    static func elements(_ count: Int, _ type: ElementType, _ access: Access) -> Operand {
        Operand(count * type.byteCount, access)
    }

    static func floats(_ count: Int, _ access: Access) -> Operand {
        Operand(count * MemoryLayout<Float>.stride, access)
    }
}

/// One call of a step: everything decided except where its operands lie.
///
/// Made once by the planner, bound once to an arena, then run once a step. Bound to the thread that made it.
public protocol PreparedKernel: AnyObject {
    /// What computes it, for people: `brgconv:avx512_core`, `ck_update:sgd`.
    var implementation: String { get }
    var operands: [Operand] { get }
    /// Points an operand at a slot; a later binding replaces an earlier one.
    func bind(_ operand: Int, to slot: Slot, in arena: Arena) throws(KernelError)
    /// Points an operand at memory outside the arena, such as a prefetched batch, valid while the kernel
    /// runs.
    func bind(_ operand: Int, to address: UnsafeMutableRawPointer) throws(KernelError)
    /// Computes; all operands must be bound.
    func run() throws(KernelError)
}

extension PreparedKernel {
    public func bind(_ operand: Int, to slot: Slot, in arena: Arena) throws(KernelError) {
        precondition(
            operands[operand].byteCount <= slot.byteCount,
            "operand \(operand) of \(implementation) needs \(operands[operand].byteCount) bytes, has \(slot)")
        try unsafe bind(operand, to: arena.address(of: slot))
    }
}
