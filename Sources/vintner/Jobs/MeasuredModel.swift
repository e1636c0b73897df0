import Data
import Files
import Graph
import Host
import JSON
import Jobs
import Plan
import Tensor
import Training

/// A stored model with what was measured of it, as reports have it.
struct MeasuredModel {
    /// The weight of a layer.
    struct Weight {
        let layer: String
        let shape: [Int]
        let nonzeros: Int
        /// What computes the layer, by batch size.
        let kernels: [Int: String]
        /// How its input is written; nil for floats.
        let input: ActivationScale?

        /// What computes the layer at the largest measured batch.
        var kernel: String? { kernels.max { $0.key < $1.key }?.value }
    }

    let stored: StoredModel
    let tally: ClassificationTally
    let latencies: [Int: LatencyMeasurement.Figures]
    let threads: Int
    let parameters: Int
    let nonzeroParameters: Int
    let macs: Int
    let fileBytes: Int
    /// Planned memory of an inference.
    let byteCount: Int
    let weights: [Weight]

    init(
        _ stored: StoredModel, _ model: InferenceModel, _ tally: ClassificationTally,
        _ latencies: [Int: LatencyMeasurement.Figures], threads: Int
    ) throws(TrainingError) {
        (self.stored, self.tally, self.latencies, self.threads) = (stored, tally, latencies, threads)
        let (program, graph) = (model.program, model.program.graph)
        let cost = CostModel(of: graph)
        (parameters, macs) = (cost.parameters, cost.macsPerSample)
        (fileBytes, byteCount) = (Folder.status(of: stored.path)?.byteCount ?? 0, model.byteCount)
        let bytes = try stored.quantizedModel()?.layers ?? [:]
        var nonzeros: [Graph.ParameterID: Int] = [:]
        for id in graph.parameterIDs where graph[id].role.isLearned {
            do { nonzeros[id] = try program.read(id).reduce(0) { $0 + ($1 == 0 ? 0 : 1) } } catch {
                throw .plan(error)
            }
        }
        for (id, layer) in bytes {
            if let weight = graph.quantizableWeight(of: id) {
                nonzeros[weight] = layer.weights.count { $0 != 0 }
            }
            if let bias = graph.parameter(.bias, of: graph[id]) {
                nonzeros[bias] = layer.bias.count { $0 != 0 }
            }
        }
        nonzeroParameters = nonzeros.values.reduce(0, +)
        let calls = latencies.keys.map { ($0, model.layerCalls(batch: $0)) }
        weights = graph.nodeIDs.compactMap { id in
            let node = graph[id]
            guard let weight = graph.parameter(.weight, of: node) else { return nil }
            return Weight(
                layer: node.name, shape: graph[weight].shape.dimensions, nonzeros: nonzeros[weight] ?? 0,
                kernels: Dictionary(
                    uniqueKeysWithValues: calls.compactMap { batch, calls in
                        calls[node.name].map { (batch, $0.kernel) }
                    }), input: bytes[id]?.input)
        }
    }

    /// The block; joules are those that the energy model gives for the largest measured batch, with all
    /// threads busy.
    var block: JSONObject {
        var json: JSONObject = [
            "parameters": JSONValue(parameters), "nonzero_parameters": JSONValue(nonzeroParameters),
            "macs": JSONValue(macs), "file_bytes": JSONValue(fileBytes),
            "latency_ms": .object(JSONObject(latencies: latencies)), "threads": JSONValue(threads),
            "peak_memory_bytes": JSONValue(byteCount), "test_accuracy": .number(tally.accuracy),
        ]
        if let (batch, figures) = latencies.max(by: { $0.key < $1.key }) {
            let seconds = figures.median / Double(batch) * 1000
            let joules = EnergyModel(threads: threads)
                .joules(busySeconds: Double(threads) * seconds, seconds: seconds)
            json["joules_per_1000"] = .number(joules)
            json["joules_method"] = "model"
        }
        return json
    }
}

extension JobRunner {
    /// How long a model that was just stored takes to answer, by batch size, as reports have it.
    func latency(of path: String) throws(JobFailure) -> JSONValue {
        let figures = try translate { () throws(TrainingError) in
            let model = try InferenceModel(StoredModel(folder.absolute(path)), batches: [1])
            return try LatencyMeasurement.glance(at: model) { time.monotonicNanoseconds() }
        }
        return figures.map { .object(JSONObject(latencies: [1: $0])) } ?? .null
    }

    /// What is shown of a model besides its sizes, and the report of its job.
    static func metrics(
        _ test: EvaluationResult, _ latency: JSONValue, threads: Int, _ report: JSONObject
    ) -> JSONValue {
        [
            "test_accuracy": .number(test.accuracy), "test_loss": .number(test.loss),
            "latency_ms": latency, "threads": JSONValue(threads), ModelRecord.reportKey: .object(report),
        ]
    }

    /// Measures models on the test split, and how long they take to answer: they take turns.
    ///
    /// - Returns: nil when the run has to stop before.
    func measure(
        _ subjects: [StoredModel], on dataset: Dataset, _ run: JobRun
    ) throws(TrainingError) -> [MeasuredModel]? {
        try measure(
            subjects, on: dataset, threads: run.threads, isStopped: { run.stopReason != nil })
    }

    /// The same for a job that trains nothing; nil once `isStopped` says so.
    func measure(
        _ subjects: [StoredModel], on dataset: Dataset, threads: Int, isStopped: () -> Bool
    ) throws(TrainingError) -> [MeasuredModel]? {
        var models: [InferenceModel] = []
        for subject in subjects {
            models.append(try InferenceModel(subject, batches: EvaluateRequest.latencyBatches))
        }
        let latencies = try LatencyMeasurement.measure(
            models, batches: EvaluateRequest.latencyBatches, now: { time.monotonicNanoseconds() },
            isStopped: isStopped)
        guard let latencies else { return nil }
        var measured: [MeasuredModel] = []
        for (index, subject) in subjects.enumerated() {
            let evaluator = try Evaluator(subject, on: dataset, split: .test)
            guard let tally = try evaluator.run(isStopped: { _ in isStopped() }) else { return nil }
            measured.append(
                try MeasuredModel(subject, models[index], tally, latencies[index], threads: threads))
        }
        return measured
    }
}
