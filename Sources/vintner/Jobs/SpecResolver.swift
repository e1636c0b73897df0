import Data
import Graph
import JSON
import Jobs
import Kernels
import Plan
import Training

/// Turns request bodies into work: checks them, plans them, and refuses what can never fit.
struct SpecResolver: JobSpecResolver {
    let catalogue: DatasetCatalogue
    let budget: Budget
    /// The models that jobs can start from.
    var models: (any ModelRepository)?

    func resolve(_ body: JSONValue) throws(InvalidInput) -> ResolvedJob {
        var request = try JobRequest.read(
            body, catalogue: catalogue, models: models, cores: budget.threads)
        let limit = min(request.limits.memoryBytes ?? .max, budget.memoryBytes)
        var needed = try fit(&request, limit)
        while request.choosesBatchSize, needed > limit, request.options.batchSize > 1 {
            request.options.batchSize /= 2
            needed = try fit(&request, limit)
        }
        try check(needed, request)
        var spec = request.resolved
        spec["train"] = with(spec["train"], "batch_size", JSONValue(request.options.batchSize))
        spec["train"] = with(
            spec["train"], "checkpoint_segments", JSONValue(request.options.checkpointSegments))
        let cost = CostModel(of: request.model.graph)
        var estimate: JSONObject = [
            "parameters": JSONValue(cost.parameters), "macs_per_sample": JSONValue(cost.macsPerSample),
            "peak_memory_bytes": JSONValue(needed), "batch_size": JSONValue(request.options.batchSize),
            "micro_batch_size": JSONValue(request.options.largestPart),
            "checkpoint_segments": JSONValue(request.options.checkpointSegments),
        ]
        if request.options.adapters != nil {
            let trained = request.graph.parameters.filter(\.isTrained)
            estimate["trained_parameters"] = JSONValue(trained.reduce(0) { $0 + $1.shape.elementCount })
        }
        return ResolvedJob(
            type: .train, name: request.name, labels: request.labels, priority: request.priority,
            maxAttempts: request.maxAttempts, spec: .object(spec), threads: request.threads,
            memoryBytes: needed, dependencies: request.dependencies,
            estimate: .object(estimate))
    }

    /// Bytes that the job will hold, with the fewest repeated parts that a limit allows where their number is
    /// left to us; with none where nothing helps.
    private func fit(_ request: inout JobRequest, _ limit: Int) throws(InvalidInput) -> Int {
        let kept = try memory(of: request)
        guard request.options.choosesSegments, kept > limit else { return kept }
        for segments in [2, 3, 4, 6, 8, 12, 16, 24, 32] {
            request.options.checkpointSegments = segments
            let needed = try memory(of: request)
            if needed <= limit { return needed }
        }
        request.options.checkpointSegments = 1
        return kept
    }

    func schema(for type: JobType) -> JSONValue? { type == .train ? JobFields.jsonSchema : nil }

    /// Bytes that the job will hold: its arena, what storing it takes, its batches, its decoded dataset.
    private func memory(of request: JobRequest) throws(InvalidInput) -> Int {
        let options = TrainingTask.programOptions(request.dataset, request.model, request.options)
        let arena: Int
        do throws(PlanError) {
            arena = try plan(request, options)
        } catch {
            throw InvalidInput(pointer: "/model", code: "too_large", detail: error.description)
        }
        let inputs = TrainingTask.inputByteCount(request.dataset, request.model, request.options)
        let (sum, overflow) = arena.addingReportingOverflow(inputs ?? .max)
        let (total, overflowed) = sum.addingReportingOverflow(request.dataset.byteCount)
        guard !overflow, !overflowed else {
            throw InvalidInput(pointer: "/model", code: "too_large", detail: PlanError.tooLarge.description)
        }
        return total
    }

    private func plan(_ request: JobRequest, _ options: Program.Options) throws(PlanError) -> Int {
        // Weights beyond the budget need no plan to be refused, and a plan of them would take long.
        let weights = CostModel(of: request.graph).parameterBytes
        guard weights <= budget.memoryBytes else { return weights }
        ThreadTeam.use(request.threads)
        let engine: DNNEngine
        do throws(KernelError) { engine = try DNNEngine() } catch { throw .kernel(error) }
        let program = try Program(request.graph, options, on: engine)
        // A sweep over learning rates copies what it changes; storing a parameter copies that.
        let copies = request.options.findsLearningRate ? program.store.byteCount : 0
        let (sum, overflow) = program.byteCount.addingReportingOverflow(
            max(copies, program.conversionByteCount) + program.constantByteCount)
        guard !overflow else { throw .tooLarge }
        return sum
    }

    private func check(_ needed: Int, _ request: JobRequest) throws(InvalidInput) {
        if let most = request.limits.memoryBytes, needed > most {
            throw InvalidInput(
                pointer: "/limits/max_memory_bytes", code: "insufficient_memory",
                detail: "the job needs \(needed) bytes, its limit is \(most)")
        }
        guard needed > budget.memoryBytes else { return }
        // Is it the batch that is too large, or the model?
        var smallest = request
        smallest.options.batchSize = 1
        let least = try memory(of: smallest)
        throw InvalidInput(
            pointer: least > budget.memoryBytes ? "/model" : "/train/batch_size", code: "insufficient_memory",
            detail:
                "the job needs \(needed) bytes at batch size \(request.options.batchSize) and \(least) at 1; "
                + "the service may use \(budget.memoryBytes)")
    }

    private func with(_ value: JSONValue?, _ key: String, _ member: JSONValue) -> JSONValue {
        var object = value?.objectValue ?? [:]
        object[key] = member
        return .object(object)
    }
}
