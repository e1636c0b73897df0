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
        let request = try EvaluateRequest.read(
            body, catalogue: catalogue, lookup: ModelLookup(models: models, jobs: jobs), cores: budget.threads
        )
        return try resolved(.evaluate, request.settings, request.resolved, request.model) {
            () throws(PlanError) in try memory(of: request)
        }
    }

    /// A job over a stored model that is not trained, within the budget.
    func resolved(
        _ type: JobType, _ settings: JobSettings, _ spec: JSONObject, _ model: ModelSpec,
        _ estimate: JSONObject = [:], memory: () throws(PlanError) -> Int
    ) throws(InvalidInput) -> ResolvedJob {
        let needed: Int
        do throws(PlanError) { needed = try memory() } catch {
            throw InvalidInput(pointer: "/model", code: "too_large", detail: error.description)
        }
        try check(needed, settings)
        let cost = CostModel(of: model.graph)
        var estimate = estimate
        estimate["parameters"] = JSONValue(cost.parameters)
        estimate["macs_per_sample"] = JSONValue(cost.macsPerSample)
        estimate["peak_memory_bytes"] = JSONValue(needed)
        return ResolvedJob(
            type: type, name: settings.name, labels: settings.labels, priority: settings.priority,
            maxAttempts: settings.maxAttempts, spec: .object(spec), threads: settings.threads,
            memoryBytes: needed, dependencies: settings.dependencies, estimate: .object(estimate))
    }

    /// Bytes that the job will hold at once: the dataset, its batches, and the model's plans.
    private func memory(of request: EvaluateRequest) throws(PlanError) -> Int {
        let graph = request.model.graph
        let weights = CostModel(of: graph).parameterBytes
        guard weights <= budget.memoryBytes else { return weights }
        ThreadTeam.use(request.settings.threads)
        let engine: DNNEngine
        do throws(KernelError) { engine = try DNNEngine() } catch { throw .kernel(error) }
        var total = request.dataset.byteCount
        // What has been pruned may leave out zeros; of a model that is waited for nothing is known yet.
        let record = request.subject.record
        let isSparse = record == nil || record?.lineage["pruning"] != nil
        let sparse = isSparse ? Self.sparseWeights(of: graph) : [:]
        for batches in [[Evaluator.batchMax], EvaluateRequest.latencyBatches] {
            total = try Self.sum(total, try inference(graph, batches, sparse: sparse, on: engine))
        }
        let reading = Evaluator.reading(request.model)
        let inputs = request.dataset.layout(reading).byteCounts(capacity: 2 * reading.evaluationBatchSize)
        guard let inputs else { throw .tooLarge }
        return try Self.sum(total, inputs.input + inputs.target)
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
