public import Graph
public import Kernels
public import Tensor

/// Reading and writing parameters in PyTorch's order.
extension ParameterStore {
    /// Reads a part of a parameter in PyTorch's order; nothing where it is not kept.
    public func read(
        _ id: Graph.ParameterID, _ part: Part = .value, from arena: Arena, on engine: DNNEngine
    ) throws(PlanError) -> [Float] {
        guard let slot = slot(id, part) else { return [] }
        return try canonical(arena.read(slot, as: Float.self), of: id, in: self[id].layout, on: engine)
    }

    /// Brings padded elements of a layout into PyTorch's order.
    func canonical(
        _ values: [Float], of id: Graph.ParameterID, in layout: TensorLayout, on engine: DNNEngine
    ) throws(PlanError) -> [Float] {
        try kernels { () throws(KernelError) in
            let plain = try Reorder.convert(values, from: layout, to: self[id].plain, on: engine)
            guard let image = self[id].flattened else { return plain }
            let rows = graph[id].shape[0]
            return try Reorder.convert(
                plain, from: image.channelsLast(rows), to: image.channelsFirst(rows), on: engine)
        }
    }

    /// Writes a part of a parameter, given in PyTorch's order; does nothing where it is not kept.
    public func write(
        _ values: [Float], to id: Graph.ParameterID, _ part: Part = .value, in arena: Arena,
        on engine: DNNEngine
    ) throws(PlanError) {
        precondition(
            values.count == graph[id].shape.elementCount,
            "\(values.count) elements for \(graph[id].name) of \(graph[id].shape)")
        guard let slot = slot(id, part) else { return }
        arena.write(try stored(values, of: id, as: self[id].layout, on: engine), to: slot)
        guard part == .value else { return }
        refreshCopy(of: id, in: arena)
        for other in self[id].others {
            arena.write(try stored(values, of: id, as: other.layout, on: engine), to: other.slot)
        }
    }

    /// Brings elements in PyTorch's order into a layout of the parameter's, with padding.
    private func stored(
        _ values: [Float], of id: Graph.ParameterID, as layout: TensorLayout, on engine: DNNEngine
    ) throws(PlanError) -> [Float] {
        try kernels { () throws(KernelError) in
            var plain = values
            if let image = self[id].flattened {
                let rows = graph[id].shape[0]
                plain = try Reorder.convert(
                    plain, from: image.channelsFirst(rows), to: image.channelsLast(rows), on: engine)
            }
            return try Reorder.convert(plain, from: self[id].plain, to: layout, on: engine)
        }
    }

    /// The mask of a parameter in PyTorch's order; nil where none is kept.
    func readMask(_ id: Graph.ParameterID, from arena: Arena, on engine: DNNEngine) throws(PlanError)
        -> [UInt8]?
    {
        guard let slot = maskSlot(id) else { return nil }
        let kept = arena.read(slot, as: UInt8.self).map { Float($0) }
        return try canonical(kept, of: id, in: self[id].layout, on: engine).map { $0 == 0 ? 0 : 1 }
    }

    /// Gives a parameter a mask, in PyTorch's order, and puts zeros where it is 0: in the value, in the
    /// optimiser's states and in the average.
    func writeMask(
        _ mask: [UInt8], of id: Graph.ParameterID, in arena: Arena, on engine: DNNEngine
    ) throws(PlanError) {
        precondition(
            mask.count == graph[id].shape.elementCount,
            "a mask of \(mask.count) for \(graph[id].name) of \(graph[id].shape)")
        guard let slot = maskSlot(id) else { preconditionFailure("no masks are kept of \(graph[id].name)") }
        let layout = try stored(mask.map { Float($0) }, of: id, as: self[id].layout, on: engine)
        arena.write(layout.map { UInt8($0) }, to: slot)
        try applyMask(of: id, in: arena)
    }

    /// Puts zeros where a parameter's mask is 0.
    func applyMask(of id: Graph.ParameterID, in arena: Arena) throws(PlanError) {
        guard let mask = maskSlot(id) else { return }
        for place in parts.compactMap({ slot(id, $0) }) {
            try kernels { () throws(KernelError) in
                let kernel = Masking.apply(count: self[id].layout.paddedCount)
                try kernel.bind(0, to: place, in: arena)
                try kernel.bind(1, to: mask, in: arena)
                try kernel.run()
            }
        }
        refreshCopy(of: id, in: arena)
    }

    /// Lets every parameter keep all of its numbers.
    func clearMasks(in arena: Arena) {
        guard let masks else { return }
        arena.write([UInt8](repeating: 1, count: masks.byteCount), to: masks)
    }

    /// Lets the bfloat16 copy of a parameter, if there is one, follow a change of its value.
    func refreshCopy(of id: Graph.ParameterID, in arena: Arena) {
        guard let copy = self[id].copy else { return }
        WeightCopy.copy(self[id].value, in: self[id].layout, to: copy.slot, of: arena)
    }
}

/// An image's extents, for what was flattened from one.
public struct ImageExtents: Hashable, Sendable {
    public let channels: Int
    public let height: Int
    public let width: Int

    /// nil where flattening changes no order: one channel, or one pixel.
    init?(_ shape: Shape) {
        guard (2...3).contains(shape.rank), shape[0] > 1, shape.elementCount > shape[0] else { return nil }
        channels = shape[0]
        (height, width) = shape.rank == 3 ? (shape[1], shape[2]) : (1, shape[1])
    }

    func channelsLast(_ batch: Int) throws(KernelError) -> TensorLayout {
        try .channelsLast(batch: batch, channels: channels, height: height, width: width)
    }

    func channelsFirst(_ batch: Int) throws(KernelError) -> TensorLayout {
        try .rowMajor([batch, channels, height, width])
    }
}
