import Data
import Files
import Formats
import Foundation
import Graph
import JSON
import Plan
import Tensor
import Training

/// A small dataset in a folder that disappears with it.
final class Toy {
    let path: String
    let dataset: Dataset

    /// Images of 6x5 whose class shows as a brighter pattern, with noise.
    init(train: Int = 23, test: Int = 9, classes: Int = 3) throws {
        path = NSTemporaryDirectory() + "vintner-training-" + UUID().uuidString
        let source = "\(path)/source"
        try Folder.make(source)
        for (prefix, count, seed) in [("train", train, 1), ("t10k", test, 2)] {
            var random = CounterRandom(seed: UInt64(seed), purpose: .test)
            let labels = (0..<count).map { UInt8($0 * 7 % classes) }
            let images = labels.flatMap { label in
                (0..<30).map { UInt8(random.below(90)) + ($0 % classes == Int(label) ? 120 : 0) }
            }
            try Self.write([count, 6, 5], images, to: "\(source)/\(prefix)-images-idx3-ubyte")
            try Self.write([count], labels, to: "\(source)/\(prefix)-labels-idx1-ubyte")
        }
        let catalogue = DatasetCatalogue(folder: "\(path)/datasets", systemFolder: "\(path)/none")
        _ = try catalogue.add("toy", from: source, as: .idx(), id: "dst_toy", now: 0)
        dataset = try catalogue.load("toy")
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    private static func write(_ extents: [Int], _ content: [UInt8], to path: String) throws {
        var bytes: [UInt8] = [0, 0, 8, UInt8(extents.count)]
        for extent in extents { bytes += [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: extent >> $0) } }
        try Foundation.Data(bytes + content).write(to: URL(fileURLWithPath: path))
    }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    /// Everything that a run may consist of: normalisation, dropout, pooling.
    func model(classes: Int = 3) throws -> ModelSpec {
        var conv = LayerKind.Conv2d(outChannels: 4, kernelSize: Pair(3, 3))
        conv.padding = Pair(1, 1)
        let kinds: [LayerKind] = [
            .conv2d(conv), .batchNorm(.init()), .relu, .maxPool2d(.init(kernelSize: Pair(2, 2))), .flatten,
            .dropout(0.3), .linear(.init(outFeatures: 7)), .relu, .dropout(0.2),
            .linear(.init(outFeatures: classes)),
        ]
        let layers = kinds.enumerated().map { LayerSpec($1, name: "layer\($0)") }
        return try ModelSpec(input: Shape([1, 6, 5]), layers: layers)
    }

    /// Three epochs of four steps, the last of them short.
    static var options: TrainOptions {
        var options = TrainOptions()
        (options.epochs, options.batchSize, options.learningRate) = (3, 5, 0.05)
        options.loss = .crossEntropy(labelSmoothing: 0.1)
        options.optimizer = .sgd(momentum: 0.9, nesterov: true, weightDecay: 1e-3)
        (options.schedule, options.warmupSteps) = (.cosine, 2)
        options.validationFraction = 0.2
        options.augmentation = Augmentation(cropPadding: 1, flipsHorizontally: true)
        return options
    }

    func trainer(
        _ options: TrainOptions = options, seed: UInt64 = 1, model: ModelSpec? = nil,
        start: StoredWeights? = nil
    ) throws -> Trainer {
        try Trainer(
            TrainingTask(
                model: model ?? self.model(), options: options, dataset: dataset, seed: seed, start: start))
    }
}

/// Follows runs, stores their checkpoints and can stop them.
final class Follower: TrainingObserver {
    private let folder: String
    /// Stops when asked for a reason this many times.
    var stopsAtPoll: Int?
    var reason = StopReason.pause
    private(set) var polls = 0
    private(set) var steps: [StepReport] = []
    private(set) var epochs: [EpochReport] = []
    private(set) var lastReceipt: AtomicFile.Receipt?
    private(set) var checkpoints = 0
    var isCheckpointDue = false

    init(in folder: String) { self.folder = folder }

    convenience init(_ toy: Toy) { self.init(in: toy.path) }

    var last: String { "\(folder)/last.safetensors" }
    var best: String { "\(folder)/best.safetensors" }

    /// Stops at the first poll behind a change of the masks.
    var stopsAtPruning = false
    private(set) var prunings: [PruneReport] = []

    var stopReason: StopReason? {
        polls += 1
        if stopsAtPruning, !prunings.isEmpty { return reason }
        guard let stopsAtPoll, polls >= stopsAtPoll else { return nil }
        return reason
    }

    func restart(stoppingAt poll: Int?) { (polls, stopsAtPoll) = (0, poll) }

    private(set) var finding: LearningRateReport?

    func didFindLearningRate(_ report: LearningRateReport) { finding = report }
    func didPrune(_ report: PruneReport) { prunings.append(report) }
    func didStep(_ report: StepReport) { steps.append(report) }
    func willEvaluate(step: Int) {}

    func didFinishEpoch(_ report: EpochReport) { epochs.append(report) }

    func storeCheckpoint(of trainer: Trainer, isBest: Bool) throws(TrainingError) {
        let receipt = try trainer.save(to: isBest ? best : last)
        checkpoints += 1
        if !isBest { lastReceipt = receipt }
    }
}
