import Data
import Graph
import JSON
import Kernels
import Plan
import Tensor
import Testing

@testable import Training

@Suite("Training methods") struct MethodTests {
    private func flat(_ hidden: Int = 11) throws -> ModelSpec {
        let kinds: [LayerKind] = [
            .flatten, .linear(.init(outFeatures: hidden)), .relu, .linear(.init(outFeatures: 3)),
        ]
        let layers = kinds.enumerated().map { LayerSpec($1, name: "layer\($0)") }
        return try ModelSpec(input: Shape([1, 6, 5]), layers: layers)
    }

    private static let rules: [(OptimizerOptions.Rule, Double)] = [
        (.adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-8), 0.01),
        (.adamW(beta1: 0.9, beta2: 0.999, epsilon: 1e-8), 0.01),
        (.lion(beta1: 0.9, beta2: 0.99), 0.003),
        (.rmsProp(alpha: 0.99, epsilon: 1e-8, momentum: 0.5), 0.003),
    ]

    @Test("every optimiser learns what can be learned", arguments: rules)
    func learns(rule: OptimizerOptions.Rule, rate: Double) throws {
        let toy = try Toy(train: 60, test: 20)
        var options = TrainOptions()
        (options.epochs, options.batchSize, options.learningRate) = (15, 8, rate)
        options.optimizer = OptimizerOptions(rule, clipNorm: 1, averageDecay: 0.9)
        let trainer = try toy.trainer(options, model: flat())
        let follower = Follower(toy)
        #expect(try trainer.run(follower) == nil)
        #expect(try trainer.evaluate(.test)?.accuracy == 1)
        #expect(follower.steps.allSatisfy { ($0.gradientNorm ?? -1) > 0 })
    }

    @Test(
        "every loss on labels learns too",
        arguments: [
            LossKind.meanAbsoluteError(oneHot: true), .huber(delta: 0.5, oneHot: true),
            .binaryCrossEntropy(oneHot: true), .klDivergence(oneHot: true),
        ])
    func losses(loss: LossKind) throws {
        let toy = try Toy(train: 60, test: 20)
        var options = TrainOptions()
        (options.epochs, options.batchSize, options.learningRate) = (20, 8, 0.01)
        options.optimizer.rule = .adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-8)
        options.loss = loss
        let trainer = try toy.trainer(options, model: flat())
        _ = try trainer.run(Follower(toy))
        #expect(try trainer.evaluate(.test)?.accuracy == 1)
    }

    /// Twelve steps of gradients that differ by some 1e-7 of themselves, on weights below 1.
    @Test("micro-batches of any size give the full batch's run", arguments: [1, 2, 3, 4])
    func microBatches(size: Int) throws {
        let toy = try Toy()
        var options = Toy.options
        // What draws numbers by the part or takes its statistics is not the same in parts.
        options.augmentation = .none
        let whole = try toy.trainer(options, model: flat())
        _ = try whole.run(Follower(toy))
        options.microBatchSize = size
        let parts = try toy.trainer(options, model: flat())
        let follower = Follower(toy)
        _ = try parts.run(follower)
        #expect(follower.steps.map(\.samples) == [5, 5, 5, 3, 5, 5, 5, 3, 5, 5, 5, 3])
        for id in whole.program.graph.parameterIDs {
            let (one, other) = (try whole.program.read(id), try parts.program.read(id))
            let error = zip(one, other).map { abs($0 - $1) }.max() ?? 0
            #expect(error <= 1e-6, "\(whole.program.graph[id].name)")
        }
        #expect(parts.state.epoch.samples == whole.state.epoch.samples)
    }

    @Test("what is evaluated and stored is the average, and training goes on from the weights")
    func averages() throws {
        let toy = try Toy()
        var options = Toy.options
        let plain = try toy.trainer(options)
        _ = try plain.run(Follower(toy))
        options.optimizer.averageDecay = 0.8
        let averaged = try toy.trainer(options)
        let follower = Follower(toy)
        _ = try averaged.run(follower)
        for id in plain.program.graph.parameterIDs {
            #expect(try plain.program.read(id) == averaged.program.read(id), "the weights are the same")
        }
        let (model, average) = (toy.file("model"), try averaged.program.read(.init(first: plain), .average))
        _ = try averaged.saveModel(to: model, description: [:])
        try plain.restoreParameters(from: model, sha256: nil)
        #expect(try plain.program.read(.init(first: plain)) == average)
        #expect(try plain.evaluate(.validation) == averaged.evaluate(.validation))
        #expect(try averaged.evaluate(.validation) == follower.epochs.last?.validation)
    }

    @Test("a run of steps ends and is evaluated at its steps, not at its epochs")
    func steps() throws {
        let toy = try Toy()
        var options = Toy.options
        (options.steps, options.evaluationSteps) = (10, 3)
        let follower = Follower(toy)
        let trainer = try toy.trainer(options)
        #expect(try trainer.run(follower) == nil)
        #expect(follower.steps.map(\.step) == Array(1...10))
        #expect(follower.epochs.map(\.step) == [3, 6, 9, 10])
        #expect(follower.steps.map(\.epoch) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
        #expect(trainer.steps == 10 && follower.steps.allSatisfy { $0.steps == 10 && $0.epochs == 3 })
    }

    @Test("stops when nothing gets better, and knows what was best")
    func earlyStopping() throws {
        let toy = try Toy()
        var options = Toy.options
        options.epochs = 50
        // Nothing is learned at a rate of 0, so that only the first evaluation is better than none.
        options.learningRate = 0
        options.earlyStopping = .init(patience: 4, minDelta: 1e-3)
        let follower = Follower(toy)
        let trainer = try toy.trainer(options, model: flat())
        #expect(try trainer.run(follower) == nil)
        #expect(follower.epochs.count == 5 && trainer.hasStoppedEarly)
        #expect(follower.epochs.map(\.isBest) == [true, false, false, false, false])
        #expect(trainer.state.bestStep == 4)
        #expect(try trainer.run(follower) == nil, "and does not go on")
        #expect(follower.epochs.count == 5)
    }

    @Test("an evaluation is judged by its metric, and must be better by as much as asked")
    func judging() {
        var options = TrainOptions()
        options.earlyStopping = .init(patience: 2, minDelta: 0.1, metric: .loss)
        var state = TrainingState()
        func judge(_ loss: Double, _ accuracy: Double) -> Bool {
            state.step += 1
            return state.judge(.init(loss: loss, accuracy: accuracy, samples: 1), options)
        }
        let judgements = [judge(1, 0.5), judge(0.95, 0.9), judge(0.85, 0.1)]
        #expect(judgements == [true, false, true])
        #expect(state.bestStep == 3 && state.evaluationsSinceBest == 0 && state.bestAccuracy == 0.9)
        let isBest = judge(.nan, 0.2)
        #expect(!isBest && state.evaluationsSinceBest == 1)
        options.earlyStopping = nil
        #expect(options.metric == .accuracy)
    }
}

extension Graph.ParameterID {
    /// The first parameter of a trainer's graph.
    fileprivate init(first trainer: Trainer) { self = trainer.program.graph.parameterIDs[0] }
}

@Suite("LearningRateFinder") struct LearningRateFinderTests {
    /// A loss that falls around 1e-2 and explodes beyond 1.
    private static func loss(_ rate: Double) -> Double { 2 - 1 / (1 + 1e-2 / rate) + rate * rate }

    @Test("takes where the loss falls fastest, well below where it is smallest")
    func synthetic() throws {
        var finder = LearningRateFinder()
        for index in 0..<LearningRateFinder.stepsMax {
            let rate = LearningRateFinder.rate(at: index)
            if !finder.add(rate: rate, loss: Self.loss(rate)) { break }
        }
        let best = try #require(finder.best)
        // Smoothing over some 50 points shifts everything to the right.
        #expect(best > 1e-3 && best < 1, "\(best)")
        #expect(finder.points.first?.rate == 1e-7 && (finder.points.last?.rate ?? 0) <= 10.000_001)
        #expect(finder.points.first?.loss == Self.loss(1e-7))
    }

    @Test("finds nothing where nothing falls, and ends at a loss that is no number")
    func hopeless() {
        var finder = LearningRateFinder()
        for index in 0..<30 {
            let goesOn = finder.add(rate: LearningRateFinder.rate(at: index), loss: 1 + Double(index))
            #expect(goesOn || index > 9)
        }
        #expect(finder.best == nil)
        let goesOn = finder.add(rate: 1, loss: .infinity)
        #expect(!goesOn)
        #expect(LearningRateFinder().best == nil)
    }

    @Test("leaves no trace but the rate, is the same each time, and training with it learns")
    func trainer() throws {
        let toy = try Toy(train: 60, test: 20)
        var options = TrainOptions()
        (options.epochs, options.batchSize, options.findsLearningRate) = (15, 8, true)
        options.optimizer = .sgd(momentum: 0.9)
        let first = try toy.trainer(options)
        let before = first.program.snapshot()
        let follower = Follower(toy)
        #expect(try first.findLearningRate(follower))
        #expect(first.program.snapshot() == before)
        let found = try #require(first.state.foundRate)
        #expect(follower.finding?.rate == found && (follower.finding?.points.count ?? 0) > 10)
        let second = try toy.trainer(options)
        #expect(try second.run(Follower(toy)) == nil)
        #expect(second.state.foundRate == found)
        options.findsLearningRate = false
        options.learningRate = found
        let third = try toy.trainer(options)
        _ = try third.run(Follower(toy))
        #expect(try third.evaluate(.test) == second.evaluate(.test))
    }
}
