public import Graph
public import Kernels
public import Tensor

/// One prepared call and the buffers it is bound to.
struct PlanStep {
    let label: String
    /// Whom it belongs to: a node, or what belongs to none.
    let layer: String
    let pass: StepPass
    let kernel: any PreparedKernel
    let operands: [BufferID]
    /// Multiply-accumulates of the call.
    let macs: Int
}

/// The flat list of prepared calls that one run performs, over one arena.
///
/// Made for one batch size; belongs to the thread that made it.
public final class ExecutionPlan {
    public let batch: Int
    public let mode: PlanMode
    /// First byte behind the plan's slots.
    public let end: Int
    let steps: [PlanStep]
    /// What is computed from the parameters alone; it runs in front of the steps where it no longer holds.
    let preparation: [PlanStep]
    private let tenancy: ArenaTenancy
    let buffers: [Buffer]
    private let store: ParameterStore
    private let gradients: [Graph.ParameterID: (BufferID, TensorLayout)]
    private let logits: BufferID?
    /// The step of a loss that learns from a teacher, and the outputs that it reads.
    private let taught: Lowering.TaughtLoss?
    /// Where what can be read behind a run lies, besides the output.
    private let kept: [Graph.ValueID: BufferID]
    private let precision: ElementType
    /// Which operands of which steps read what is bound from outside.
    private let external: [(role: Buffer.Role, step: Int, operand: Int)]
    /// The input that was bound last.
    private var input: Place?
    private var arena: Arena?

    /// Lowers `graph` and places every buffer behind the store; allocates nothing.
    init(
        _ graph: Graph, batch: Int, mode: PlanMode, options: LoweringOptions, store: ParameterStore,
        sharing tenancy: ArenaTenancy, constants: ConstantPool = ConstantPool(), on engine: DNNEngine
    ) throws(PlanError) {
        self.tenancy = tenancy
        var lowering = Lowering(
            graph, batch: batch, mode: mode, options: options, store: store, constants: constants,
            engine: engine)
        try lowering.run()
        (self.batch, self.mode, self.store) = (batch, mode, store)
        precision = options.precision
        (steps, preparation) = (lowering.steps, lowering.preparation)
        (gradients, taught) = (lowering.parameterGradients, lowering.taught)
        logits = mode.hasOutput ? lowering.activation(graph.output) : nil
        var (buffers, kept): ([Buffer], [Graph.ValueID: BufferID]) = (lowering.buffers, [:])
        if !mode.isTraining, let logits { buffers[logits.index].isKept = true }
        for value in options.kept where !mode.isTraining && mode.hasOutput {
            let buffer = lowering.activation(value)
            buffers[buffer.index].isKept = true
            kept[value] = buffer
        }
        self.kept = kept
        let last = max(steps.count - 1, 0)
        var requests: [MemoryPlanner.Request] = []
        var requested: [Int] = []
        for (index, buffer) in buffers.enumerated() {
            guard case .transient = buffer.home, let lifetime = buffer.lifetime else { continue }
            let lived = buffer.isKept ? lifetime.lowerBound...last : lifetime
            requests.append(.init(byteCount: buffer.byteCount, lifetime: lived))
            requested.append(index)
        }
        let placement = try MemoryPlanner.place(requests, from: store.byteCount)
        for (index, slot) in zip(requested, placement.slots) { buffers[index].slot = slot }
        end = placement.end
        self.buffers = buffers
        var external: [(Buffer.Role, Int, Int)] = []
        for (index, step) in steps.enumerated() {
            for (operand, id) in step.operands.enumerated() {
                if case .external(let role) = buffers[id.index].home {
                    external.append((role, index, operand))
                }
            }
        }
        self.external = external
    }

    /// Points every operand that lies in the arena at its place.
    func bind(to arena: Arena) throws(PlanError) {
        self.arena = arena
        for step in preparation + steps {
            for (operand, id) in step.operands.enumerated() {
                let slot: Slot? =
                    switch buffers[id.index].home {
                    case .persistent(let slot): slot
                    case .transient, .constant: buffers[id.index].slot
                    case .external: nil
                    }
                guard let slot else { continue }
                let memory = buffers[id.index].constant ?? arena
                try kernels { () throws(KernelError) in try step.kernel.bind(operand, to: slot, in: memory) }
            }
        }
    }

    /// Points the plan at a batch, which must stay in place until the run is over.
    ///
    /// - Parameters:
    ///   - input: `[batch, height, width, channels]` or `[batch, features]` floats.
    ///   - target: `[batch]` Int32 labels, or `[batch, width]` floats.
    ///   - source: The memory that both slots lie in.
    /// - Throws: `PlanError` when a slot does not fit its operand.
    public func bindBatch(input: Slot, target: Slot, in source: Arena) throws(PlanError) {
        try bind(.input, to: Place(input, in: source))
        try bind(.target, to: Place(target, in: source))
    }

    /// Points the plan at one part of its batch, which must stay in place until the run is over.
    ///
    /// The teacher's outputs are `[batch, outputs]` in the loss's `teacherElement`.
    public func bind(_ role: Buffer.Role, to place: Place) throws(PlanError) {
        if role == .input { input = place }
        for use in external where use.role == role {
            try kernels { () throws(KernelError) in
                try steps[use.step].kernel.bind(use.operand, to: place.slot, in: place.arena)
            }
        }
    }

    /// Where the output lies after a run that evaluates, stored in the plan's precision: another run writes
    /// over it.
    ///
    /// It is nil where no step of the plan computes an output.
    public var outputPlace: Place? {
        guard let arena, !mode.isTraining, let logits, let slot = buffers[logits.index].slot else {
            return nil
        }
        let count = batch * store.graph.outputShape.elementCount
        return Place(Slot(offset: slot.offset, byteCount: count * precision.byteCount), in: arena)
    }

    /// Where a value that the options asked for lies after an inference, likewise; the input in float32.
    public func place(of value: Graph.ValueID) -> Place? {
        guard let arena, let buffer = kept[value] else { return nil }
        let count = batch * store.graph[value].shape.elementCount
        if case .external = buffers[buffer.index].home {
            return input.map { Place(Slot(offset: $0.slot.offset, byteCount: 4 * count), in: $0.arena) }
        }
        guard let slot = buffers[buffer.index].slot else { return nil }
        return Place(Slot(offset: slot.offset, byteCount: count * precision.byteCount), in: arena)
    }

    /// Runs every step once.
    ///
    /// - Returns: The loss over the batch.
    public func run(_ state: StepState) throws(PlanError) -> LossResult {
        let arena = try begin(state)
        do { for step in steps { try step.kernel.run() } } catch { throw .kernel(error) }
        return LossResult.load(from: store.result, in: arena)
    }

    /// Runs every step once, and `body` right in front of the loss: `taughtPlace` then has the outputs, and
    /// what they are compared with can still be bound.
    ///
    /// - Precondition: The loss is one that learns from a teacher.
    public func run(
        _ state: StepState, beforeLoss body: () throws(PlanError) -> Void
    ) throws(PlanError) -> LossResult {
        let arena = try begin(state)
        do { for step in steps[..<lossStep] { try step.kernel.run() } } catch { throw .kernel(error) }
        try body()
        do { for step in steps[lossStep...] { try step.kernel.run() } } catch { throw .kernel(error) }
        return LossResult.load(from: store.result, in: arena)
    }

    private var lossStep: Int {
        guard let taught else { preconditionFailure("the plan learns from nobody") }
        return taught.step
    }

    /// Takes the arena over, computes what the steps need from the parameters as they are, and tells the
    /// steps what is new.
    private func begin(_ state: StepState) throws(PlanError) -> Arena {
        guard let arena else { preconditionFailure("the plan is not bound") }
        if !tenancy.isHeld(by: self) {
            do { for step in preparation { try step.kernel.run() } } catch { throw .kernel(error) }
            tenancy.pass(to: self)
        }
        state.store(to: store.state, in: arena)
        return arena
    }

    /// Where the outputs lie in front of a loss that learns from a teacher, stored in the plan's precision:
    /// what follows writes over them.
    ///
    /// It is nil with any other loss, and where no step of the plan computes an output.
    public var taughtPlace: Place? {
        guard let arena, let taught, let slot = buffers[taught.outputs.index].slot else { return nil }
        let count = batch * store.graph.outputShape.elementCount
        return Place(Slot(offset: slot.offset, byteCount: count * precision.byteCount), in: arena)
    }

    /// The gradient of a parameter after a run in mode `gradients`, in PyTorch's order.
    public func gradient(of id: Graph.ParameterID, on engine: DNNEngine) throws(PlanError) -> [Float]? {
        guard let arena, let (buffer, layout) = gradients[id], let slot = buffers[buffer.index].slot else {
            return nil
        }
        let exact = Slot(offset: slot.offset, byteCount: layout.byteCount)
        return try store.canonical(arena.read(exact, as: Float.self), of: id, in: layout, on: engine)
    }

    /// The model's output after a run in mode `evaluation`: `[batch, outputs]`, images channels-last.
    public func output() -> [Float] { output(0..<batch * store.graph.outputShape.elementCount) }

    /// A range of the same elements.
    public func output(_ range: Range<Int>) -> [Float] {
        guard let arena, let logits, let slot = buffers[logits.index].slot else { return [] }
        precondition(
            range.lowerBound >= 0 && range.upperBound <= batch * store.graph.outputShape.elementCount,
            "no elements \(range) in the output")
        let exact = Slot(
            offset: slot.offset + range.lowerBound * precision.byteCount,
            byteCount: range.count * precision.byteCount)
        guard precision == .bfloat16 else { return arena.read(exact, as: Float.self) }
        return arena.read(exact, as: UInt16.self).map { Float(bitPattern: UInt32($0) << 16) }
    }

    /// Bytes of the tables that the plan alone keeps beside the arena.
    public var constantByteCount: Int {
        buffers.reduce(0) { $0 + ($1.constant == nil || $1.isShared ? 0 : $1.byteCount) }
    }

    /// Multiply-accumulates of one run.
    public var macs: Int { steps.reduce(0) { $0 + $1.macs } }

    /// One line a step: what runs, by which implementation.
    public var summary: [String] { steps.map { "\($0.label): \($0.kernel.implementation)" } }
}

extension ExecutionPlan {
    /// Runs every step once, as `run` does, and times each where it stands, with the caches as they are.
    ///
    /// - Parameters:
    ///   - state: What changes from run to run.
    ///   - nanoseconds: One sum for each step, to which the step's time is added.
    ///   - now: A monotonic clock in nanoseconds.
    /// - Returns: The loss over the batch.
    /// - Throws: `PlanError` when a call fails.
    public func run(
        _ state: StepState, adding nanoseconds: inout [UInt64], now: () -> UInt64
    ) throws(PlanError) -> LossResult {
        let arena = try begin(state)
        try time(steps.indices, adding: &nanoseconds, now)
        return LossResult.load(from: store.result, in: arena)
    }

    /// The same with `body` in front of the loss, whose time is not counted.
    ///
    /// - Precondition: The loss is one that learns from a teacher.
    public func run(
        _ state: StepState, adding nanoseconds: inout [UInt64], now: () -> UInt64,
        beforeLoss body: () throws(PlanError) -> Void
    ) throws(PlanError) -> LossResult {
        let arena = try begin(state)
        try time(0..<lossStep, adding: &nanoseconds, now)
        try body()
        try time(lossStep..<steps.count, adding: &nanoseconds, now)
        return LossResult.load(from: store.result, in: arena)
    }

    private func time(
        _ range: Range<Int>, adding nanoseconds: inout [UInt64], _ now: () -> UInt64
    ) throws(PlanError) {
        precondition(nanoseconds.count == steps.count, "\(nanoseconds.count) sums")
        var begin = now()
        do {
            for index in range {
                try steps[index].kernel.run()
                let end = now()
                nanoseconds[index] += end - begin
                begin = end
            }
        } catch { throw .kernel(error) }
    }

    /// What the plan does and what it takes, as values.
    public var overview: PlanSummary {
        PlanSummary(
            batch: batch, byteCount: end,
            regions: PlanSummary.Regions(
                parameters: store.parameterByteCount, optimizerState: store.stateByteCount,
                gradients: store.gradientByteCount),
            steps: steps.map { step in
                PlanSummary.Step(
                    label: step.label, layer: step.layer, pass: step.pass,
                    kernel: step.kernel.implementation, macs: step.macs,
                    bytesRead: step.kernel.operands.reduce(0) { $0 + ($1.access.reads ? $1.byteCount : 0) },
                    bytesWritten: step.kernel.operands.reduce(0) {
                        $0 + ($1.access.writes ? $1.byteCount : 0)
                    })
            },
            buffers: buffers.compactMap { buffer in
                buffer.lifetime.map { lifetime in
                    PlanSummary.Buffer(
                        label: buffer.label, byteCount: buffer.slot?.byteCount ?? buffer.byteCount,
                        lifetime: buffer.isKept ? lifetime.lowerBound...max(steps.count - 1, 0) : lifetime,
                        kind: store.kind(of: buffer, first: steps[lifetime.lowerBound].pass),
                        offset: buffer.place?.offset)
                }
            })
    }
}

extension Buffer {
    /// Where it lies in the plan's arena; nil for what lies elsewhere.
    fileprivate var place: Slot? {
        switch home {
        case .transient: slot
        case .persistent(let slot): slot
        case .constant, .external: nil
        }
    }
}

extension Access {
    fileprivate var reads: Bool { self != .write }
    fileprivate var writes: Bool { self != .read }
}
