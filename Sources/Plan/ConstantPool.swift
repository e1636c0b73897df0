internal import Graph
internal import Kernels
internal import Tensor

/// Tables that all plans of a program read: the packed weights of its layers in bytes.
///
/// Belongs to the program's thread.
final class ConstantPool {
    private var packed: [Graph.NodeID: [(layout: TensorLayout, arena: Arena, byteCount: Int)]] = [:]

    /// Bytes of all tables.
    var byteCount: Int { packed.values.joined().reduce(0) { $0 + $1.byteCount } }

    /// The weights of a node in a layout, packed once.
    func weights(
        of id: Graph.NodeID, as layout: TensorLayout,
        _ make: () throws(KernelError) -> (arena: Arena, byteCount: Int)
    ) throws(PlanError) -> (arena: Arena, byteCount: Int) {
        if let known = packed[id]?.first(where: { $0.layout == layout }) {
            return (known.arena, known.byteCount)
        }
        let made = try kernels(make)
        packed[id, default: []].append((layout, made.arena, made.byteCount))
        return made
    }
}
