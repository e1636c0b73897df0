import Compression
import Data
import Graph
import JSON
import Jobs
import Kernels
import Plan
import Tensor
import Training

extension SpecResolver {
    /// Checks and plans a quantize job.
    func resolveQuantization(_ body: JSONValue) throws(InvalidInput) -> ResolvedJob {
        let request = try QuantizeRequest.read(
            body, catalogue: catalogue, lookup: ModelLookup(models: models, jobs: jobs), cores: budget.threads
        )
        let layers = request.layers.map { JSONValue.string(request.model.graph[$0].name) }
        return try resolved(
            .quantize, request.settings, request.resolved, request.model, ["layers": .array(layers)]
        ) { () throws(PlanError) in try memory(of: request) }
    }

    /// Bytes that the job will hold at once.
    ///
    /// While ranges are found, every value that is looked at lies beside the others. Then the models before
    /// and behind are measured side by side: the one in bytes takes no more than the other, with a copy as
    /// codes of what it reads as floats. Codes are there twice, packed and as they are stored.
    private func memory(of request: QuantizeRequest) throws(PlanError) -> Int {
        let graph = request.model.graph
        let weights = CostModel(of: graph).parameterBytes
        guard weights <= budget.memoryBytes else { return weights }
        ThreadTeam.use(request.settings.threads)
        let engine: DNNEngine
        do throws(KernelError) { engine = try DNNEngine() } catch { throw .kernel(error) }
        let samples = min(request.options.calibrationSamples, request.dataset.trainCount)
        let calibration = try inference(
            graph, Quantizer.batchSizes(samples: samples), on: engine,
            Quantizer.lowering(request.layers, of: graph))
        var measuring = weights
        for batches in [EvaluateRequest.latencyBatches, [Evaluator.batchMax]] {
            let whole = try inference(graph, batches, on: engine)
            for _ in 0..<2 { measuring = try Self.sum(measuring, whole) }
        }
        let reading = Evaluator.reading(request.model)
        let inputs = request.dataset.layout(reading).byteCounts(capacity: 2 * reading.evaluationBatchSize)
        guard let inputs else { throw .tooLarge }
        let beside = try Self.sum(request.dataset.byteCount, try Self.sum(inputs.input, inputs.target))
        return try Self.sum(beside, max(calibration, measuring))
    }
}
