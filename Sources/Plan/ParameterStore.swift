public import Graph
public import Kernels
public import Tensor

/// Where a graph's parameters and their optimiser state live: layouts, and slots at the front of the arena.
///
/// The layouts are those that the training plan's forward primitives asked for, so that neither a step nor an
/// evaluation reorders them. Every plan of a job shares one store.
public struct ParameterStore {
    /// One parameter's place.
    public struct Entry {
        /// The layout in the arena, with padding.
        public let layout: TensorLayout
        /// Set where the parameter's second extent is an image that was flattened: PyTorch flattens
        /// `[channels, height, width]`, activations lie as `[height, width, channels]`.
        public let flattened: ImageExtents?
        public let value: Slot
        /// The optimiser's velocity, laid out like the value.
        public let velocity: Slot?
    }

    public let graph: Graph
    public private(set) var entries: [Entry] = []
    /// `StepState`.
    public let state: Slot
    /// `LossResult`.
    public let result: Slot
    /// Bytes at the front of the arena.
    public private(set) var byteCount: Int

    /// Places every parameter: `layouts` has one for each of the graph's; `hasVelocity` doubles the memory.
    init(
        graph: Graph, layouts: [(TensorLayout, ImageExtents?)], hasVelocity: Bool
    ) throws(PlanError) {
        self.graph = graph
        state = Slot(offset: 0, byteCount: Arena.alignment)
        result = Slot(offset: Arena.alignment, byteCount: Arena.alignment)
        var end = 2 * Arena.alignment
        for (parameter, (layout, flattened)) in zip(graph.parameters, layouts) {
            let value = Slot(offset: end, byteCount: layout.byteCount)
            end = try Self.advance(end, by: layout.byteCount)
            var velocity: Slot?
            if hasVelocity, parameter.role.isLearned {
                velocity = Slot(offset: end, byteCount: layout.byteCount)
                end = try Self.advance(end, by: layout.byteCount)
            }
            entries.append(Entry(layout: layout, flattened: flattened, value: value, velocity: velocity))
        }
        byteCount = end
    }

    private static func advance(_ offset: Int, by byteCount: Int) throws(PlanError) -> Int {
        let (sum, overflow) = offset.addingReportingOverflow(try MemoryPlanner.aligned(byteCount))
        guard !overflow else { throw .tooLarge }
        return sum
    }

    public subscript(id: Graph.ParameterID) -> Entry { entries[id.index] }

    /// Reads a parameter, or its velocity, in PyTorch's order.
    public func read(
        _ id: Graph.ParameterID, velocity: Bool = false, from arena: Arena, on engine: DNNEngine
    ) throws(PlanError) -> [Float] {
        let entry = entries[id.index]
        guard let slot = velocity ? entry.velocity : entry.value else { return [] }
        return try canonical(arena.read(slot, as: Float.self), of: id, in: entry.layout, on: engine)
    }

    /// Brings padded elements of a layout into PyTorch's order.
    func canonical(
        _ values: [Float], of id: Graph.ParameterID, in layout: TensorLayout, on engine: DNNEngine
    ) throws(PlanError) -> [Float] {
        let extents = entries[id.index].logicalExtents(graph[id])
        return try kernels { () throws(KernelError) in
            let plain = try Reorder.convert(values, from: layout, to: .rowMajor(extents), on: engine)
            guard let image = entries[id.index].flattened else { return plain }
            return try Reorder.convert(
                plain, from: image.channelsLast(extents[0]), to: image.channelsFirst(extents[0]), on: engine)
        }
    }

    /// Writes a parameter, or its velocity, given in PyTorch's order.
    public func write(
        _ values: [Float], to id: Graph.ParameterID, velocity: Bool = false, in arena: Arena,
        on engine: DNNEngine
    ) throws(PlanError) {
        let entry = entries[id.index]
        let extents = entry.logicalExtents(graph[id])
        precondition(
            values.count == graph[id].shape.elementCount,
            "\(values.count) elements for \(graph[id].name) of \(graph[id].shape)")
        guard let slot = velocity ? entry.velocity : entry.value else { return }
        let stored = try kernels { () throws(KernelError) in
            var plain = values
            if let image = entry.flattened {
                plain = try Reorder.convert(
                    plain, from: image.channelsFirst(extents[0]), to: image.channelsLast(extents[0]),
                    on: engine)
            }
            return try Reorder.convert(plain, from: .rowMajor(extents), to: entry.layout, on: engine)
        }
        arena.write(stored, to: slot)
    }
}

extension ParameterStore.Entry {
    /// oneDNN's logical extents: PyTorch's, with the groups of a convolution split off in front.
    func logicalExtents(_ parameter: Graph.Parameter) -> [Int] {
        let extents = parameter.shape.dimensions
        let rank = layout.rank
        guard rank == extents.count + 1 else { return extents }
        let groups = layout.extent(0)
        return [groups, extents[0] / groups] + extents.dropFirst()
    }
}

/// An image's extents, for what was flattened from one.
public struct ImageExtents: Hashable, Sendable {
    public let channels: Int
    public let height: Int
    public let width: Int

    /// nil where flattening changes no order: one channel, or one pixel.
    init?(_ shape: Shape) {
        guard shape.rank == 3, shape[0] > 1, shape[1] * shape[2] > 1 else { return nil }
        (channels, height, width) = (shape[0], shape[1], shape[2])
    }

    func channelsLast(_ batch: Int) throws(KernelError) -> TensorLayout {
        try .channelsLast(batch: batch, channels: channels, height: height, width: width)
    }

    func channelsFirst(_ batch: Int) throws(KernelError) -> TensorLayout {
        try .rowMajor([batch, channels, height, width])
    }
}
