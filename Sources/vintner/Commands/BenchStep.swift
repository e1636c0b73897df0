import Graph
import Kernels
import Plan
import Tensor
import Training

/// A step on one batch of random samples, which runs in parts where the planner cuts it.
struct BenchStep {
    let program: Program
    /// The calls of a step, in the order in which they run.
    let plans: [ExecutionPlan]
    /// Samples of each part.
    let parts: [Int]
    private let data: BenchBatch
    private let state: StepState

    /// Makes samples for a compiled step.
    init(_ program: Program, _ subject: StepSubject) throws {
        (self.program, parts) = (program, subject.parts)
        let evaluations = parts.compactMap { program.evaluationPlan(batch: $0) }
        plans = evaluations.isEmpty ? program.stepPlans(parts) : evaluations
        let batch = parts.reduce(0, +)
        data = try BenchBatch(subject.graph, batch: batch, loss: subject.options.loss)
        var state = StepState(
            seed: 0, step: 0, learningRate: 1e-4, inverseCount: 1 / Float(batch * data.rows))
        state.inverseSamples = 1 / Float(batch)
        state.correctBias(of: subject.options.optimizer.rule, update: 1)
        self.state = state
    }

    /// Bytes that a step takes besides its samples.
    var byteCount: Int { program.byteCount + program.codeByteCount }

    /// Multiply-accumulates of a step.
    var macs: Int { plans.reduce(0) { $0 + $1.macs } }

    /// Maps the arena and draws the parameters.
    func allocate(_ rule: Initialization = .default) throws {
        try program.allocate(drawing: rule)
        if parts.count == 1 { try bind(plans[0], 0..<parts[0]) }
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
            // Parts of one size share a plan, which reads one after the other.
            if parts.count > 1, plan.batch > 0 {
                try bind(plan, first..<first + plan.batch)
                first += plan.batch
            }
            state.microBatch = UInt32(index)
            try body(plan, state)
        }
    }

    private func bind(_ plan: ExecutionPlan, _ samples: Range<Int>) throws {
        let batch = parts.reduce(0, +)
        try plan.bindBatch(
            input: data.input.part(samples, of: batch), target: data.target.part(samples, of: batch),
            in: data.arena)
        for (index, feature) in data.features.enumerated() {
            try plan.bind(.feature(index), to: Place(feature.part(samples, of: batch), in: data.arena))
        }
    }
}

extension Program {
    /// Maps the arena and draws the parameters by a rule, with seed 0.
    func allocate(drawing rule: Initialization) throws {
        try allocate()
        for id in graph.parameterIDs {
            try write(Initializer.values(of: graph[id], index: id.index, rule: rule, seed: 0), to: id)
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
