public import Graph
internal import Kernels
internal import Tensor

/// The ranges of activations that are rounded to codes.
extension Program {
    /// The values that have ranges, in the graph's order.
    public var rangeOwners: [Graph.ValueID] { store.ranges.keys.sorted { $0.index < $1.index } }

    /// What is kept of a value's range: its bounds, its scale, which is 0 before anything came by, and the
    /// code of zero; nothing where it has none.
    public func range(of value: Graph.ValueID) -> [Float] {
        guard let arena else { preconditionFailure("the program has no arena yet") }
        return store.ranges[value].map { arena.read($0, as: Float.self) } ?? []
    }

    /// Puts back what `range(of:)` gave.
    public func setRange(_ numbers: [Float], of value: Graph.ValueID) {
        guard let arena else { preconditionFailure("the program has no arena yet") }
        guard let slot = store.ranges[value] else { return }
        precondition(
            numbers.count * MemoryLayout<Float>.stride == slot.byteCount,
            "\(numbers.count) numbers of a range")
        arena.write(numbers, to: slot)
    }
}
