internal import Data
internal import Formats
public import Graph
internal import Kernels
public import Plan
internal import Tensor

/// A network with its weights, compiled for inference alone.
///
/// Belongs to the thread that makes it, whose `ThreadTeam` it computes on.
public final class InferenceModel {
    /// What is compiled.
    public let program: Program
    private let memory: Arena
    private let targetByteCount: Int

    /// Compiles a graph for some batch sizes and gives every parameter its value.
    ///
    /// - Parameters:
    ///   - graph: The network.
    ///   - batches: Sizes that can be run.
    ///   - options: How it is lowered.
    ///   - values: A parameter's value in PyTorch's order, of as many elements as it has.
    /// - Throws: `TrainingError.plan`, or what `values` throws.
    public init(
        _ graph: Graph, batches: [Int], options: LoweringOptions = LoweringOptions(),
        values: (Graph.ParameterID) throws(TrainingError) -> [Float]
    ) throws(TrainingError) {
        let wanted = Program.Options(
            loss: .crossEntropy(labelSmoothing: 0), optimizer: OptimizerOptions(), trainingBatches: [],
            evaluationBatches: batches, lowering: options)
        let program = try planning { () throws(PlanError) in
            let engine: DNNEngine
            do throws(KernelError) { engine = try DNNEngine() } catch { throw .kernel(error) }
            return try Program(graph, wanted, on: engine)
        }
        let largest = batches.max() ?? 1
        targetByteCount = 4 * largest * graph[graph.output].positions
        let inputByteCount = 4 * largest * graph.inputShape.elementCount
        let byteCount = Self.aligned(targetByteCount) + inputByteCount
        do { memory = try Arena(byteCount: byteCount) } catch {
            throw .plan(.noMemory(byteCount: byteCount))
        }
        self.program = program
        memory.write(
            [Int32](repeating: BatchLayout.ignoredLabel, count: targetByteCount / 4),
            to: Slot(offset: 0, byteCount: targetByteCount))
        try planning { () throws(PlanError) in try program.allocate() }
        for id in graph.parameterIDs where options.quantized?.holds(id) != true {
            let value = try values(id)
            try planning { () throws(PlanError) in try program.write(value, to: id) }
        }
    }

    /// Loads a stored model; it leaves out the zeros of the layers that its file names, or of others, and
    /// computes in bytes what is stored so.
    ///
    /// Throws as the other initialiser does, and what the file's reader throws.
    public convenience init(
        _ stored: StoredModel, batches: [Int], options: LoweringOptions = LoweringOptions(),
        sparse: SparseLayers? = nil
    ) throws(TrainingError) {
        let reader = try formatting { () throws(FormatError) in try SafetensorsReader(stored.path) }
        let graph = stored.model.graph
        var options = options
        options.quantized = try stored.quantizedModel()
        // Of what is stored as bytes there are no float32 weights to leave zeros out of.
        if options.quantized == nil {
            options.sparse = try (sparse ?? stored.sparse).weights(of: graph, in: reader)
        }
        try self.init(graph, batches: batches, options: options) { id throws(TrainingError) in
            try formatting { () throws(FormatError) in
                try reader.floats(graph[id].name, shape: graph[id].shape.dimensions)
            }
        }
    }

    private static func aligned(_ byteCount: Int) -> Int {
        (byteCount + Arena.alignment - 1) / Arena.alignment * Arena.alignment
    }

    /// Bytes that stay in use.
    public var byteCount: Int { program.byteCount + program.constantByteCount + memory.byteCount }

    /// Whether what comes out are probabilities already.
    public var endsInSoftmax: Bool {
        let graph = program.graph
        guard let last = graph.producer(of: graph.output), case .softmax = last.operation else {
            return false
        }
        return true
    }

    /// Runs a batch that lies elsewhere.
    ///
    /// - Returns: The plan that ran, whose output can be read until the next run.
    func run(_ batch: borrowing Batch) throws(TrainingError) -> ExecutionPlan {
        let plan = try plan(
            batch: batch.count, input: batch.inputSlot, target: batch.targetSlot, in: batch.arena)
        try planning { () throws(PlanError) in _ = try plan.run(Self.state) }
        return plan
    }

    /// Puts a batch in place, for `repeatRun`.
    ///
    /// - Parameter input: As many elements as a batch of one of the sizes has, channels last.
    public func place<Element: BitwiseCopyable>(_ input: [Element]) {
        precondition(MemoryLayout<Element>.stride == 4, "elements of \(MemoryLayout<Element>.stride) bytes")
        let offset = Self.aligned(targetByteCount)
        memory.write(input, to: Slot(offset: offset, byteCount: 4 * input.count))
    }

    /// Runs the batch that was put in place.
    ///
    /// - Returns: The plan that ran, whose output can be read until the next run.
    @discardableResult
    public func repeatRun(batch: Int) throws(TrainingError) -> ExecutionPlan {
        let plan = try placedPlan(batch: batch)
        try planning { () throws(PlanError) in _ = try plan.run(Self.state) }
        return plan
    }

    /// Runs the batch that was put in place, and times each step of its plan.
    ///
    /// - Returns: Nanoseconds.
    func repeatRun(batch: Int, now: () -> UInt64) throws(TrainingError) -> [UInt64] {
        let plan = try placedPlan(batch: batch)
        var spent = [UInt64](repeating: 0, count: plan.summary.count)
        try planning { () throws(PlanError) in _ = try plan.run(Self.state, adding: &spent, now: now) }
        return spent
    }

    /// The step of a batch size's plan that computes each layer with weights, and its kernel.
    public func layerCalls(batch: Int) -> [String: (step: Int, kernel: String)] {
        var calls: [String: (step: Int, kernel: String)] = [:]
        for (index, step) in (program.evaluationPlan(batch: batch)?.overview.steps ?? []).enumerated() {
            guard step.pass == .forward, step.macs > 0, calls[step.layer] == nil else { continue }
            calls[step.layer] = (index, step.kernel)
        }
        return calls
    }

    private static let state = StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1)

    /// The plan of a batch size, over the batch that was put in place.
    private func placedPlan(batch: Int) throws(TrainingError) -> ExecutionPlan {
        let graph = program.graph
        let input = Slot(
            offset: Self.aligned(targetByteCount), byteCount: 4 * batch * graph.inputShape.elementCount)
        let target = Slot(offset: 0, byteCount: 4 * batch * graph[graph.output].positions)
        return try plan(batch: batch, input: input, target: target, in: memory)
    }

    private func plan(
        batch: Int, input: Slot, target: Slot, in arena: Arena
    ) throws(TrainingError) -> ExecutionPlan {
        guard let plan = program.evaluationPlan(batch: batch) else {
            preconditionFailure("no plan evaluates \(batch) samples")
        }
        try planning { () throws(PlanError) in
            try plan.bindBatch(input: input, target: target, in: arena)
        }
        return plan
    }
}
