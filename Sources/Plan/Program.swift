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
        public var optimizer: OptimizerKind
        /// Batch sizes to train with; the first decides the weights' layouts.
        public var trainingBatches: [Int]
        public var evaluationBatches: [Int]

        public init(
            loss: LossKind, optimizer: OptimizerKind, trainingBatches: [Int], evaluationBatches: [Int]
        ) {
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
    public let byteCount: Int
    private let training: [Int: ExecutionPlan]
    private let evaluation: [Int: ExecutionPlan]
    public private(set) var arena: Arena?

    public init(_ graph: Graph, _ options: Options, on engine: DNNEngine) throws(PlanError) {
        self.graph = graph
        self.engine = engine
        let first = options.trainingBatches.first ?? options.evaluationBatches.first ?? 1
        let layouts = try ParameterLayouts.choose(
            for: graph, batch: first, training: !options.trainingBatches.isEmpty, on: engine)
        let hasVelocity = !options.trainingBatches.isEmpty && options.optimizer.momentum != 0
        store = try ParameterStore(graph: graph, layouts: layouts, hasVelocity: hasVelocity)
        var training: [Int: ExecutionPlan] = [:]
        for batch in options.trainingBatches where training[batch] == nil {
            training[batch] = try ExecutionPlan(
                graph, batch: batch, mode: .training(options.loss, options.optimizer), store: store,
                on: engine)
        }
        var evaluation: [Int: ExecutionPlan] = [:]
        for batch in options.evaluationBatches where evaluation[batch] == nil {
            evaluation[batch] = try ExecutionPlan(
                graph, batch: batch, mode: .evaluation(options.loss), store: store, on: engine)
        }
        self.training = training
        self.evaluation = evaluation
        let plans = Array(training.values) + Array(evaluation.values)
        byteCount = plans.map(\.end).max() ?? store.byteCount
    }

    /// Maps the arena and binds every plan to it.
    public func allocate() throws(PlanError) {
        let arena: Arena
        do { arena = try Arena(byteCount: byteCount) } catch { throw .noMemory(byteCount: byteCount) }
        for plan in training.values { try plan.bind(to: arena) }
        for plan in evaluation.values { try plan.bind(to: arena) }
        self.arena = arena
    }

    /// Bytes that reading or writing a parameter takes beside the arena: the largest in PyTorch's order,
    /// twice in the arena of its reordering, and as result, for each of at most two reorderings.
    public var conversionByteCount: Int { 5 * (store.entries.map(\.layout.byteCount).max() ?? 0) }

    /// The plan that trains on a batch of this size.
    public func trainingPlan(batch: Int) -> ExecutionPlan? { training[batch] }

    /// The plan that evaluates a batch of this size.
    public func evaluationPlan(batch: Int) -> ExecutionPlan? { evaluation[batch] }

    /// A plan whose gradients stay readable, for checks; it has an arena of its own with the same parameters.
    public static func gradientPlan(
        _ graph: Graph, batch: Int, loss: LossKind, on engine: DNNEngine
    ) throws(PlanError) -> (plan: ExecutionPlan, store: ParameterStore, arena: Arena) {
        let layouts = try ParameterLayouts.choose(for: graph, batch: batch, training: true, on: engine)
        let store = try ParameterStore(graph: graph, layouts: layouts, hasVelocity: false)
        let plan = try ExecutionPlan(
            graph, batch: batch, mode: .gradients(loss), store: store, on: engine)
        let arena: Arena
        do { arena = try Arena(byteCount: plan.end) } catch { throw .noMemory(byteCount: plan.end) }
        try plan.bind(to: arena)
        return (plan, store, arena)
    }

    /// Reads a parameter, or its velocity, in PyTorch's order.
    public func read(_ id: Graph.ParameterID, velocity: Bool = false) throws(PlanError) -> [Float] {
        guard let arena else { preconditionFailure("the program has no arena yet") }
        return try store.read(id, velocity: velocity, from: arena, on: engine)
    }

    /// Writes a parameter, or its velocity, given in PyTorch's order.
    public func write(
        _ values: [Float], to id: Graph.ParameterID, velocity: Bool = false
    ) throws(PlanError) {
        guard let arena else { preconditionFailure("the program has no arena yet") }
        try store.write(values, to: id, velocity: velocity, in: arena, on: engine)
    }
}
