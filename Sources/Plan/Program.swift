public import Graph
public import Kernels
public import Tensor

/// Everything that a job runs, over one arena: a training plan and an evaluation plan for each batch size.
///
/// Compiling allocates no arena, so that a job's memory is known before it starts; `allocate` does. Belongs
/// to the thread that compiles it, whose `ThreadTeam` fixes the number of threads.
public final class Program {
    /// What to compile.
    public struct Options: Sendable {
        public var loss: LossKind
        /// The loss of evaluations where it is another, as when training mixes its labels.
        public var evaluationLoss: LossKind?
        /// Whether evaluations have a loss; otherwise they stop at the output, and no target is bound.
        public var evaluatesLoss = true
        public var optimizer: OptimizerOptions
        /// Batch sizes to train with; the first decides the weights' layouts.
        public var trainingBatches: [Int]
        public var evaluationBatches: [Int]
        /// Whether there are plans that leave the gradients of a training batch readable.
        public var readsGradients = false
        public var lowering: LoweringOptions

        public init(
            loss: LossKind, optimizer: OptimizerOptions, trainingBatches: [Int], evaluationBatches: [Int],
            lowering: LoweringOptions = LoweringOptions()
        ) {
            self.lowering = lowering
            self.loss = loss
            self.optimizer = optimizer
            self.trainingBatches = trainingBatches
            self.evaluationBatches = evaluationBatches
        }
    }

    public let graph: Graph
    public let store: ParameterStore
    public let engine: DNNEngine
    /// Bytes of the arena: parameters, optimiser state, and the largest plan's activations.
    public private(set) var byteCount: Int
    private let training: [Int: ExecutionPlan]
    /// The plans that gather the gradients of micro-batches.
    private let accumulation: [Int: ExecutionPlan]
    private let update: ExecutionPlan?
    private let evaluation: [Int: ExecutionPlan]
    private let gradients: [Int: ExecutionPlan]
    private let isClipping: Bool
    private let tenancy = ArenaTenancy()
    private let constants = ConstantPool()
    public private(set) var arena: Arena?

    public init(_ graph: Graph, _ options: Options, on engine: DNNEngine) throws(PlanError) {
        self.graph = graph
        self.engine = engine
        isClipping = options.optimizer.clipNorm != nil
        // Weights lie as the largest batch likes them: it has the most to lose.
        let size = options.trainingBatches.first ?? options.evaluationBatches.max() ?? 1
        let absent = options.lowering.quantized?.absent ?? []
        var layouts = try ParameterLayouts.choose(
            for: graph, batch: size, training: !options.trainingBatches.isEmpty,
            precision: options.lowering.precision, leavingOut: absent, on: engine)
        if options.trainingBatches.isEmpty {
            let others = options.evaluationBatches.filter { $0 != size }
            try ParameterLayouts.addOthers(
                to: &layouts, for: graph, batches: others, options.lowering, on: engine)
        }
        var needs =
            options.trainingBatches.isEmpty ? ParameterStore.Needs() : ParameterStore.Needs(options.optimizer)
        options.lowering.rounded?.place(in: graph, &layouts, &needs)
        store = try ParameterStore(graph: graph, layouts: layouts, needs: needs, leavingOut: absent)
        let (store, tenancy, constants) = (store, tenancy, constants)
        func plans(
            _ batches: [Int], _ mode: PlanMode
        ) throws(PlanError) -> [Int: ExecutionPlan] {
            var plans: [Int: ExecutionPlan] = [:]
            for batch in batches where plans[batch] == nil {
                plans[batch] = try ExecutionPlan(
                    graph, batch: batch, mode: mode, options: options.lowering, store: store,
                    sharing: tenancy, constants: constants, on: engine)
            }
            return plans
        }
        let evaluationLoss = options.evaluationLoss ?? options.loss
        evaluation = try plans(
            options.evaluationBatches, options.evaluatesLoss ? .evaluation(evaluationLoss) : .inference)
        if options.optimizer.accumulates {
            training = [:]
            accumulation = try plans(options.trainingBatches, .accumulation(options.loss))
            update = try plans([0], .update(options.optimizer))[0]
        } else {
            training = try plans(options.trainingBatches, .training(options.loss, options.optimizer))
            (accumulation, update) = ([:], nil)
        }
        gradients =
            options.readsGradients ? try plans(options.trainingBatches, .gradients(options.loss)) : [:]
        byteCount = store.byteCount
        byteCount = allPlans.map(\.end).max() ?? store.byteCount
    }

    private var allPlans: [ExecutionPlan] {
        let groups = [training, accumulation, evaluation, gradients].flatMap(\.values)
        return groups + (update.map { [$0] } ?? [])
    }

    /// Maps the arena and binds every plan to it.
    public func allocate() throws(PlanError) {
        let arena: Arena
        do { arena = try Arena(byteCount: byteCount) } catch { throw .noMemory(byteCount: byteCount) }
        for plan in allPlans { try plan.bind(to: arena) }
        store.clearMasks(in: arena)
        self.arena = arena
    }

    /// Bytes of all plans' tables, which lie beside the arena.
    public var constantByteCount: Int {
        allPlans.reduce(constants.byteCount) { $0 + $1.constantByteCount }
    }

    /// Bytes of code that the first run brings into memory, unless another program's has.
    public var codeByteCount: Int {
        EngineCode.byteCount(of: allPlans.flatMap { $0.steps.map(\.kernel.implementation) })
    }

    /// Bytes that reading or writing a parameter takes beside the arena: the largest in PyTorch's order,
    /// twice in the arena of its reordering, and as result, for each of at most two reorderings.
    public var conversionByteCount: Int {
        let layouts = store.entries.flatMap { [$0.layout] + $0.others.map(\.layout) }
        return 5 * (layouts.map(\.byteCount).max() ?? 0)
    }

    /// The plan that trains on a batch of this size; nil where gradients are accumulated.
    public func trainingPlan(batch: Int) -> ExecutionPlan? { training[batch] }

    /// The plan that gathers the gradients of micro-batches of this size; nil where there is but one.
    public func accumulationPlan(batch: Int) -> ExecutionPlan? { accumulation[batch] }

    /// The plan that updates the parameters by the accumulated gradients.
    public var updatePlan: ExecutionPlan? { update }

    /// The plans that one training step runs, for a batch that is cut into parts of these sizes.
    public func stepPlans(_ parts: [Int]) -> [ExecutionPlan] {
        parts.compactMap { training[$0] ?? accumulation[$0] } + [update].compactMap(\.self)
    }

    /// The plan that leaves the gradients of a batch of this size readable; nil unless that was asked for.
    public func gradientPlan(batch: Int) -> ExecutionPlan? { gradients[batch] }

    /// The plan that evaluates a batch of this size.
    public func evaluationPlan(batch: Int) -> ExecutionPlan? { evaluation[batch] }

    /// A plan whose gradients stay readable, for checks; it has an arena of its own with the same parameters.
    public static func gradientPlan(
        _ graph: Graph, batch: Int, loss: LossKind, lowering: LoweringOptions = LoweringOptions(),
        on engine: DNNEngine
    ) throws(PlanError) -> (plan: ExecutionPlan, store: ParameterStore, arena: Arena) {
        var layouts = try ParameterLayouts.choose(
            for: graph, batch: batch, training: true, precision: lowering.precision, on: engine)
        var needs = ParameterStore.Needs()
        lowering.rounded?.place(in: graph, &layouts, &needs)
        let store = try ParameterStore(graph: graph, layouts: layouts, needs: needs)
        let plan = try ExecutionPlan(
            graph, batch: batch, mode: .gradients(loss), options: lowering, store: store,
            sharing: ArenaTenancy(), on: engine)
        let arena: Arena
        do { arena = try Arena(byteCount: plan.end) } catch { throw .noMemory(byteCount: plan.end) }
        try plan.bind(to: arena)
        return (plan, store, arena)
    }

    /// The size of all gradients of the last update, where gradients are clipped.
    public var gradientNorm: GradientNorm? {
        guard let arena, isClipping else { return nil }
        return GradientNorm.load(from: store.norm, in: arena)
    }

    /// Lets plans compute anew what follows from the parameters, which the caller has written to the arena
    /// itself.
    public func parametersDidChange() { tenancy.end() }

    /// Exchanges all parameters with their averages; does nothing where there are none.
    public func swapAverages() {
        guard let arena else { preconditionFailure("the program has no arena yet") }
        parametersDidChange()
        for id in graph.parameterIDs {
            guard let average = store.slot(id, .average) else { continue }
            let values = arena.read(store[id].value, as: Float.self)
            arena.write(arena.read(average, as: Float.self), to: store[id].value)
            arena.write(values, to: average)
            store.refreshCopy(of: id, in: arena)
        }
    }

    /// Reads a part of a parameter in PyTorch's order; nothing where it is not kept.
    public func read(
        _ id: Graph.ParameterID, _ part: ParameterStore.Part = .value
    ) throws(PlanError) -> [Float] {
        guard let arena else { preconditionFailure("the program has no arena yet") }
        return try store.read(id, part, from: arena, on: engine)
    }

    /// Writes a part of a parameter, given in PyTorch's order; does nothing where it is not kept.
    public func write(
        _ values: [Float], to id: Graph.ParameterID, _ part: ParameterStore.Part = .value
    ) throws(PlanError) {
        guard let arena else { preconditionFailure("the program has no arena yet") }
        parametersDidChange()
        try store.write(values, to: id, part, in: arena, on: engine)
    }
}
