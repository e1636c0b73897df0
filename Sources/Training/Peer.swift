public import Data
public import Graph
public import Kernels
public import Plan
internal import Tensor

/// The other of two students that learn from each other (Zhang et al., "Deep mutual learning", 2018).
///
/// Both see the same batches. At each step either's outputs for the batch, as they are in training, are what
/// the other's soft loss compares with: numbers, through which no gradient goes. Both are then updated at
/// once. Belongs to the training thread.
final class Peer {
    let program: Program
    /// Draws its first values and its dropout.
    let seed: UInt64
    /// Where its outputs for a part of a batch stand while its own step writes over them.
    private let staging: Arena

    /// Compiles the student and draws its values.
    ///
    /// - Throws: `TrainingError.badPeer` for one that cannot learn with the task's model.
    init(_ model: ModelSpec, _ task: TrainingTask, on engine: DNNEngine) throws(TrainingError) {
        if let reason = Distillation.misfit(of: model.graph, with: task.model.graph) {
            throw .badPeer(reason: reason)
        }
        let (options, info) = (task.options, task.dataset.info)
        let program = try planning { () throws(PlanError) in
            let program = try Distillation.program(
                of: model, task.distillation?.options ?? DistillOptions(), options, on: info, engine: engine)
            try program.allocate()
            return program
        }
        let byteCount = Distillation.stagingByteCount(of: model, options)
        do { staging = try Arena(byteCount: byteCount) } catch {
            throw .plan(.noMemory(byteCount: byteCount))
        }
        (self.program, seed) = (program, Self.seed(beside: task.seed))
        try program.draw(seed: seed, rule: model.initialization)
    }

    /// Seeds that are asked for leave the highest bit alone, so that no other run's is the same.
    static func seed(beside seed: UInt64) -> UInt64 { seed ^ 1 << 63 }

    /// Bytes that are held beside the first student's.
    var byteCount: Int { program.byteCount + staging.byteCount }

    /// Runs a part of this student's step, in front of the other's loss.
    ///
    /// - Parameters:
    ///   - plan: The other student's, whose outputs for the same part are there; what this one says then
    ///     stands where its loss looks for it.
    ///   - batch: The part of the batch.
    ///   - state: The other student's.
    /// - Throws: `PlanError` when a call fails.
    func learn(
        with plan: ExecutionPlan, from batch: (input: Slot, target: Slot, arena: Arena), _ state: StepState
    ) throws(PlanError) {
        guard let own = program.stepPlan(batch: plan.batch), let said = plan.taughtPlace,
            let outputs = own.taughtPlace
        else {
            // A model that only passes on what it reads.
            throw .kernel(
                KernelError(action: "learn from the other student", reason: "a student computes nothing"))
        }
        let copy = Place(Slot(offset: 0, byteCount: outputs.slot.byteCount), in: staging)
        try plan.bind(.teacher, to: copy)
        try own.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        try own.bind(.teacher, to: said)
        _ = try own.run(seeded(state)) { copy.arena.copy(outputs.slot, of: outputs.arena, to: copy.slot) }
    }

    /// Ends a step whose gradients have been gathered from parts.
    func update(_ state: StepState) throws(PlanError) {
        if let update = program.updatePlan { _ = try update.run(seeded(state)) }
    }

    /// Multiply-accumulates of a part of a step.
    func macs(batch: Int) -> Int { program.stepPlan(batch: batch)?.macs ?? 0 }

    private func seeded(_ state: StepState) -> StepState {
        var state = state
        state.seed = seed
        return state
    }
}

extension Program {
    /// The plan that a step runs for a part of a batch of this size.
    func stepPlan(batch: Int) -> ExecutionPlan? {
        trainingPlan(batch: batch) ?? accumulationPlan(batch: batch)
    }

    /// Gives every parameter the value that a seed draws.
    fileprivate func draw(seed: UInt64, rule: Initialization) throws(TrainingError) {
        for (index, id) in graph.parameterIDs.enumerated() {
            try start(id, at: Initializer.values(of: graph[id], index: index, rule: rule, seed: seed))
        }
    }
}

extension Distillation {
    /// The other of two students as it is compiled, but for its values.
    ///
    /// - Parameters:
    ///   - peer: What it computes.
    ///   - options: How both learn from each other.
    ///   - training: How both are trained.
    ///   - info: What both are trained on.
    ///   - engine: Its thread team decides the plans.
    /// - Returns: A program without memory.
    /// - Throws: `PlanError` where it cannot be planned.
    public static func program(
        of peer: ModelSpec, _ options: DistillOptions, _ training: TrainOptions, on info: DatasetInfo,
        engine: DNNEngine
    ) throws(PlanError) -> Program {
        let planned = TrainingTask.programOptions(info, peer, training, distillation: options)
        return try Program(peer.graph, planned, on: engine)
    }

    /// Bytes that either student's outputs take for as many samples as are in memory at once.
    public static func stagingByteCount(of peer: ModelSpec, _ training: TrainOptions) -> Int {
        peer.graph.outputShape.elementCount * training.precision.element.byteCount * training.largestPart
    }
}
