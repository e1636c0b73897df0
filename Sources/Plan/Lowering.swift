internal import Graph
internal import Kernels
internal import Tensor

/// Turns a graph into the steps of a plan, for one batch size and one mode.
///
/// Forward, loss, then the backward pass with each parameter's update right behind its gradient, which is
/// still in the cache and whose memory is free again at once.
struct Lowering {
    let graph: Graph
    let batch: Int
    let mode: PlanMode
    let store: ParameterStore
    let engine: DNNEngine
    let shapes: NodeShapes

    var buffers: [Buffer] = []
    var steps: [PlanStep] = []
    /// Where each value of the graph lies; flattened values share their source's buffer.
    var activations: [Graph.ValueID: BufferID] = [:]
    /// Pooling winners and batch statistics that the backward pass reads.
    var saved: [Graph.NodeID: [BufferID]] = [:]
    var gradients: [Gradients.GradientID: BufferID] = [:]
    var parameterGradients: [Graph.ParameterID: (BufferID, TensorLayout)] = [:]
    /// Nodes whose ReLU runs inside them, by the ReLU's node.
    var fusedReLUs: Set<Graph.NodeID> = []
    let state: BufferID
    let result: BufferID

    init(
        _ graph: Graph, batch: Int, mode: PlanMode, store: ParameterStore, engine: DNNEngine
    ) {
        self.graph = graph
        self.batch = batch
        self.mode = mode
        self.store = store
        self.engine = engine
        shapes = NodeShapes(graph: graph, batch: batch)
        buffers = [
            Buffer(label: "step state", byteCount: store.state.byteCount, home: .persistent(store.state)),
            Buffer(label: "loss result", byteCount: store.result.byteCount, home: .persistent(store.result)),
        ]
        (state, result) = (BufferID(index: 0), BufferID(index: 1))
    }

    /// Lowers everything.
    mutating func run() throws(PlanError) {
        let sample = graph.inputShape.elementCount
        activations[graph.input] = addBuffer("input", floats: batch * sample, home: .external(.input))
        for node in graph.nodeIDs { try forward(node) }
        let seed = try loss()
        guard mode.isTraining else { return }
        let backward = Gradients(of: graph)
        gradients[backward.seed] = seed
        for step in backward.steps { try lower(step, of: backward) }
    }

    mutating func addBuffer(
        _ label: String, floats count: Int, home: Buffer.Home = .transient
    ) -> BufferID {
        buffers.append(Buffer(label: label, byteCount: count * MemoryLayout<Float>.stride, home: home))
        return BufferID(index: buffers.count - 1)
    }

    mutating func parameterBuffer(_ id: Graph.ParameterID, velocity: Bool = false) -> BufferID {
        let entry = store[id]
        let slot = velocity ? entry.velocity ?? entry.value : entry.value
        if let known = buffers.firstIndex(where: { $0.home == .persistent(slot) }) {
            return BufferID(index: known)
        }
        let label = velocity ? "\(graph[id].name) velocity" : graph[id].name
        buffers.append(Buffer(label: label, byteCount: slot.byteCount, home: .persistent(slot)))
        return BufferID(index: buffers.count - 1)
    }

    /// Appends a step; a scratchpad operand gets a buffer of its own.
    mutating func emit(
        _ label: String, _ kernel: any PreparedKernel, _ operands: [BufferID], node: Graph.NodeID? = nil,
        macs: Int = 0
    ) {
        var operands = operands
        if let primitive = kernel as? Primitive, let scratchpad = primitive.scratchpad {
            precondition(scratchpad == operands.count, "\(label) binds \(operands.count) operands")
            operands.append(addBuffer("\(label) scratchpad", floats: 0))
        }
        precondition(operands.count == kernel.operands.count, "\(label) binds \(operands.count) operands")
        for (id, operand) in zip(operands, kernel.operands) {
            buffers[id.index].byteCount = max(buffers[id.index].byteCount, operand.byteCount)
            let first = buffers[id.index].lifetime?.lowerBound ?? steps.count
            buffers[id.index].lifetime = first...steps.count
        }
        steps.append(PlanStep(label: label, kernel: kernel, operands: operands, node: node, macs: macs))
    }

    /// The value's buffer; every value is computed before it is asked for.
    func activation(_ value: Graph.ValueID) -> BufferID {
        guard let buffer = activations[value] else {
            preconditionFailure("value \(value.index) is used before it is computed")
        }
        return buffer
    }

    /// The weights in the layout that a primitive takes: the parameter itself, or a reordered copy.
    mutating func weights(
        _ id: Graph.ParameterID, as layout: TensorLayout, for label: String
    ) throws(PlanError) -> BufferID {
        let parameter = parameterBuffer(id)
        if store[id].layout == layout { return parameter }
        let reorder = try kernels { () throws(KernelError) in
            try Reorder.prepare(from: store[id].layout, to: layout, on: engine)
        }
        let copy = addBuffer("\(graph[id].name) for \(label)", floats: layout.paddedCount)
        emit("\(label) weights", reorder, [parameter, copy])
        return copy
    }

    /// Makes a primitive over the parameter's own layout, or over any where that one has only plain loops.
    func preferringStored(
        _ id: Graph.ParameterID, _ make: (TensorLayout?) throws(KernelError) -> Primitive
    ) throws(PlanError) -> Primitive {
        try kernels { () throws(KernelError) in
            if let stored = try? make(store[id].layout), !stored.isReference { return stored }
            return try make(nil)
        }
    }
}
