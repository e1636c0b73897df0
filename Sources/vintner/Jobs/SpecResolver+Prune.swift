import Compression
import Graph
import Kernels
import Plan
import Tensor
import Training

extension SpecResolver {
    /// Bytes for each parameter while the masks change: what is ranked with its order (12), two copies of the
    /// numbers it is ranked by (8), masks as they were and as they are, in both orders (6), one conversion.
    private static let bytesPerRankedNumber = 32

    /// Bytes that a job holds which prunes.
    ///
    /// While it trains, what it goes back to and what it ranks lie beside its program. When that has been let
    /// go, the model before and what is left of it are run side by side, from copies of all that was kept.
    ///
    /// - Parameters:
    ///   - request: The job.
    ///   - training: Bytes of its training.
    ///   - program: What it trains.
    ///   - engine: Its thread team decides the plans.
    /// - Returns: The most that is held at once.
    /// - Throws: `PlanError.tooLarge` where it cannot be counted.
    func pruning(
        _ request: JobRequest, training: Int, _ program: Program, on engine: DNNEngine
    ) throws(PlanError) -> Int {
        guard let prune = request.prune else { return training }
        let numbers = request.graph.parameters.reduce(0) { $0 + $1.shape.elementCount }
        let goesBack = prune.options.rewind == .initial || (prune.options.rewind.step ?? 0) > 0
        let beside = Self.bytesPerRankedNumber * numbers + (goesBack ? program.store.byteCount : 0)
        let graph = request.model.graph
        // Channels leave no zeros behind, but for those that were there.
        let isSparse = prune.options.structure != .channel || request.keepsMasks
        let sparse = isSparse ? Self.sparseWeights(of: graph) : [:]
        let dense = try inference(graph, EvaluateRequest.latencyBatches, on: engine)
        let kept = try inference(graph, EvaluateRequest.latencyBatches, sparse: sparse, on: engine)
        let evaluating = try inference(graph, [Evaluator.batchMax], sparse: sparse, on: engine)
        // One model with all weights and one without zeros are measured, and before that two without.
        let trying = max(evaluating, sparse.isEmpty ? 0 : kept)
        var measuring = 2 * program.store.byteCount
        for part in [dense, kept, trying] { measuring = try Self.sum(measuring, part) }
        for teacher in request.distill?.models ?? [] {
            let batches = EvaluateRequest.latencyBatches + [Evaluator.batchMax]
            measuring = try Self.sum(measuring, try inference(teacher.graph, batches, on: engine))
        }
        return max(try Self.sum(training, beside), measuring)
    }

    /// Bytes that a job holds at most which starts from a model with masks: when its training has been let
    /// go, what is left is timed with all weights and without zeros, in two formats.
    func sparsifying(
        _ request: JobRequest, training: Int, on engine: DNNEngine
    ) throws(PlanError) -> Int {
        guard request.keepsMasks, request.prune == nil, request.bytes == nil else { return training }
        let (graph, batches) = (request.model.graph, EvaluateRequest.latencyBatches)
        let sparse = try inference(graph, batches, sparse: Self.sparseWeights(of: graph), on: engine)
        let trying = try Self.sum(try inference(graph, batches, on: engine), try Self.sum(sparse, sparse))
        return max(training, trying)
    }

    /// The most that layers keep which are measured without their zeros.
    static func sparseWeights(of graph: Graph) -> [Graph.ParameterID: SparseWeights] {
        var weights: [Graph.ParameterID: SparseWeights] = [:]
        for node in graph.nodes {
            guard let id = graph.parameter(.weight, of: node) else { continue }
            let layout = SparseTrial.largestLayout(of: graph[id].shape.elementCount)
            weights[id] = SparseWeights(few: layout, many: layout)
        }
        return weights
    }

    /// Bytes of a model that only answers, and of its weights without zeros where some leave them out.
    func inference(
        _ graph: Graph, _ batches: [Int], sparse: [Graph.ParameterID: SparseWeights] = [:],
        on engine: DNNEngine, _ lowering: LoweringOptions = LoweringOptions()
    ) throws(PlanError) -> Int {
        var options = Program.Options(
            loss: .crossEntropy(labelSmoothing: 0), optimizer: OptimizerOptions(), trainingBatches: [],
            evaluationBatches: batches, lowering: lowering)
        if !sparse.isEmpty { options.lowering.sparse = sparse }
        let program = try Program(graph, options, on: engine)
        return try Self.sum(program.byteCount, program.conversionByteCount + program.constantByteCount)
    }

    /// Throws `PlanError.tooLarge` where the sum cannot be counted.
    static func sum(_ left: Int, _ right: Int) throws(PlanError) -> Int {
        let (sum, overflow) = left.addingReportingOverflow(right)
        guard !overflow else { throw .tooLarge }
        return sum
    }
}
