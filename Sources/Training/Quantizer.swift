public import Compression
public import Data
internal import Formats
public import Graph
internal import Kernels
public import Plan
internal import Tensor

/// Quantises stored models after their training: finds the range of what each layer reads, from samples, and
/// writes weights as codes (Jacob et al., 2018; Krishnamoorthi, 2018).
public struct Quantizer {
    /// Samples of a batch whose bounds are averaged.
    public static let batchSize = 32
    private let stored: StoredModel
    private let layers: [Graph.NodeID]
    private let options: QuantizeOptions
    private let feed: BatchFeed
    private let model: InferenceModel
    private let flow: ByteFlow
    /// The greatest code of an activation.
    public let codeMax: UInt8

    /// Whether the processor multiplies bytes without losing sums on the way.
    public static var supportsAllCodes: Bool { DNNEngine.supports(.uint8) == .native }

    /// Whether the processor multiplies bytes at all, other than by plain loops.
    public static var isSupported: Bool { DNNEngine.supports(.uint8) != .none }

    /// The layers of a graph that can become bytes.
    public static func candidates(of graph: Graph) -> [Graph.NodeID] {
        graph.nodeIDs.filter { graph.quantizableWeight(of: $0) != nil }
    }

    /// Loads a model and the samples.
    ///
    /// - Parameters:
    ///   - stored: A model in float32.
    ///   - layers: What becomes bytes, of its `candidates`.
    ///   - dataset: The training samples.
    ///   - options: How.
    ///   - seed: Which samples are drawn.
    /// - Throws: `TrainingError.misfit` where model and dataset do not go together; what loading throws.
    public init(
        _ stored: StoredModel, layers: [Graph.NodeID], on dataset: Dataset, _ options: QuantizeOptions,
        seed: UInt64
    ) throws(TrainingError) {
        try stored.check(fits: dataset.info, vocabulary: dataset.vocabulary, asks: .sameClasses)
        guard !stored.isQuantized else { throw .misfit(reason: "the model is quantized already") }
        var reading = Self.reading(stored.model)
        (reading.normalization, reading.seed) = (stored.normalization, seed)
        do { try dataset.info.check(reading) } catch { throw .data(error) }
        guard let feed = dataset.drawnFeed(of: .train, count: options.calibrationSamples, reading) else {
            throw .misfit(reason: "the dataset has no training split")
        }
        let sizes = Self.batchSizes(samples: feed.batcher.indices.count)
        guard !sizes.isEmpty else { throw .misfit(reason: "the dataset's training split is empty") }
        let graph = stored.model.graph
        (self.stored, self.layers, self.options, self.feed) = (stored, layers, options, feed)
        flow = ByteFlow(graph)
        model = try InferenceModel(stored, batches: sizes, options: Self.lowering(layers, of: graph))
        codeMax = Self.codeMax(options)
    }

    /// The greatest code of an activation, as asked for or as the processor likes it.
    static func codeMax(_ options: QuantizeOptions) -> UInt8 {
        options.reducesRange ?? !supportsAllCodes ? 127 : 255
    }

    /// How samples are read.
    public static func reading(_ model: ModelSpec) -> ReadingOptions {
        ReadingOptions(
            batchSize: batchSize, evaluationBatchSize: batchSize,
            context: model.input.dimensions.first ?? 1)
    }

    /// The batch sizes that occur.
    public static func batchSizes(samples: Int) -> [Int] {
        Array(Set([min(samples, batchSize), samples % batchSize])).filter { $0 > 0 }.sorted()
    }

    /// A plan whose layers' inputs can be read: each in float32, on its own.
    public static func lowering(_ layers: [Graph.NodeID], of graph: Graph) -> LoweringOptions {
        let flow = ByteFlow(graph)
        var options = LoweringOptions()
        options.fuses = false
        options.kept = Set(layers.map { flow.owner(of: graph[$0].inputs[0]) })
        return options
    }

    /// Bytes that stay in use, besides the dataset.
    public var byteCount: Int { model.byteCount }

    /// Runs the samples and quantises the layers.
    ///
    /// - Parameter isStopped: Asked between batches, with the part that is done.
    /// - Returns: nil once it says so.
    /// - Throws: `TrainingError.misfit` where an activation or a weight is not finite.
    public func run(
        isStopped: (_ fraction: Double) -> Bool = { _ in false }
    ) throws(TrainingError) -> QuantizedWeights? {
        let graph = model.program.graph
        let owners = Set(layers.map { flow.owner(of: graph[$0].inputs[0]) })
        var observers = Dictionary(uniqueKeysWithValues: owners.map { ($0, RangeObserver(options.rule)) })
        let passes = options.rule.needsHistogram ? 2 : 1
        for pass in 0..<passes {
            let isComplete = try forEachBatch(
                isStopped: { isStopped((Double(pass) + $0) / Double(passes)) }
            ) { plan throws(TrainingError) in
                for owner in owners {
                    guard let place = plan.place(of: owner) else { continue }
                    let isFirst = pass == 0
                    let isFinite = Self.observe(
                        place, isFirst: isFirst, &observers[owner, default: .init(options.rule)])
                    guard isFinite else {
                        throw .misfit(reason: "an activation of the model is not finite")
                    }
                }
            }
            if !isComplete { return nil }
        }
        var quantized: [Graph.NodeID: QuantizedLayer] = [:]
        for id in layers {
            let owner = flow.owner(of: graph[id].inputs[0])
            let range = observers[owner]?.range ?? (0, 0)
            let scale = ActivationScale(
                low: range.low, high: range.high, isSymmetric: options.isSymmetric, codeMax: codeMax)
            guard let scale else {
                throw .misfit(
                    reason: "\(graph[id].name) reads values from \(range.low) to \(range.high), "
                        + "which no scale covers")
            }
            quantized[id] = try quantize(id, reading: scale)
        }
        let found = quantized
        let checked = try planning { () throws(PlanError) in try QuantizedModel(found, of: graph) }
        return try QuantizedWeights(stored, checked) { id throws(TrainingError) in try values(id) }
    }

    /// Takes note of what one value was in a batch; false where it is not finite.
    private static func observe(
        _ place: Place, isFirst: Bool, _ observer: inout RangeObserver
    ) -> Bool {
        if isFirst {
            let range = Quantization.range(of: place.slot, in: place.arena)
            observer.add(low: range.low, high: range.high)
            return range.low.isFinite && range.high.isFinite
        }
        guard let (low, high) = observer.extremes, low < high else { return true }
        if observer.histogram.isEmpty {
            observer.histogram = [UInt64](repeating: 0, count: RangeObserver.binCount)
        }
        Quantization.count(place.slot, in: place.arena, from: low, to: high, into: &observer.histogram)
        return true
    }

    private func forEachBatch(
        isStopped: (Double) -> Bool, _ body: (ExecutionPlan) throws(TrainingError) -> Void
    ) throws(TrainingError) -> Bool {
        let prefetcher: Prefetcher
        do { prefetcher = try feed.prefetcher(epochs: 1) } catch { throw .data(error) }
        var done = 0
        while let batch = prefetcher.next() {
            if isStopped(Double(done) / Double(max(feed.batcher.indices.count, 1))) { return false }
            try body(try model.run(batch))
            done += batch.count
        }
        return true
    }

    private func values(_ id: Graph.ParameterID) throws(TrainingError) -> [Float] {
        try planning { () throws(PlanError) in try model.program.read(id) }
    }

    /// The codes of a layer, the normalisation behind it included.
    private func quantize(
        _ id: Graph.NodeID, reading input: ActivationScale
    ) throws(TrainingError) -> QuantizedLayer {
        let graph = model.program.graph
        let node = graph[id]
        guard let weight = graph.quantizableWeight(of: id) else {
            throw .misfit(reason: "\(node.name) cannot be computed in bytes")
        }
        var parts = try LayerParts(id, weight, of: graph, values: values)
        let norm = options.foldsNorms ? graph.foldableNorm(behind: id) : nil
        if let norm { try parts.fold(graph[norm], of: graph, values: values) }
        return try parts.layer(reading: input, options, foldsNorm: norm != nil)
    }
}
