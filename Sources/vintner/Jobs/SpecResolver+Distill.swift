import Graph
import Jobs
import Kernels
import Plan
import Training

extension SpecResolver {
    /// Bytes of the second of two students that learn from each other, and the plans of its steps.
    func learning(
        _ request: JobRequest, on engine: DNNEngine
    ) throws(PlanError) -> (Int, [PlanSummary]) {
        guard let distill = request.distill, let peer = request.peer else { return (0, []) }
        let weights = CostModel(of: peer.graph).parameterBytes
        guard weights <= budget.memoryBytes else { return (weights, []) }
        let program = try Distillation.program(
            of: peer, distill.options, request.options, on: request.dataset, engine: engine)
        let copies = request.options.findsLearningRate ? program.store.byteCount : 0
        var total = try Self.sum(program.byteCount, max(copies, program.conversionByteCount))
        // The same network's code is there already.
        if distill.peer != nil { total = try Self.sum(total, program.codeByteCount) }
        let outputs = Distillation.stagingByteCount(of: peer, request.options)
        total = try Self.sum(total, try Self.sum(program.constantByteCount, outputs))
        return (total, program.stepPlans(request.parts).map(\.overview))
    }

    /// Bytes of the teachers and what they say.
    func teaching(_ request: JobRequest, on engine: DNNEngine) throws(PlanError) -> Int {
        guard let distill = request.distill else { return 0 }
        let graphs = distill.models.map(\.graph)
        for graph in graphs {
            let weights = CostModel(of: graph).parameterBytes
            guard weights <= budget.memoryBytes else { return weights }
        }
        return try Distillation.byteCount(
            distill.options, teachers: graphs, hasDisk: true, of: request.model, request.options,
            on: request.dataset, engine: engine)
    }

    /// Bytes that a distill job holds at most: when its training has been let go, the teachers and the
    /// student are timed side by side, and evaluated one after the other.
    func distilling(
        _ request: JobRequest, training: Int, on engine: DNNEngine
    ) throws(PlanError) -> Int {
        guard let distill = request.distill, request.prune == nil else { return training }
        var (timed, evaluating) = (0, 0)
        let sparse = request.keepsMasks ? Self.sparseWeights(of: request.model.graph) : [:]
        let all = distill.models.map { ($0, [:]) } + [(request.model, sparse)]
        for (model, sparse) in all {
            timed = try Self.sum(
                timed,
                try inference(model.graph, EvaluateRequest.latencyBatches, sparse: sparse, on: engine))
            evaluating = max(
                evaluating, try inference(model.graph, [Evaluator.batchMax], sparse: sparse, on: engine))
        }
        return max(training, try Self.sum(timed, evaluating))
    }
}
