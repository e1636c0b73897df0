import Data
import Files
import Graph
import JSON
import Tensor
import Testing
import Training

@Suite("Stored models are evaluated") struct EvaluatorTests {
    private static func stored(_ trainer: Trainer, _ toy: Toy) throws -> StoredModel {
        let path = toy.file("evaluated.safetensors")
        _ = try trainer.saveModel(to: path, description: trainer.task.modelDescription)
        return try StoredModel(path)
    }

    @Test("what is measured is what the trainer measures")
    func agrees() throws {
        let toy = try Toy(train: 300, test: 270)
        let trainer = try Trainer(
            TrainingTask(model: toy.model(), options: Toy.options, dataset: toy.dataset, seed: 3))
        #expect(try trainer.run(Follower(in: toy.path)) == nil)
        let expected = try #require(try trainer.evaluate(.test))
        // 270 samples are a whole batch and a short one.
        let evaluator = try Evaluator(Self.stored(trainer, toy), on: toy.dataset, split: .test)
        let tally = try #require(try evaluator.run())
        #expect(tally.count == 270 && tally.accuracy == expected.accuracy)
        // The trainer adds float32 losses.
        #expect(abs(tally.loss - expected.loss) < 1e-5 * max(1, expected.loss))
        #expect(try evaluator.run { _ in true } == nil)
    }

    @Test("a model sees its samples with its own normalisation")
    func normalisation() throws {
        let toy = try Toy(train: 60, test: 40)
        let trainer = try Trainer(
            TrainingTask(model: toy.model(), options: Toy.options, dataset: toy.dataset, seed: 3))
        let path = toy.file("other.safetensors")
        var description = trainer.task.modelDescription
        let own = try Evaluator(Self.stored(trainer, toy), on: toy.dataset, split: .train)
        (description["mean"], description["std"]) = ([0.9], [0.01])
        _ = try trainer.saveModel(to: path, description: description)
        let other = try Evaluator(StoredModel(path), on: toy.dataset, split: .train)
        #expect(try own.run()?.loss != other.run()?.loss)
        // Told to normalise so, a trainer does.
        let normalization = PixelNormalization(mean: [0.9], standardDeviation: [0.01])
        let odd = try Trainer(
            TrainingTask(
                model: toy.model(), options: Toy.options, dataset: toy.dataset, seed: 3,
                normalization: normalization))
        let loss = try #require(try odd.evaluate(.test)).loss
        let same = try #require(try Evaluator(StoredModel(path), on: toy.dataset, split: .test).run()).loss
        #expect(abs(loss - same) < 1e-5 * max(1, same))
        #expect(odd.task.modelDescription["mean"] == [0.9])
    }

    @Test("a dataset of other classes, extents or kind is refused, with what was expected")
    func misfits() throws {
        let toy = try Toy()
        let trainer = try Trainer(
            TrainingTask(model: toy.model(), options: Toy.options, dataset: toy.dataset, seed: 3))
        let stored = try Self.stored(trainer, toy)
        func complaint(_ dataset: Dataset, _ split: SplitName = .test) -> String? {
            do throws(TrainingError) {
                _ = try Evaluator(stored, on: dataset, split: split)
                return nil
            } catch { return error.description }
        }
        #expect(complaint(toy.dataset, .validation)?.contains("no validation split") == true)
        let four = try Toy(classes: 4)
        #expect(complaint(four.dataset)?.contains("tells 3 classes apart, the dataset has 4") == true)
        let text = try TextToy.periodic()
        #expect(complaint(text.dataset)?.contains("another kind") == true)
    }

    @Test("latencies are measured in turns, at every size that was asked for")
    func latencies() throws {
        let toy = try Toy()
        let trainer = try Trainer(
            TrainingTask(model: toy.model(), options: Toy.options, dataset: toy.dataset, seed: 3))
        let stored = try Self.stored(trainer, toy)
        let models = [
            try InferenceModel(stored, batches: [1, 8]), try InferenceModel(stored, batches: [1, 8]),
        ]
        var clock: UInt64 = 0
        let found = try LatencyMeasurement.measure(models, batches: [1, 8]) {
            clock += 1000
            return clock
        }
        let figures = try #require(found)
        #expect(figures.count == 2)
        for each in figures {
            for size in [1, 8] {
                let latency = try #require(each[size])
                #expect(latency.runs == LatencyMeasurement.runs && abs(latency.median - 1e-6) < 1e-12)
            }
        }
        #expect(try LatencyMeasurement.measure(models, batches: [1], now: { 0 }, isStopped: { true }) == nil)
    }
}
