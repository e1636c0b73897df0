public import Compression
public import Data
public import Graph
public import JSON
public import Plan
internal import Tensor

/// Everything that decides what a training run computes, besides the machine.
public struct TrainingTask: Sendable {
    public let model: ModelSpec
    public let options: TrainOptions
    public let dataset: Dataset
    public let seed: UInt64
    /// Where the weights come from; nil draws them.
    public let start: StoredWeights?
    /// What pixels are normalised by, where that is not the dataset's own: what a stored model expects.
    public let normalization: PixelNormalization?
    /// Whom it learns from besides the labels; nil for nobody.
    public let distillation: Distillation?
    /// How it is pruned; nil for not at all.
    public let pruning: Pruning?
    /// Which layers it is trained to have in bytes; nil for none.
    public let bytes: ByteTraining?
    /// Set once channels of the task's own model have been removed: `model` is what is left of it.
    let shrunk: ShrunkModel?

    /// Samples of one evaluation batch: four training batches fill the cores, and take about as much memory
    /// as one that is trained on; never less than 16 nor more than 256.
    public static func evaluationBatch(_ options: TrainOptions) -> Int {
        max(16, min(256, options.largestPart * 4))
    }

    public init(
        model: ModelSpec, options: TrainOptions, dataset: Dataset, seed: UInt64,
        start: StoredWeights? = nil, normalization: PixelNormalization? = nil,
        distillation: Distillation? = nil, pruning: Pruning? = nil, bytes: ByteTraining? = nil
    ) {
        self.model = model
        self.options = options
        self.dataset = dataset
        self.seed = seed
        self.start = start
        self.normalization = normalization
        self.distillation = distillation
        self.pruning = pruning
        self.bytes = bytes
        shrunk = nil
    }

    /// The task for what is left of its model.
    init(_ task: TrainingTask, shrunk: ShrunkModel) {
        (model, options, dataset, seed) = (shrunk.model, task.options, task.dataset, task.seed)
        (start, normalization, distillation) = (task.start, task.normalization, task.distillation)
        (pruning, bytes, self.shrunk) = (task.pruning, nil, shrunk)
    }

    /// What has to be kept with the model to use it.
    public var modelDescription: JSONObject {
        var description = dataset.modelDescription
        if let normalization {
            description["mean"] = .array(normalization.mean.map { .number($0) })
            description["std"] = .array(normalization.standardDeviation.map { .number($0) })
        }
        return description
    }

    /// What is trained: the model's graph, with adapters where they are asked for.
    ///
    /// Throws where the adapters do not fit the model; `pointer` is where they are described.
    public static func graph(
        of model: ModelSpec, _ options: TrainOptions, at pointer: String = ""
    ) throws(InvalidInput) -> Graph {
        guard let adapters = options.adapters else { return model.graph }
        return try model.graph.adapted(by: adapters, at: pointer)
    }

    /// The same with the features that are compared with the teacher's, or with normalisations folded.
    var trainedGraph: Graph {
        get throws(TrainingError) {
            if let bytes { return bytes.folded.graph }
            let graph: Graph
            do throws(InvalidInput) { graph = try Self.graph(of: model, options) } catch {
                throw .badAdapters(reason: error.description)
            }
            guard let distillation, !distillation.options.features.isEmpty else { return graph }
            if pruning?.options.structure == .channel {
                throw .badFeatures(reason: "the student's channels are to be removed, which they count on")
            }
            do throws(InvalidInput) {
                return try distillation.options.comparing(
                    graph, with: distillation.teachers.map(\.stored.model.graph))
            } catch { throw .badFeatures(reason: error.violations.map(\.detail).joined(separator: "; ")) }
        }
    }

    /// Steps of an epoch.
    public var stepsPerEpoch: Int { dataset.info.stepCount(reading) }

    /// Steps of the whole run.
    public var steps: Int {
        pruneTimeline?.totalSteps ?? options.totalSteps(stepsPerEpoch: stepsPerEpoch)
    }

    /// What happens when in a run that prunes; nil for one that does not.
    var pruneTimeline: PruneTimeline? {
        pruning.map {
            $0.options.timeline(options, stepsPerEpoch: stepsPerEpoch, isStored: $0.isStored)
        }
    }

    /// How the run reads its dataset.
    var reading: ReadingOptions {
        var reading = Self.reading(model, options, seed: seed)
        reading.normalization = normalization
        return reading
    }

    /// How a model reads a dataset: sequences are as long as its input.
    public static func reading(
        _ model: ModelSpec, _ options: TrainOptions, seed: UInt64 = 0
    ) -> ReadingOptions {
        ReadingOptions(
            batchSize: options.batchSize, evaluationBatchSize: evaluationBatch(options),
            context: model.input.dimensions.first ?? 1, validationFraction: options.validationFraction,
            augmentation: options.augmentation, seed: seed)
    }

    /// What to compile for a dataset: the full batch and the short last one, for training and evaluation.
    ///
    /// A student of `distillation` is trained by its loss, and evaluated by its own.
    public static func programOptions(
        _ info: DatasetInfo, _ model: ModelSpec, _ options: TrainOptions,
        distillation: DistillOptions? = nil, pruning: PruneOptions? = nil, bytes: ByteTraining? = nil,
        isMasked: Bool = false
    ) -> Program.Options {
        let sizes = info.batchSizes(reading(model, options))
        // Only images are mixed.
        let isMixed = options.augmentation.mixesLabels && info.images != nil
        var planned = Program.Options(
            loss: isMixed ? options.loss.againstValues : options.loss, optimizer: options.plannedOptimizer,
            trainingBatches: sizes.training.flatMap { options.parts(of: $0) },
            evaluationBatches: sizes.evaluation, lowering: options.lowering)
        planned.optimizer.isMasked = isMasked || pruning != nil || bytes != nil
        planned.lowering.rounded = bytes?.rounded
        planned.optimizer.gathersScores = pruning?.criterion.isGathered ?? false
        planned.readsGradients = pruning?.criterion == .snip
        planned.evaluationLoss = options.loss.withoutSmoothing
        if let distillation {
            let smoothing =
                if case .crossEntropy(let smoothing) = options.loss { smoothing } else { Float(0) }
            planned.loss = .distillation(
                distillation.settings(
                    labelSmoothing: smoothing, teacherElement: options.precision.element),
                oneHot: !isMixed)
        }
        return planned
    }

    /// Bytes of the prefetcher's slots for training and for evaluation, of which two are alive at a time;
    /// `nil` when they cannot be counted.
    public static func inputByteCount(
        _ info: DatasetInfo, _ model: ModelSpec, _ options: TrainOptions
    ) -> Int? {
        let reading = reading(model, options)
        return info.layout(reading).byteCounts(
            capacity: 2 * (reading.batchSize + reading.evaluationBatchSize)
        ).map { $0.input + $0.target }
    }
}
