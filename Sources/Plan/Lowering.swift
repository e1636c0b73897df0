internal import Graph
internal import Kernels
internal import Tensor

/// Turns a graph into the steps of a plan, for one batch size and one mode.
///
/// Forward, loss, then the backward pass. Unless all gradients are needed first, each parameter's update
/// stands right behind its gradient, which is still in the cache and whose memory is free again at once.
struct Lowering {
    let graph: Graph
    let batch: Int
    let mode: PlanMode
    let options: LoweringOptions
    let store: ParameterStore
    let engine: DNNEngine
    let shapes: NodeShapes

    var buffers: [Buffer] = []
    var steps: [PlanStep] = []
    /// What is computed from the parameters alone, in front of the steps.
    var preparation: [PlanStep] = []
    /// The memory that it works in.
    var preparing: BufferID?
    /// Where each value of the graph lies; views share their source's buffer.
    var activations: [Graph.ValueID: BufferID] = [:]
    /// The values that lie in a buffer.
    var tenants: [BufferID: [Graph.ValueID]] = [:]
    /// What else the backward pass reads: pooling winners, statistics.
    var saved: [Graph.NodeID: [BufferID]] = [:]
    /// Nodes that run inside an earlier one.
    var absorbed: Set<Graph.NodeID> = []
    /// What runs inside each batch normalisation, and inside which one a node runs.
    var normFusions: [Graph.NodeID: NormFusion] = [:]
    var normOwners: [Graph.NodeID: Graph.NodeID] = [:]
    /// Activations whose derivative lies where their input did.
    var derivatives: Set<Graph.NodeID> = []
    /// Activations that run inside a normalisation of rows or groups.
    var normActivations: [Graph.NodeID: ActivationKind] = [:]
    /// Normalised values that are never stored: their reader makes them from what lies in their buffer.
    var deferredNorms: [Graph.ValueID: DeferredNorm] = [:]
    /// Depthwise convolutions that make the gradient of their output from that behind the normalisation, and
    /// the sums that they leave for the one whose output they read.
    var deferredGradients: [Graph.NodeID: DeferredGradient] = [:]
    var gradientSums: [Graph.ValueID: GradientSums] = [:]
    /// Outputs of batch normalisations that are made again in the backward pass.
    var repeatedNorms: [Graph.ValueID: Graph.NodeID] = [:]
    /// The node being lowered.
    var current = Graph.NodeID(index: 0)
    let segments: Segments
    /// Values that something else than the graph's nodes reads: they are neither skipped nor written over.
    let watched: Set<Graph.ValueID>
    /// The node that computes each value.
    let makers: [Graph.ValueID: Int]
    /// Segments that have been computed again.
    var repeated: Set<Int> = []
    /// What is being lowered.
    var pass = StepPass.forward
    /// Whom the calls belong to where that is not the node being lowered.
    var owner: String?
    /// What a repeated forward pass starts from: never written over.
    var checkpoints: Set<BufferID> = []
    /// The loss, where it learns from a teacher.
    var taught: TaughtLoss?
    /// Whether the forward pass is being repeated for the backward pass.
    var isRecomputing = false
    var gradients: GradientTable
    /// The sum so far of each parameter's gradients, and the nodes that have yet to add to it.
    var parameterSums: [Graph.ParameterID: (buffer: BufferID, layout: TensorLayout)] = [:]
    var waitingNodes: [Graph.ParameterID: Int] = [:]
    /// Gradients that the caller reads.
    var parameterGradients: [Graph.ParameterID: (BufferID, TensorLayout)] = [:]
    var parameterBuffers: [Slot: BufferID] = [:]
    /// Values that lie somewhere as codes, codes that were made of float32 values, and activations that run
    /// in front of the pooling before them.
    var byteValues: [Graph.ValueID: ByteValue] = [:]
    var codes: [CodesKey: BufferID] = [:]
    var pooledActivations: [Graph.NodeID: Graph.NodeID] = [:]
    /// What is rounded to the values of codes; nil for nothing.
    var rounded: RoundedValues?
    let constants: ConstantPool
    let state: BufferID
    let result: BufferID

    init(
        _ graph: Graph, batch: Int, mode: PlanMode, options: LoweringOptions, store: ParameterStore,
        constants: ConstantPool, engine: DNNEngine
    ) {
        self.constants = constants
        self.graph = graph
        self.batch = batch
        self.mode = mode
        self.options = options
        self.store = store
        self.engine = engine
        shapes = NodeShapes(graph: graph, batch: batch, element: options.precision)
        segments = Segments(graph, count: mode.isTraining ? options.segments : 1)
        watched = (mode.isTraining ? Set(graph.features.map(\.value)) : options.kept)
            .union(options.rounded?.owners(in: graph) ?? [])
        rounded = options.rounded.map { RoundedValues($0, of: graph) }
        makers = Dictionary(uniqueKeysWithValues: graph.nodes.enumerated().map { ($1.output, $0) })
        gradients = GradientTable()
        buffers = [
            Buffer(label: "step state", byteCount: store.state.byteCount, home: .persistent(store.state)),
            Buffer(label: "loss result", byteCount: store.result.byteCount, home: .persistent(store.result)),
        ]
        (state, result) = (BufferID(index: 0), BufferID(index: 1))
    }

    /// Lowers everything.
    mutating func run() throws(PlanError) {
        if case .update(let optimizer) = mode { return try update(by: optimizer, keepsGradients: true) }
        owner = "input"
        try lowerInput()
        owner = nil
        for range in segments.ranges {
            for index in range { try forward(Graph.NodeID(index: index)) }
            checkpoints.formUnion(checkpointBuffers(behind: range.upperBound))
        }
        owner = "loss"
        let seed = try loss()
        owner = nil
        guard mode.isTraining else { return }
        pass = .backward
        try backward(from: seed)
        guard case .training(_, let optimizer) = mode else { return }
        try update(by: optimizer, keepsGradients: optimizer.keepsGradients)
    }

    /// What is updated once a step, behind everything else.
    private mutating func update(by optimizer: OptimizerOptions, keepsGradients: Bool) throws(PlanError) {
        (pass, owner) = (.update, "optimizer")
        if keepsGradients { try updateAll(optimizer) }
        averageStatistics(optimizer)
    }

    /// The element type of a value as it is stored.
    func element(_ value: Graph.ValueID) -> ElementType {
        graph[value].element == .token ? .int32 : options.precision
    }

    /// Elements of a value over the batch.
    func count(_ value: Graph.ValueID) -> Int { batch * graph[value].shape.elementCount }

    mutating func addBuffer(
        _ label: String, bytes: Int = 0, home: Buffer.Home = .transient
    ) -> BufferID {
        buffers.append(Buffer(label: label, byteCount: bytes, home: home))
        return BufferID(index: buffers.count - 1)
    }

    mutating func addBuffer(_ label: String, floats count: Int) -> BufferID {
        addBuffer(label, bytes: count * MemoryLayout<Float>.stride)
    }

    /// A buffer of a value's size and element type.
    mutating func addBuffer(_ label: String, like value: Graph.ValueID) -> BufferID {
        addBuffer(label, bytes: count(value) * element(value).byteCount)
    }

    /// A buffer for the node's output, which becomes the value's place.
    mutating func addOutput(of node: Graph.Node) -> BufferID {
        let buffer = addBuffer("\(node.name) output", like: node.output)
        place(node.output, in: buffer)
        return buffer
    }

    mutating func place(_ value: Graph.ValueID, in buffer: BufferID) {
        activations[value] = buffer
        tenants[buffer, default: []].append(value)
    }

    /// The value's buffer; every value is computed before it is asked for.
    func activation(_ value: Graph.ValueID) -> BufferID {
        guard let buffer = activations[value] else {
            preconditionFailure("value \(value.index) is used before it is computed")
        }
        return buffer
    }

    /// The buffer of something that outlives the step.
    mutating func persistent(_ slot: Slot, _ label: String) -> BufferID {
        if let known = parameterBuffers[slot] { return known }
        let buffer = addBuffer(label, bytes: slot.byteCount, home: .persistent(slot))
        parameterBuffers[slot] = buffer
        return buffer
    }

    /// A table that the plan's calls read.
    mutating func constant<Element: BitwiseCopyable>(
        _ values: [Element], _ label: String
    ) throws(PlanError) -> BufferID {
        let slot = Slot(offset: 0, byteCount: values.count * MemoryLayout<Element>.stride)
        let buffer = addBuffer(label, bytes: slot.byteCount, home: .constant)
        do {
            let arena = try Arena(byteCount: slot.byteCount)
            arena.write(values, to: slot)
            buffers[buffer.index].constant = arena
        } catch { throw .noMemory(byteCount: slot.byteCount) }
        buffers[buffer.index].slot = slot
        return buffer
    }

    mutating func parameterBuffer(_ id: Graph.ParameterID) -> BufferID {
        persistent(store[id].value, graph[id].name)
    }

    /// Appends a step; a scratchpad operand gets a buffer of its own.
    mutating func emit(
        _ label: String, _ kernel: any PreparedKernel, _ operands: [BufferID], macs: Int = 0,
        pass: StepPass? = nil
    ) {
        steps.append(makeStep(label, kernel, operands, macs: macs, pass: pass, at: steps.count))
    }

    /// A step whose operands live when the step of a number runs.
    mutating func makeStep(
        _ label: String, _ kernel: any PreparedKernel, _ operands: [BufferID], macs: Int = 0,
        pass: StepPass? = nil, at index: Int
    ) -> PlanStep {
        var operands = operands
        if operands.count + 1 == kernel.operands.count {
            operands.append(addBuffer("\(label) scratchpad"))
        }
        precondition(
            operands.count == kernel.operands.count,
            "\(label) binds \(operands.count) of \(kernel.operands.count) operands")
        for (id, operand) in zip(operands, kernel.operands) {
            buffers[id.index].byteCount = max(buffers[id.index].byteCount, operand.byteCount)
            let known = buffers[id.index].lifetime ?? index...index
            buffers[id.index].lifetime = known.lowerBound...max(known.upperBound, index)
        }
        return PlanStep(
            label: label, layer: owner ?? graph[current].name, pass: pass ?? self.pass, kernel: kernel,
            operands: operands, macs: macs)
    }
}
