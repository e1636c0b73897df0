import Graph
import Kernels
import Plan
import Tensor
import Training

/// A step of the benchmarks: one batch of random samples, which runs in parts where the planner cuts it.
struct BenchStep {
    let program: Program
    let data: BenchBatch
    /// Samples of each part.
    let parts: [Int]
    private let state: StepState

    /// Compiles a step for the calling thread's team.
    ///
    /// - Parameters:
    ///   - graph: The model.
    ///   - batch: Samples of the step.
    ///   - microBatch: Samples that run at once; nil leaves them to the planner.
    ///   - loss: What is minimised.
    ///   - optimizer: What updates the parameters.
    ///   - lowering: How the graph becomes calls.
    ///   - evaluates: Whether the step is an evaluation instead.
    /// - Throws: What compiling or making the samples throws.
    init(
        _ graph: Graph, batch: Int, microBatch: Int?, loss: LossKind, optimizer: OptimizerOptions,
        lowering: LoweringOptions, evaluates: Bool
    ) throws {
        var options = TrainOptions()
        options.batchSize = batch
        options.microBatchSize =
            evaluates ? nil : microBatch ?? MicroBatch.size(of: batch, graph, lowering.precision)
        parts = options.parts(of: batch)
        var rule = optimizer
        rule.accumulates = parts.count > 1
        program = try Program(
            graph,
            Program.Options(
                loss: loss, optimizer: rule, trainingBatches: evaluates ? [] : parts,
                evaluationBatches: evaluates ? parts : [], lowering: lowering), on: DNNEngine())
        data = try BenchBatch(graph, batch: batch, loss: loss)
        var state = StepState(
            seed: 0, step: 0, learningRate: 1e-4, inverseCount: 1 / Float(batch * data.rows))
        state.correctBias(of: optimizer.rule, update: 1)
        self.state = state
    }

    /// The calls of a step, in the order in which they run.
    var plans: [ExecutionPlan] {
        let evaluations = parts.compactMap { program.evaluationPlan(batch: $0) }
        return evaluations.isEmpty ? program.stepPlans(parts) : evaluations
    }

    /// Bytes that a step takes besides its samples.
    var byteCount: Int { program.byteCount + program.codeByteCount }

    /// Multiply-accumulates of a step.
    var macs: Int { plans.reduce(0) { $0 + $1.macs } }

    /// Maps the arena and draws the parameters.
    func allocate(_ spec: ModelSpec) throws {
        try program.allocate()
        for (index, id) in spec.graph.parameterIDs.enumerated() {
            let values = Initializer.values(
                of: spec.graph[id], index: index, rule: spec.initialization, seed: 0)
            try program.write(values, to: id)
        }
        // What drawing the parameters took is no part of a step.
        Heap.trim()
    }

    /// Runs the step once.
    func run() throws {
        try eachPlan { plan, state in _ = try plan.run(state) }
    }

    /// Runs the step once, and hands each of its plans, bound and with its state, to `body`.
    func eachPlan(_ body: (ExecutionPlan, StepState) throws -> Void) throws {
        var (state, first) = (state, 0)
        for (index, plan) in plans.enumerated() {
            if plan.batch > 0 {
                let samples = first..<first + plan.batch
                let batch = parts.reduce(0, +)
                try plan.bindBatch(
                    input: data.input.part(samples, of: batch), target: data.target.part(samples, of: batch),
                    in: data.arena)
                first += plan.batch
            }
            state.microBatch = UInt32(index)
            try body(plan, state)
        }
    }
}

extension Slot {
    /// The bytes of some of the `count` samples that lie here.
    fileprivate func part(_ samples: Range<Int>, of count: Int) -> Slot {
        let each = byteCount / count
        return Slot(offset: offset + samples.lowerBound * each, byteCount: samples.count * each)
    }
}
