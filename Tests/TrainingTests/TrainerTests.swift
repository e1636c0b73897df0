import Data
import Foundation
import Graph
import JSON
import Plan
import Tensor
import Testing

@testable import Training

@Suite("Training") struct TrainerTests {
    private func flat(_ hidden: Int?, classes: Int = 3) throws -> ModelSpec {
        var layers = [LayerSpec(.flatten, name: "flatten1")]
        if let hidden {
            layers.append(LayerSpec(.linear(.init(outFeatures: hidden)), name: "fc1"))
            layers.append(LayerSpec(.relu, name: "relu1"))
        }
        layers.append(LayerSpec(.linear(.init(outFeatures: classes)), name: "out"))
        return try ModelSpec(input: Shape([1, 6, 5]), layers: layers)
    }

    @Test("learns what can be learned, by either loss", arguments: [false, true])
    func learns(squared: Bool) throws {
        let toy = try Toy(train: 60, test: 20)
        var options = TrainOptions()
        (options.epochs, options.batchSize, options.learningRate) = (15, 8, squared ? 0.1 : 0.05)
        options.optimizer = .sgd(momentum: 0.9)
        options.loss = squared ? .meanSquaredError(oneHot: true) : .crossEntropy(labelSmoothing: 0)
        let trainer = try toy.trainer(options, model: flat(11))
        let follower = Follower(toy)
        #expect(try trainer.run(follower) == nil)
        let result = try #require(try trainer.evaluate(.test))
        #expect(result.accuracy == 1)
        #expect(result.samples == 20)
        #expect(follower.epochs.last?.trainAccuracy == 1)
        #expect(follower.steps[0].loss > 4 * (follower.steps.last?.loss ?? 1))
    }

    @Test("counts its steps, samples and multiply-accumulates")
    func counts() throws {
        let toy = try Toy()
        var options = TrainOptions()
        (options.epochs, options.batchSize) = (2, 5)
        let follower = Follower(toy)
        let model = try flat(nil)
        let trainer = try toy.trainer(options, model: model)
        _ = try trainer.run(follower)
        #expect(trainer.steps == 10 && trainer.stepsPerEpoch == 5 && trainer.stepsPerPoint == 1)
        #expect(follower.steps.map(\.samples) == [5, 5, 5, 5, 3, 5, 5, 5, 5, 3])
        let macs = CostModel(of: model.graph).trainingMacsPerSample
        #expect(follower.steps.map(\.macs) == follower.steps.map { $0.samples * macs })
        #expect(follower.steps.allSatisfy { $0.steps == 10 && $0.waitNanoseconds >= 0 })
        #expect(
            follower.epochs.allSatisfy { $0.validation.samples == 9 }, "the test split, as there is no other")
    }

    @Test("stops at the very step whose loss is no number")
    func exploding() throws {
        let toy = try Toy()
        var options = TrainOptions()
        (options.epochs, options.batchSize, options.learningRate) = (3, 5, 1e30)
        options.loss = .meanSquaredError(oneHot: true)
        let trainer = try toy.trainer(options, model: flat(nil))
        let follower = Follower(toy)
        do {
            _ = try trainer.run(follower)
            Issue.record("the run went on")
        } catch {
            #expect(
                "\(error)" == "The loss became inf at step 2 (epoch 0); a lower learning rate usually helps.")
        }
        #expect(follower.steps.map(\.step) == [1])
        #expect(follower.checkpoints == 0)
    }

    @Test("a state survives its JSON to the last bit", arguments: 0..<50 as Range<UInt64>)
    func stateRoundTrip(seed: UInt64) throws {
        var random = CounterRandom(seed: seed, purpose: .test)
        func real() -> Double {
            let bits = Double(bitPattern: UInt64(random.next()) << 32 | UInt64(random.next()))
            return bits.isFinite ? bits : -0.0
        }
        func tally() -> TrainingState.Tally {
            var tally = TrainingState.Tally()
            (tally.lossSum, tally.hardSum, tally.softSum) = (real(), real(), real())
            (tally.correct, tally.agreed) = (Int(random.below(1000)), Int(random.below(1000)))
            tally.samples = Int(random.below(5000))
            return tally
        }
        var state = TrainingState()
        state.step = Int(random.next())
        state.position = BatchPosition(epoch: Int(random.below(100)), batch: Int(random.below(1000)))
        (state.window, state.epoch) = (tally(), tally())
        state.bestAccuracy = random.below(4) == 0 ? nil : Double(random.uniform()) / 3
        state.bestStep = Int(random.below(10_000))
        state.best = random.below(4) == 0 ? nil : real()
        state.foundRate = random.below(4) == 0 ? nil : real()
        (state.evaluatedStep, state.evaluationsSinceBest) = (Int(random.below(99)), Int(random.below(9)))
        let text = state.json.encodedBytes()
        let read = try #require(TrainingState(JSONValue(parsing: text)))
        #expect(read == state)
        #expect(read.window.lossSum.bitPattern == state.window.lossSum.bitPattern)
    }

    @Test("a state that is none is refused")
    func badState() throws {
        let good = TrainingState().json
        #expect(TrainingState(good) != nil)
        let keys = [
            "step", "epoch", "batch", "window", "epoch_tally", "best_step", "evaluated_step",
            "evaluations_since_best",
        ]
        for key in keys {
            var object = try #require(good.objectValue)
            object[key] = "x"
            #expect(TrainingState(.object(object)) == nil, "\(key)")
        }
        var negative = try #require(good.objectValue)
        negative["batch"] = -1
        #expect(TrainingState(.object(negative)) == nil)
    }
}
