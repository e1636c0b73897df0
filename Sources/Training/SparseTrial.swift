internal import Formats
internal import Graph
public import Kernels
internal import Plan
internal import Tensor

/// Measures which layers of a pruned model are faster without the zeros of their weights.
public enum SparseTrial {
    /// The part of its weights beyond which a layer is not tried: no layer has been faster there.
    public static let densityMax = 0.5
    /// The part of the dense time that a layer may take at most to count as faster.
    public static let fasterRatio = 0.95
    /// Blocks are tried where they keep at most so many weights for each one that is not zero.
    private static let fillMax = 2

    /// What takes more memory than any layout that is tried of so many weights: blocks, filled as badly as
    /// may be.
    public static func largestLayout(of count: Int) -> SparseLayout {
        let kept = (densityMax * Double(fillMax) * Double(count)).rounded(.up)
        return SparseLayout(.block, columnCount: (Int(kept) + 3) / 4)
    }

    /// A layer, a batch size and a format, as measured.
    public struct Finding: Sendable, Equatable {
        public let layer: String
        public let batch: Int
        public let format: SparseLayout.Format
        /// Medians in seconds.
        public let dense, sparse: Double

        /// Whether the layer is faster so.
        public var isFaster: Bool { sparse <= SparseTrial.fasterRatio * dense }
    }

    /// Times the layers that are sparse enough, in plans of the whole model that take turns: each with all
    /// weights, and in one or two formats without zeros.
    ///
    /// - Parameters:
    ///   - stored: A model whose masks hold weights at zero; another has nothing to try.
    ///   - batches: Sizes, one after the other, on the calling thread's team.
    ///   - now: A monotonic clock in nanoseconds.
    ///   - isStopped: Asked between runs.
    /// - Returns: What was found; nil once `isStopped` says so.
    /// - Throws: `TrainingError` as loading and running a model do.
    public static func run(
        _ stored: StoredModel, batches: [Int], now: () -> UInt64, isStopped: () -> Bool = { false }
    ) throws(TrainingError) -> [Finding]? {
        let choices = stored.isMasked ? try candidates(stored, batches) : []
        guard !choices.isEmpty else { return [] }
        var models = [try InferenceModel(stored, batches: batches, sparse: SparseLayers())]
        for choice in choices {
            models.append(try InferenceModel(stored, batches: batches, sparse: choice.layers))
        }
        var findings: [Finding] = []
        for batch in batches {
            guard let times = try layerTimes(of: models, batch: batch, now: now, isStopped: isStopped) else {
                return nil
            }
            for (index, choice) in choices.enumerated() {
                let (kernels, found) = (models[index + 1].layerCalls(batch: batch), times[index + 1])
                for layer in choice.layers.formats.keys.sorted() {
                    guard kernels[layer]?.kernel.hasPrefix("ck_sparse") == true,
                        let dense = times[0][layer], let sparse = found[layer]
                    else { continue }
                    findings.append(
                        Finding(
                            layer: layer, batch: batch, format: choice.format, dense: dense, sparse: sparse))
                }
            }
        }
        return findings
    }

    /// The fastest format of each layer and size, where one is faster than all weights are.
    public static func choose(from findings: [Finding]) -> SparseLayers {
        var layers = SparseLayers()
        for finding in findings.sorted(by: { $0.sparse > $1.sparse }) where finding.isFaster {
            layers[finding.layer, finding.batch] = finding.format
        }
        return layers
    }

    /// Formats, and the layers that are tried in each.
    private static func candidates(
        _ stored: StoredModel, _ batches: [Int]
    ) throws(TrainingError) -> [(format: SparseLayout.Format, layers: SparseLayers)] {
        let reader = try formatting { () throws(FormatError) in try SafetensorsReader(stored.path) }
        let graph = stored.model.graph
        var found = [SparseLayout.Format.csr: SparseLayers(), .block: SparseLayers()]
        for node in graph.nodes {
            guard let id = graph.parameter(.weight, of: node) else { continue }
            let shape = graph[id].shape.dimensions
            let values = try formatting { () throws(FormatError) in
                try reader.floats(graph[id].name, shape: shape)
            }
            let count = SparseLayout(.csr, of: values, outputs: shape.first ?? 1).weightCount
            guard Double(count) <= densityMax * Double(values.count) else { continue }
            let blocks = SparseLayout(.block, of: values, outputs: shape.first ?? 1).weightCount
            for batch in batches {
                found[.csr]?[node.name, batch] = .csr
                if blocks <= fillMax * count { found[.block]?[node.name, batch] = .block }
            }
        }
        return SparseLayout.Format.allCases.compactMap { format in
            found[format].flatMap { $0.isEmpty ? nil : (format, $0) }
        }
    }

    /// Times the layers of models that take turns.
    ///
    /// - Parameters:
    ///   - models: Compiled for the batch size.
    ///   - batch: Samples of a run.
    ///   - now: A monotonic clock in nanoseconds.
    ///   - isStopped: Asked between runs.
    /// - Returns: For each model the median time of each layer with weights, in seconds; nil once `isStopped`
    ///   says so.
    /// - Throws: `TrainingError.plan` when a call fails.
    public static func layerTimes(
        of models: [InferenceModel], batch: Int, now: () -> UInt64, isStopped: () -> Bool = { false }
    ) throws(TrainingError) -> [[String: Double]]? {
        let calls = models.map { $0.layerCalls(batch: batch) }
        var seconds = calls.map { $0.mapValues { _ in [Double]() } }
        for model in models { model.placeRandom(batch: batch, seed: 0) }
        let began = now()
        for run in 0..<LatencyMeasurement.warmUp + LatencyMeasurement.runs {
            for (index, model) in models.enumerated() {
                if isStopped() { return nil }
                let spent = try model.repeatRun(batch: batch, now: now)
                guard run >= LatencyMeasurement.warmUp else { continue }
                for (layer, call) in calls[index] {
                    seconds[index][layer]?.append(Double(spent[call.step]) * 1e-9)
                }
            }
            let isEnough = run + 1 >= LatencyMeasurement.warmUp + LatencyMeasurement.runsMin
            if isEnough, Double(now() - began) * 1e-9 > LatencyMeasurement.secondsMax { break }
        }
        return seconds.map { $0.compactMapValues { LatencyMeasurement.Figures(seconds: $0)?.median } }
    }
}
