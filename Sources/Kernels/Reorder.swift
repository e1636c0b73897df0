internal import COneDNN
internal import Tensor

/// Copies between two layouts and element types of one tensor; padding of the target becomes zero.
///
/// Operands: `source, destination`, then the scratchpad, if any.
public enum Reorder {
    public static func prepare(
        from source: TensorLayout, to destination: TensorLayout, on engine: DNNEngine
    ) throws(KernelError) -> Primitive {
        try Primitive(
            { turn throws(KernelError) in try descriptor(from: source, to: destination, on: engine, turn) },
            [(DNNL_ARG_FROM, .read), (DNNL_ARG_TO, .write)], on: engine)
    }

    private static func descriptor(
        from source: TensorLayout, to destination: TensorLayout, on engine: DNNEngine,
        _ turn: borrowing PrimitiveCache.Turn
    ) throws(KernelError) -> PrimitiveDescriptor {
        var (from, to) = (source.descriptor, destination.descriptor)
        return try unsafe PrimitiveAttributes().withHandle { attributes throws(KernelError) in
            var handle: dnnl_primitive_desc_t?
            try unsafe KernelError.check(
                dnnl_reorder_primitive_desc_create(
                    &handle, &from, engine.engine, &to, engine.engine, attributes), "find a reorder")
            guard let handle = unsafe handle else {
                throw KernelError(action: "find a reorder", reason: "none")
            }
            return unsafe PrimitiveDescriptor(handle)
        }
    }

    /// Converts a tensor at once, for the edges (checkpoints, export, initialisation).
    ///
    /// Takes and gives padded elements, in the layouts `source` and `destination`, both float32.
    public static func convert(
        _ values: [Float], from source: TensorLayout, to destination: TensorLayout, on engine: DNNEngine
    ) throws(KernelError) -> [Float] {
        precondition(values.count == source.paddedCount, "\(values.count) elements do not fill the layout")
        precondition(source.element == .float32 && destination.element == .float32, "not float32")
        if source == destination { return values }
        let reorder = try prepare(from: source, to: destination, on: engine)
        var slots: [Slot] = []
        var end = 0
        for operand in reorder.operands {
            slots.append(Slot(offset: end, byteCount: operand.byteCount))
            end += (operand.byteCount + Arena.alignment - 1) / Arena.alignment * Arena.alignment
        }
        let arena: Arena
        do { arena = try Arena(byteCount: end) } catch {
            throw KernelError(action: "convert a tensor", reason: error.description)
        }
        arena.write(values, to: slots[0])
        for (index, slot) in slots.enumerated() { try reorder.bind(index, to: slot, in: arena) }
        try reorder.run()
        return arena.read(slots[1], as: Float.self)
    }
}
