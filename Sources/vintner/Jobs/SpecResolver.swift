import Data
import Graph
import Host
import JSON
import Jobs
import Kernels
import Plan
import Tensor
import Training

/// Turns request bodies into work: checks them, plans them, and refuses what can never fit.
struct SpecResolver: JobSpecResolver {
    let catalogue: DatasetCatalogue
    let budget: Budget
    let limits: MachineLimits
    /// The models that jobs can start from.
    var models: (any ModelSource)?
    /// The jobs whose models others can start from.
    var jobs: (any JobSource)?
    /// What lately resolved trainings take.
    private let needs = PlannedNeeds()

    init(
        catalogue: DatasetCatalogue, budget: Budget, limits: MachineLimits,
        models: (any ModelSource)? = nil, jobs: (any JobSource)? = nil
    ) {
        (self.catalogue, self.budget, self.limits) = (catalogue, budget, limits)
        (self.models, self.jobs) = (models, jobs)
    }

    /// Where the models lie that bodies name.
    var lookup: ModelLookup { ModelLookup(models: models, jobs: jobs) }

    /// The most threads that a job may ask for.
    var cores: Int { budget.threads }

    func resolve(_ body: JSONValue) throws(InvalidInput) -> ResolvedJob {
        switch body["type"]?.stringValue.flatMap(JobFields.Kind.init) {
        case .evaluate: try resolveEvaluation(body)
        case .quantize where !ByteTrainingRequest.isAsked(body): try resolveQuantization(body)
        case .train, .prune, .distill, .quantize, nil: try resolveTraining(body)
        }
    }

    private func resolveTraining(_ body: JSONValue) throws(InvalidInput) -> ResolvedJob {
        var request = try JobRequest.read(
            body, catalogue: catalogue, models: models, jobs: jobs, cores: cores)
        let limit = min(request.limits.memoryBytes ?? .max, budget.memoryBytes)
        var (needed, plans) = try fit(&request, limit)
        while request.choosesBatchSize, needed > limit, request.options.batchSize > 1 {
            request.options.batchSize /= 2
            request.options.cutBatch(for: request.trainedGraphs)
            (needed, plans) = try fit(&request, limit)
        }
        try check(needed, request)
        let kept = DiskNeeds.byteCount(of: request)
        try checkDisk(kept, request.settings)
        var spec = request.resolved
        spec["train"] = with(spec["train"], "batch_size", JSONValue(request.options.batchSize))
        if request.options.choosesMicroBatch || request.options.microBatchSize != nil {
            spec["train"] = with(
                spec["train"], "micro_batch_size", JSONValue(request.options.largestPart))
        }
        spec["train"] = with(
            spec["train"], "checkpoint_segments", JSONValue(request.options.checkpointSegments))
        let cost = CostModel(of: request.model.graph)
        let prediction = prediction(of: request, plans)
        var estimate: JSONObject = [
            "parameters": JSONValue(cost.parameters), "macs_per_sample": JSONValue(cost.macsPerSample),
            "peak_memory_bytes": JSONValue(needed), "disk_bytes": JSONValue(kept),
            "batch_size": JSONValue(request.options.batchSize),
            "micro_batch_size": JSONValue(request.options.largestPart),
            "checkpoint_segments": JSONValue(request.options.checkpointSegments),
            "precision_support": .string(
                DNNEngine.supports(request.options.precision.element).rawValue),
            "seconds": JSONValue(prediction?.seconds), "joules": JSONValue(prediction?.joules),
            "method": prediction == nil ? nil : .string(Self.method),
        ]
        if let means = DNNEngine.emulation(of: request.options.precision.element) {
            estimate["precision_emulation"] = .string(means)
        }
        if request.options.adapters != nil {
            let trained = request.graph.parameters.filter(\.isTrained)
            estimate["trained_parameters"] = JSONValue(trained.reduce(0) { $0 + $1.shape.elementCount })
        }
        if let bytes = request.bytes {
            estimate["layers"] = .array(bytes.layers.map { .string(request.model.graph[$0].name) })
        }
        var job = ResolvedJob(
            type: request.type, name: request.name, labels: request.labels,
            priority: request.priority,
            maxAttempts: request.maxAttempts, spec: .object(spec), threads: request.threads,
            memoryBytes: needed, dependencies: request.dependencies,
            estimate: .object(estimate))
        (job.dataset, job.models) = (request.dataset.id, request.settings.models)
        return job
    }

    /// Bytes that the job will hold, with the largest parts of its batches and the fewest repeated parts of
    /// its forward pass that a limit allows, where they are left to us; as if there were no limit where
    /// nothing helps.
    private func fit(
        _ request: inout JobRequest, _ limit: Int
    ) throws(InvalidInput) -> (Int, [PlanSummary]) {
        let (kept, whole) = (try memory(of: request), request.options)
        guard kept.0 > limit else { return kept }
        while request.options.cutBatchFurther(for: request.trainedGraphs) {
            let needed = try memory(of: request)
            if needed.0 <= limit { return needed }
        }
        guard request.options.choosesSegments else {
            request.options = whole
            return kept
        }
        for segments in [2, 3, 4, 6, 8, 12, 16, 24, 32] {
            request.options.checkpointSegments = segments
            let needed = try memory(of: request)
            if needed.0 <= limit { return needed }
        }
        request.options = whole
        return kept
    }

    func hasDataset(of job: ResolvedJob) -> Bool {
        guard let id = job.dataset, !DatasetCatalogue.isOfSystem(id), !catalogue.has(id) else { return true }
        // One whose folder somebody has given another name.
        return (try? catalogue.info(id)) != nil
    }

    var types: [JobType] { JobFields.Kind.allCases.map { JobType(rawValue: $0.rawValue) } }

    func schema(for type: JobType) -> JSONValue? {
        switch type {
        case .train: JobFields.jsonSchema(of: JobFields.schema)
        case .prune: JobFields.jsonSchema(of: JobFields.pruneSchema)
        case .distill: JobFields.jsonSchema(of: JobFields.distillSchema)
        case .evaluate: EvaluateRequest.schema.jsonSchema()
        case .quantize: QuantizeRequest.schema.jsonSchema()
        default: nil
        }
    }

    /// How seconds and joules are found.
    static let method = "model: the roofline of every training step; evaluations are not counted"

    /// The shortest time that training can take, and its energy; nil where that cannot be told.
    private func prediction(
        of request: JobRequest, _ plans: [PlanSummary]
    ) -> (seconds: Double, joules: Double)? {
        let element = request.options.precision.element
        guard !plans.isEmpty,
            let roof = try? limits.rooflineElsewhere(threads: request.threads, element)
        else { return nil }
        let steps = request.stepCount * request.trainings.count
        let seconds = Double(steps) * plans.reduce(0) { $0 + TimedPlan($1, under: roof).total }
        let busy = Double(request.threads) * seconds
        return (seconds, EnergyModel(threads: request.threads).joules(busySeconds: busy, seconds: seconds))
    }

    /// Bytes that the job will hold: its arena, what storing it takes, its batches, its decoded dataset, code
    /// that its first step brings in; and the plans of a training step, unless the weights alone are too
    /// large.
    ///
    /// The dataset is decoded before the arena is mapped: what that takes counts where it is more.
    private func memory(of request: JobRequest) throws(InvalidInput) -> (Int, [PlanSummary]) {
        try needs.of(request) { () throws(InvalidInput) in try planMemory(of: request) }
    }

    private func planMemory(of request: JobRequest) throws(InvalidInput) -> (Int, [PlanSummary]) {
        let options = TrainingTask.programOptions(
            request.dataset, request.model, request.options, distillation: request.distill?.options,
            pruning: request.prune?.options, bytes: request.bytes, isMasked: request.origin != nil)
        let (arena, plans): (Int, [PlanSummary])
        do throws(PlanError) {
            (arena, plans) = try plan(request, options)
        } catch {
            throw InvalidInput(pointer: "/model", code: error.code, detail: error.description)
        }
        let inputs = TrainingTask.inputByteCount(request.dataset, request.model, request.options)
        let (sum, overflow) = arena.addingReportingOverflow(inputs ?? .max)
        let (total, overflowed) = max(sum, try decodingByteCount(request)).addingReportingOverflow(
            request.dataset.byteCount)
        guard !overflow, !overflowed else {
            throw InvalidInput(pointer: "/model", code: "too_large", detail: PlanError.tooLarge.description)
        }
        return (total, plans)
    }

    private func decodingByteCount(_ request: JobRequest) throws(InvalidInput) -> Int {
        do { return try catalogue.decodingByteCount(request.dataset.id) } catch {
            throw InvalidInput(
                pointer: "/dataset", code: "dataset_unusable", detail: catalogue.describe(error))
        }
    }

    private func plan(
        _ request: JobRequest, _ options: Program.Options
    ) throws(PlanError) -> (Int, [PlanSummary]) {
        // Weights beyond the budget need no plan to be refused, and a plan of them would take long.
        let weights = CostModel(of: request.graph).parameterBytes
        guard weights <= budget.memoryBytes else { return (weights, []) }
        ThreadTeam.use(request.threads)
        let engine: DNNEngine
        do throws(KernelError) { engine = try DNNEngine() } catch { throw .kernel(error) }
        let program = try Program(request.graph, options, on: engine)
        // A sweep over learning rates copies what it changes; storing a parameter copies that.
        let copies = request.options.findsLearningRate ? program.store.byteCount : 0
        let (sum, overflow) = program.byteCount.addingReportingOverflow(
            max(copies, program.conversionByteCount) + program.constantByteCount + program.codeByteCount)
        guard !overflow else { throw .tooLarge }
        let (beside, plans) =
            request.peer == nil
            ? (try teaching(request, on: engine), []) : try learning(request, on: engine)
        let total = try Self.sum(sum, beside)
        let needed = try pruning(request, training: total, program, on: engine)
        let compared = try distilling(request, training: needed, on: engine)
        let most = try sparsifying(request, training: compared, on: engine)
        return (
            try quantizing(request, training: most, on: engine),
            program.stepPlans(request.parts).map(\.overview) + plans
        )
    }

    /// Refuses what is beyond the limit that the job sets itself.
    func checkLimit(_ needed: Int, _ settings: JobSettings) throws(InvalidInput) {
        guard let most = settings.limits.memoryBytes, needed > most else { return }
        throw InvalidInput(
            pointer: "/limits/max_memory_bytes", code: "insufficient_memory",
            detail: "the job needs \(needed) bytes, its limit is \(most)")
    }

    /// Refuses what may come to lie on the disk where it is beyond the limit that the job sets itself.
    func checkDisk(_ kept: Int, _ settings: JobSettings) throws(InvalidInput) {
        guard let most = settings.limits.diskBytes, kept > most else { return }
        throw InvalidInput(
            pointer: "/limits/max_disk_bytes", code: "insufficient_disk",
            detail: "the job may keep \(kept) bytes on disk, its limit is \(most)")
    }

    private func check(_ needed: Int, _ request: JobRequest) throws(InvalidInput) {
        try checkLimit(needed, request.settings)
        guard needed > budget.memoryBytes else { return }
        let (dataset, overflow) = try decodingByteCount(request).addingReportingOverflow(
            request.dataset.byteCount)
        guard !overflow, dataset <= budget.memoryBytes else {
            throw InvalidInput(
                pointer: "/dataset", code: "insufficient_memory",
                detail:
                    "decoding the dataset may need \(overflow ? Int.max : dataset) bytes; "
                    + "the service may use \(budget.memoryBytes)")
        }
        // Is it the batch that is too large, or the model?
        var smallest = request
        smallest.options.batchSize = 1
        let least = try memory(of: smallest).0
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

extension PlanError {
    /// What a client is told of a model that cannot be planned.
    fileprivate var code: String {
        switch self {
        case .tooLarge, .noMemory: "too_large"
        case .kernel, .badQuantization: "unsupported"
        }
    }
}
