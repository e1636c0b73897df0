import Data
import Graph
import Host
import JSON
import Jobs
import Kernels
import Plan
import Tensor
import Training

extension SpecResolver {
    /// Checks and plans an evaluate job.
    func resolveEvaluation(_ body: JSONValue) throws(InvalidInput) -> ResolvedJob {
        let request = try EvaluateRequest.read(body, catalogue: catalogue, lookup: lookup, cores: cores)
        return try resolved(.evaluate, request.common) { engine throws(PlanError) in
            try memory(of: request, on: engine)
        }
    }

    /// A job over a stored model that is not trained, within the budget.
    ///
    /// `estimate` is what it tells besides sizes; `memory` counts the bytes that it holds at once beside the
    /// dataset and its batches.
    func resolved(
        _ type: JobType, _ request: SubjectRequest, _ estimate: JSONObject = [:],
        memory: (DNNEngine) throws(PlanError) -> Int
    ) throws(InvalidInput) -> ResolvedJob {
        let needed: Int
        do throws(PlanError) { needed = try bytes(of: request, and: memory) } catch {
            throw InvalidInput(pointer: "/model", code: "too_large", detail: error.description)
        }
        let settings = request.settings
        try check(needed, settings)
        let kept = type == .evaluate ? 0 : DiskNeeds.byteCount(of: request)
        try checkDisk(kept, settings)
        let cost = CostModel(of: request.model.graph)
        var estimate = estimate
        estimate["parameters"] = JSONValue(cost.parameters)
        estimate["macs_per_sample"] = JSONValue(cost.macsPerSample)
        estimate["peak_memory_bytes"] = JSONValue(needed)
        estimate["disk_bytes"] = JSONValue(kept)
        var job = ResolvedJob(
            type: type, name: settings.name, labels: settings.labels, priority: settings.priority,
            maxAttempts: settings.maxAttempts, spec: .object(request.resolved), threads: settings.threads,
            memoryBytes: needed, dependencies: settings.dependencies, estimate: .object(estimate))
        (job.dataset, job.models) = (request.dataset.id, settings.models)
        return job
    }

    /// The dataset, its batches, and what a job counts besides; the weights alone where they are too large.
    private func bytes(
        of request: SubjectRequest, and own: (DNNEngine) throws(PlanError) -> Int
    ) throws(PlanError) -> Int {
        let weights = CostModel(of: request.model.graph).parameterBytes
        guard weights <= budget.memoryBytes else { return weights }
        ThreadTeam.use(request.settings.threads)
        let engine: DNNEngine
        do throws(KernelError) { engine = try DNNEngine() } catch { throw .kernel(error) }
        let reading = Evaluator.reading(request.model)
        let inputs = request.dataset.layout(reading).byteCounts(capacity: 2 * reading.evaluationBatchSize)
        guard let inputs else { throw .tooLarge }
        let beside = try Self.sum(request.dataset.byteCount, try Self.sum(inputs.input, inputs.target))
        return try Self.sum(beside, try own(engine))
    }

    /// Bytes of the model's plans.
    private func memory(of request: EvaluateRequest, on engine: DNNEngine) throws(PlanError) -> Int {
        let graph = request.model.graph
        // What has been pruned may leave out zeros; of a model that is waited for nothing is known yet.
        let record = request.subject.record
        let isSparse = record == nil || record?.lineage["pruning"] != nil
        let sparse = isSparse ? Self.sparseWeights(of: graph) : [:]
        return try Self.sum(
            try inference(graph, [Evaluator.batchMax], sparse: sparse, on: engine),
            try inference(graph, EvaluateRequest.latencyBatches, sparse: sparse, on: engine))
    }

    func check(_ needed: Int, _ settings: JobSettings) throws(InvalidInput) {
        try checkLimit(needed, settings)
        guard needed <= budget.memoryBytes else {
            throw InvalidInput(
                pointer: "/model", code: "insufficient_memory",
                detail: "the job needs \(needed) bytes; the service may use \(budget.memoryBytes)")
        }
    }
}
