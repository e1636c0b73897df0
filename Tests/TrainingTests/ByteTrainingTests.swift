import Compression
import Data
import Files
import Formats
import Graph
import JSON
import Kernels
import Plan
import Tensor
import Testing

@testable import Training

@Suite("A training for layers in bytes") struct ByteTrainingTests {
    /// A trained toy model, and what is trained further.
    private struct Subject {
        let toy: Toy
        let stored: StoredModel
        let start: StoredWeights
        var options = Toy.options
        var quantize = QuantizeOptions()

        /// Every other weight of a product is zero where `halved`.
        ///
        /// Every other feature behind it is `unlike` times as large, and what reads it as much smaller: the
        /// network computes the same.
        init(halved: Bool = false, unlike: Float = 1) throws {
            toy = try Toy(train: 120, test: 90)
            var options = Toy.options
            if unlike != 1 { (options.epochs, options.augmentation) = (30, .none) }
            let trainer = try Trainer(
                TrainingTask(model: toy.model(), options: options, dataset: toy.dataset, seed: 3))
            #expect(try trainer.run(Follower(in: toy.path)) == nil)
            let path = toy.file("float.safetensors")
            if halved {
                let graph = trainer.program.graph
                for id in graph.parameterIDs where graph[id].name == "layer6.weight" {
                    let values = try trainer.program.read(id).enumerated().map { $0 % 2 == 0 ? 0 : $1 }
                    try trainer.program.write(values, to: id)
                }
            }
            if unlike != 1 {
                let graph = trainer.program.graph
                for id in graph.parameterIDs where ["layer6", "layer9"].contains(graph[id].name.prefix(6)) {
                    let isFirst = graph[id].name.hasPrefix("layer6")
                    guard isFirst || graph[id].role == .weight else { continue }
                    let width = isFirst ? graph[id].shape.elementCount / 7 : 1
                    let values = try trainer.program.read(id).enumerated().map { index, value in
                        index / width % 7 % 2 == 0 ? value : isFirst ? value * unlike : value / unlike
                    }
                    try trainer.program.write(values, to: id)
                }
            }
            let receipt = try trainer.saveModel(to: path, description: trainer.task.modelDescription)
            (stored, start) = (
                try StoredModel(path), StoredWeights(path: path, sha256: receipt.sha256.hex)
            )
            quantize.training = QuantizeOptions.Training()
            quantize.rule = .movingAverage(constant: 0.1)
            (self.options.epochs, self.options.learningRate) = (2, 0.01)
        }

        func trainer() throws -> Trainer {
            let graph = stored.model.graph
            let layers = try quantize.layers(
                of: graph, among: Quantizer.candidates(of: graph), at: "/quantize")
            return try Trainer(
                TrainingTask(
                    model: stored.model, options: options, dataset: toy.dataset, seed: 5, start: start,
                    normalization: stored.normalization,
                    bytes: ByteTraining(quantize, layers: layers, of: graph)))
        }

        /// Trains to the end.
        func trained() throws -> Trainer {
            let trainer = try trainer()
            #expect(try trainer.run(Follower(toy)) == nil)
            return trainer
        }

        /// Stores what was trained, and loads it again.
        func stored(_ trainer: Trainer) throws -> StoredModel {
            let path = toy.file("bytes.safetensors")
            _ = try trainer.quantizedWeights(of: stored).save(to: path)
            return try StoredModel(path)
        }
    }

    /// Both sides read the same codes in front of the first layer.
    ///
    /// Then sums differ by the rounding of the bias to half a step of a sum, and by that of float32. Behind
    /// it a number may fall to the neighbouring code, which goes on through the weights of a row.
    @Test("ends in a model in bytes that computes the same but for rounding", arguments: [false, true])
    func computesTheSame(sharesScales: Bool) throws {
        var subject = try Subject()
        subject.quantize.granularity = sharesScales ? .perTensor : .perChannel
        let trainer = try subject.trained()
        let bytes = try #require(try subject.stored(trainer).quantizedModel())
        let feed = subject.toy.dataset.testFeed(trainer.task.reading)
        let prefetcher = try feed.prefetcher(epochs: 1)
        let layers = bytes.layers.sorted { $0.key.index < $1.key.index }.map(\.value)
        var bound = 0.0, last = 0.0
        for (index, layer) in layers.enumerated() {
            let width = layer.weights.count / layer.scales.count
            let rows = layer.scales.indices.map { row in
                let sum = layer.weights[row * width..<(row + 1) * width].reduce(0) { $0 + abs(Int($1)) }
                return Double(sum) * Double(layer.scales[row])
            }
            let step = Double(layer.input.scale) * Double(layer.scales.max() ?? 0)
            // Float32 sums of up to 45 terms below 255 steps of 127: 45 roundings of 2^-24 of the largest.
            last = step / 2 + 45 * 0x1p-24 * (rows.max() ?? 0) * Double(layer.input.scale) * 255
            let read = index == 0 ? 0 : bound + Double(layer.input.scale)
            bound = (rows.max() ?? 0) * read + last
        }
        var (errors, hits): ([Double], Int) = ([], 0)
        while let batch = prefetcher.next() {
            let plan = try #require(trainer.program.evaluationPlan(batch: batch.count))
            try plan.bindBatch(input: batch.inputSlot, target: batch.targetSlot, in: batch.arena)
            _ = try plan.run(StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1))
            let rounded = plan.output()
            let exact = try InferenceModel(subject.stored(trainer), batches: [batch.count]).run(batch)
                .output()
            errors += zip(rounded, exact).map { abs(Double($0) - Double($1)) }
            hits += rounded.count
        }
        #expect(hits == 270)
        let worst = errors.max() ?? .infinity
        #expect(worst <= bound, "\(worst), \(bound) allowed")
        let equal = errors.count { $0 <= last }
        #expect(2 * equal >= errors.count, "only \(equal) of \(errors.count) are equal")
        #expect(bound < 1, "a bound that allows anything")
    }

    @Test("starts from the weights that a quantization without training has, its normalisations folded")
    func startsFromFoldedWeights() throws {
        var subject = try Subject()
        subject.options.learningRate = 0
        let trained = try #require(try subject.stored(subject.trained()).quantizedModel())
        let graph = subject.stored.model.graph
        let quantizer = try Quantizer(
            subject.stored, layers: Quantizer.candidates(of: graph), on: subject.toy.dataset,
            QuantizeOptions(), seed: 1)
        let found = try #require(try quantizer.run()).quantized
        #expect(trained.layers.count == 3 && found.layers.count == 3)
        for (id, layer) in found.layers {
            let own = try #require(trained.layers[id])
            #expect(own.weights == layer.weights && own.scales == layer.scales && own.bias == layer.bias)
            #expect(own.foldsNorm == layer.foldsNorm && own.input.scale > 0)
        }
    }

    @Test("learns: the loss of rounded numbers falls, and weights move")
    func learns() throws {
        var subject = try Subject()
        // A class is a pattern of pixels, which crops and flips would hide.
        (subject.options.epochs, subject.options.augmentation) = (10, .none)
        // Its ranges are those of the first step, whose rate is nothing: what it starts from, rounded.
        var idle = subject
        (idle.options.epochs, idle.options.learningRate) = (1, 0)
        let before = try #require(try idle.trained().evaluate(.test))
        let trainer = try subject.trainer()
        #expect(try trainer.run(Follower(subject.toy)) == nil)
        let after = try #require(try trainer.evaluate(.test))
        #expect(after.loss < before.loss, "\(before.loss) to \(after.loss)")
        let model = try subject.stored(trainer)
        let tally = try #require(try Evaluator(model, on: subject.toy.dataset, split: .test).run())
        #expect(abs(tally.accuracy - after.accuracy) <= 0.03)
    }

    @Test("interrupted and resumed, is the same bit for bit", arguments: [2, 9, 30])
    func resumes(poll: Int) throws {
        let subject = try Subject()
        let whole = try subject.trained()
        let trainer = try subject.trainer()
        let follower = Follower(subject.toy)
        follower.stopsAtPoll = poll
        #expect(try trainer.run(follower) == .pause)
        #expect(trainer.state.step > 0 && trainer.state.step < trainer.steps)
        let resumed = try subject.trainer()
        try resumed.restore(from: follower.last, sha256: follower.lastReceipt?.sha256.hex)
        #expect(try resumed.run(Follower(subject.toy)) == nil)
        let (one, other) = (subject.toy.file("one.safetensors"), subject.toy.file("other.safetensors"))
        #expect(try whole.save(to: one).sha256 == resumed.save(to: other).sha256)
        let weights = try [whole, resumed].map { try $0.quantizedWeights(of: subject.stored).quantized }
        #expect(weights[0] == weights[1])
        // Checkpoints of another rounding do not fit.
        var another = subject
        another.quantize.granularity = .perTensor
        #expect(throws: TrainingError.self) { try another.trainer().restore(from: one, sha256: nil) }
    }

    /// Against the same network, and one that was trained as much further in float32, quantized as they are.
    @Test("wins back what one scale a layer loses of features of unlike size")
    func winsBack() throws {
        var subject = try Subject(unlike: 100)
        subject.quantize.granularity = .perTensor
        (subject.options.epochs, subject.options.learningRate) = (20, 0.0001)
        (subject.options.schedule, subject.options.augmentation) = (.cosine, .none)
        func loss(_ model: StoredModel) throws -> Double {
            try #require(try Evaluator(model, on: subject.toy.dataset, split: .test).run()).loss
        }
        func quantized(_ model: StoredModel) throws -> StoredModel {
            var options = subject.quantize
            options.training = nil
            let quantizer = try Quantizer(
                model, layers: Quantizer.candidates(of: model.model.graph), on: subject.toy.dataset, options,
                seed: 1)
            let path = subject.toy.file("plain.safetensors")
            _ = try #require(try quantizer.run()).save(to: path)
            return try StoredModel(path)
        }
        let further = try Trainer(
            TrainingTask(
                model: subject.stored.model, options: subject.options, dataset: subject.toy.dataset, seed: 5,
                start: subject.start, normalization: subject.stored.normalization))
        #expect(try further.run(Follower(subject.toy)) == nil)
        let path = subject.toy.file("further.safetensors")
        _ = try further.saveModel(to: path, description: further.task.modelDescription)
        let float = try loss(subject.stored)
        let lost = try loss(quantized(subject.stored)), still = try loss(quantized(StoredModel(path)))
        let won = try loss(subject.stored(subject.trained()))
        #expect(lost > 1.5 * float, "nothing to win: \(float), \(lost)")
        #expect(won < 1.2 * float && won < 0.75 * min(lost, still), "\(float), \(lost), \(still), \(won)")
    }

    @Test("keeps zeros, whatever momentum and decay would make of them")
    func keepsZeros() throws {
        let subject = try Subject(halved: true)
        let trainer = try subject.trained()
        let graph = trainer.program.graph
        let id = try #require(graph.parameterIDs.first { graph[$0].name == "layer6.weight" })
        let values = try trainer.program.read(id)
        #expect(values.indices.allSatisfy { ($0 % 2 == 0) == (values[$0] == 0) })
        let layers = try trainer.quantizedWeights(of: subject.stored).quantized.layers
        let whole = subject.stored.model.graph
        let layer = try #require(layers.first { whole[$0.key].name == "layer6" }).value
        #expect(layer.weights.indices.allSatisfy { $0 % 2 == 1 || layer.weights[$0] == 0 })
        #expect(layer.weights.count { $0 != 0 } > layer.weights.count / 3)
    }

    @Test("ranges are frozen when they shall be, and excluded layers stay in float32")
    func freezes() throws {
        var subject = try Subject()
        func ranges(_ part: Double) throws -> [[Float]] {
            subject.quantize.training?.freezesRangesAfter = part
            let trainer = try subject.trained()
            return trainer.program.rangeOwners.map { trainer.program.range(of: $0) }
        }
        let (first, half, whole) = (try ranges(0), try ranges(0.5), try ranges(1))
        #expect(first.count == 3 && first != half && half != whole)
        subject.quantize.exclude = ["output"]
        let trainer = try subject.trained()
        #expect(trainer.program.rangeOwners.count == 2)
        let model = try subject.stored(trainer)
        let file = try SafetensorsReader(model.path)
        #expect(try file.entry("layer9.weight").element == .float32)
        let graph = trainer.program.graph
        let id = try #require(graph.parameterIDs.first { graph[$0].name == "layer9.weight" })
        #expect(try file.floats("layer9.weight") == trainer.program.read(id))
    }

    @Test("normalisations that are not folded are trained on, and stay passes of their own")
    func unfolded() throws {
        var subject = try Subject()
        subject.quantize.foldsNorms = false
        let trainer = try subject.trained()
        #expect(trainer.program.graph.parameters.contains { $0.role == .runningMean })
        let model = try subject.stored(trainer)
        let tally = try #require(try Evaluator(model, on: subject.toy.dataset, split: .test).run())
        let rounded = try #require(try trainer.evaluate(.test))
        #expect(abs(tally.accuracy - rounded.accuracy) <= 0.03 && abs(tally.loss - rounded.loss) <= 0.05)
    }

    @Test("its batches may run in parts, and weights be averaged")
    func parts() throws {
        var subject = try Subject()
        (subject.options.microBatchSize, subject.options.choosesMicroBatch) = (2, false)
        subject.options.optimizer.averageDecay = 0.9
        let trainer = try subject.trained()
        let rounded = try #require(try trainer.evaluate(.test))
        let model = try subject.stored(trainer)
        let tally = try #require(try Evaluator(model, on: subject.toy.dataset, split: .test).run())
        #expect(abs(tally.accuracy - rounded.accuracy) <= 0.03 && abs(tally.loss - rounded.loss) <= 0.05)
    }
}
