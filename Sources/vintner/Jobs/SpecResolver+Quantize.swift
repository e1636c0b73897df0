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
        let request = try QuantizeRequest.read(body, catalogue: catalogue, lookup: lookup, cores: cores)
        let layers = request.layers.map { JSONValue.string(request.model.graph[$0].name) }
        return try resolved(.quantize, request.common, ["layers": .array(layers)]) {
            engine throws(PlanError) in try memory(of: request, on: engine)
        }
    }

    /// Bytes that the job will hold at once, besides its samples.
    ///
    /// While ranges are found, every value that is looked at lies beside the others. Then the models before
    /// and behind are measured side by side: the one in bytes takes no more than the other, with a copy as
    /// codes of what it reads as floats. Codes are there twice, packed and as they are stored.
    private func memory(of request: QuantizeRequest, on engine: DNNEngine) throws(PlanError) -> Int {
        let graph = request.model.graph
        let samples = min(request.options.calibrationSamples, request.dataset.trainCount)
        let calibration = try inference(
            graph, Quantizer.batchSizes(samples: samples), on: engine,
            Quantizer.lowering(request.layers, of: graph))
        return max(calibration, try measuringBytes(of: graph, on: engine))
    }

    /// Bytes of a model and the same in bytes while they are measured side by side.
    private func measuringBytes(of graph: Graph, on engine: DNNEngine) throws(PlanError) -> Int {
        var measuring = CostModel(of: graph).parameterBytes
        for batches in [EvaluateRequest.latencyBatches, [Evaluator.batchMax]] {
            let whole = try inference(graph, batches, on: engine)
            for _ in 0..<2 { measuring = try Self.sum(measuring, whole) }
        }
        return measuring
    }

    /// Bytes that a job holds which trains for layers in bytes.
    ///
    /// Beside its training its weights are read, and written as codes; what is measured comes when that has
    /// been let go.
    func quantizing(
        _ request: JobRequest, training: Int, on engine: DNNEngine
    ) throws(PlanError) -> Int {
        guard request.bytes != nil else { return training }
        let graph = request.model.graph
        let weights = CostModel(of: graph).parameterBytes
        return max(
            try Self.sum(training, try Self.sum(weights, weights)), try measuringBytes(of: graph, on: engine))
    }
}
