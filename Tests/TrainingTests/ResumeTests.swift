import Data
import Files
import Graph
import JSON
import Kernels
import Plan
import Testing
import Training

@Suite("A run is decided by its task") struct ResumeTests {
    /// What must not depend on interruptions.
    private struct Outcome: Equatable {
        let model: String
        let losses: [Double]
        let rates: [Double]
        let epochs: [EvaluationResult]
        let trainLosses: [Double]
        let bestStep: Int

        init(_ trainer: Trainer, _ follower: Follower, _ toy: Toy) throws {
            model = try trainer.saveModel(to: toy.file("model.safetensors"), description: ["classes": 3])
                .sha256.hex
            losses = follower.steps.map(\.loss)
            rates = follower.steps.map(\.learningRate)
            epochs = follower.epochs.map(\.validation)
            trainLosses = follower.epochs.map(\.trainLoss)
            bestStep = trainer.state.bestStep
        }
    }

    private static func undisturbed(
        _ toy: Toy, _ options: TrainOptions = Toy.options, seed: UInt64 = 1
    ) throws -> (Outcome, Follower) {
        let follower = Follower(toy)
        let trainer = try toy.trainer(options, seed: seed)
        #expect(try trainer.run(follower) == nil)
        return (try Outcome(trainer, follower, toy), follower)
    }

    @Test("twice the same task gives the same model file, another seed another")
    func repeats() throws {
        let toy = try Toy()
        let (first, follower) = try Self.undisturbed(toy)
        #expect(follower.steps.map(\.step) == Array(1...12))
        #expect(follower.epochs.map(\.step) == [4, 8, 12])
        #expect(follower.epochs.allSatisfy { $0.validation.samples == 5 })
        #expect(try Self.undisturbed(toy).0 == first)
        #expect(try Self.undisturbed(toy, seed: 2).0.model != first.model)
    }

    @Test("paused at any step or evaluation and resumed, it ends with the same bits")
    func pausedAnywhere() throws {
        let toy = try Toy()
        let (expected, follower) = try Self.undisturbed(toy)
        // A poll after each step, one more within each evaluation.
        #expect(follower.polls == 12 + 3)
        for poll in 1...follower.polls {
            let interrupted = Follower(toy)
            interrupted.stopsAtPoll = poll
            #expect(try toy.trainer().run(interrupted) == .pause, "poll \(poll)")
            interrupted.restart(stoppingAt: nil)
            let trainer = try toy.trainer()
            try trainer.restore(from: interrupted.last, sha256: interrupted.lastReceipt?.sha256.hex)
            #expect(try trainer.run(interrupted) == nil)
            #expect(try Outcome(trainer, interrupted, toy) == expected, "poll \(poll)")
        }
    }

    @Test("drained and resumed over and over, it ends with the same bits")
    func pausedAgainAndAgain() throws {
        let toy = try Toy()
        var options = Toy.options
        options.optimizer = .sgd(momentum: 0, weightDecay: 1e-3, decaysBiasAndNorm: true)
        let (expected, _) = try Self.undisturbed(toy, options)
        let follower = Follower(toy)
        follower.reason = .drain
        var runs = 0
        var trainer = try toy.trainer(options)
        while runs < 30 {
            follower.restart(stoppingAt: 2)
            runs += 1
            if try trainer.run(follower) == nil { break }
            trainer = try toy.trainer(options)
            try trainer.restore(from: follower.last, sha256: nil)
        }
        #expect(runs > 6 && runs < 30)
        #expect(try Outcome(trainer, follower, toy) == expected)
    }

    /// Every rule with its states, averages, clipping, micro-batches, mixed images, a found rate; bfloat16
    /// with activations that are computed again.
    static let methods: [TrainOptions] = [
        .sgd(momentum: 0.9, nesterov: true), .adam(beta1: 0.9, beta2: 0.99, epsilon: 1e-8),
        .adamW(beta1: 0.9, beta2: 0.99, epsilon: 1e-8), .lion(beta1: 0.9, beta2: 0.99),
        .rmsProp(alpha: 0.9, epsilon: 1e-8, momentum: 0.9),
    ].enumerated().map { (index: Int, rule: OptimizerOptions.Rule) in
        var options = Toy.options
        options.learningRate = 0.003
        options.optimizer = OptimizerOptions(rule, weightDecay: 0.01)
        if index != 1 { options.optimizer.averageDecay = 0.7 }
        if index != 2 { options.optimizer.clipNorm = 0.5 }
        if index > 1 { options.microBatchSize = 2 }
        if index == 3 { options.augmentation = Augmentation(cutoutSide: 2, mixupAlpha: 0.4) }
        if index == 4 { (options.steps, options.evaluationSteps) = (11, 5) }
        if index == 0 { options.findsLearningRate = true }
        if index == 2 { options.checkpointSegments = 3 }
        // With averages and micro-batches, without clipping (2) and with it (3).
        if index == 2 || index == 3 { options.precision = .bf16 }
        if index == 1 { options.earlyStopping = .init(patience: 1, metric: .loss) }
        return options
    }

    @Test("so it is with every method of training", arguments: methods.indices)
    func pausedWithMethods(index: Int) throws {
        let toy = try Toy()
        let options = Self.methods[index]
        let (expected, whole) = try Self.undisturbed(toy, options)
        let polls = whole.polls
        // Some early, some in the middle, the last: beyond the first hundred they are those of the sweep.
        for poll in [1, 2, polls / 3, polls / 2, polls - 3, polls - 1, polls] {
            let interrupted = Follower(toy)
            interrupted.stopsAtPoll = poll
            #expect(try toy.trainer(options).run(interrupted) == .pause, "poll \(poll)")
            interrupted.restart(stoppingAt: nil)
            let trainer = try toy.trainer(options)
            try trainer.restore(from: interrupted.last, sha256: nil)
            #expect(try trainer.run(interrupted) == nil)
            #expect(try Outcome(trainer, interrupted, toy) == expected, "poll \(poll)")
        }
    }

    @Test("a checkpoint taken on the way changes nothing and can be resumed from")
    func checkpointOnTheWay() throws {
        let toy = try Toy()
        let (expected, _) = try Self.undisturbed(toy)
        let follower = Follower(toy)
        follower.isCheckpointDue = true
        let trainer = try toy.trainer()
        #expect(try trainer.run(follower) == nil)
        #expect(try Outcome(trainer, follower, toy) == expected)
        #expect(follower.checkpoints >= 12)
        let again = try toy.trainer()
        try again.restore(from: follower.last, sha256: follower.lastReceipt?.sha256.hex)
        #expect(again.state == trainer.state)
    }

    @Test("cancelled, it stops with a checkpoint, from which another attempt goes on to the same bits")
    func cancelled() throws {
        let toy = try Toy()
        let follower = Follower(toy)
        (follower.reason, follower.stopsAtPoll) = (.cancel, 3)
        #expect(try toy.trainer().run(follower) == .cancel)
        #expect(follower.steps.count == 3 && follower.checkpoints == 1)
        let (expected, _) = try Self.undisturbed(toy)
        follower.restart(stoppingAt: nil)
        let again = try toy.trainer()
        try again.restore(from: follower.last, sha256: follower.lastReceipt?.sha256.hex)
        #expect(try again.run(follower) == nil)
        #expect(try Outcome(again, follower, toy) == expected)
    }

    @Test("the best epoch's parameters are kept")
    func best() throws {
        let toy = try Toy()
        let follower = Follower(toy)
        let trainer = try toy.trainer()
        _ = try trainer.run(follower)
        let best = try #require(follower.epochs.map(\.validation.accuracy).max())
        #expect(trainer.state.bestAccuracy == best)
        #expect(follower.epochs.first { $0.validation.accuracy == best }?.step == trainer.state.bestStep)
        try trainer.restoreParameters(from: follower.best, sha256: nil)
        #expect(try trainer.evaluate(.validation)?.accuracy == best)
        #expect(try trainer.evaluate(.test)?.samples == 9)
    }
}

@Suite("A checkpoint that does not fit is refused") struct CheckpointTests {
    private func paused(_ toy: Toy) throws -> Follower {
        let follower = Follower(toy)
        follower.stopsAtPoll = 5
        _ = try toy.trainer().run(follower)
        return follower
    }

    private func refusal(_ trainer: Trainer, _ path: String, sha256: String? = nil) -> String {
        do {
            try trainer.restore(from: path, sha256: sha256)
            return "accepted"
        } catch { return error.description }
    }

    @Test("by a run with another seed, other options or another model")
    func otherRun() throws {
        let toy = try Toy()
        let path = try paused(toy).last
        let expected = "The checkpoint \(path) cannot be used: it belongs to a run with other settings."
        #expect(refusal(try toy.trainer(seed: 2), path) == expected)
        var options = Toy.options
        options.learningRate = 0.051
        #expect(refusal(try toy.trainer(options), path) == expected)
        let model = try ModelSpec(
            input: toy.model().input,
            layers: [LayerSpec(.flatten, name: "f"), LayerSpec(.linear(.init(outFeatures: 3)), name: "l")])
        #expect(refusal(try toy.trainer(model: model), path) == expected)
        #expect(refusal(try toy.trainer(), path) == "accepted")
    }

    @Test("when it was cut short or changed")
    func damaged() throws {
        let toy = try Toy()
        let follower = try paused(toy)
        let hash = try #require(follower.lastReceipt?.sha256.hex)
        let bytes = try readFile(follower.last, limit: 1 << 20)
        _ = try AtomicFile.write(Array(bytes.dropLast(4)), to: toy.file("short"))
        #expect(refusal(try toy.trainer(), toy.file("short")).contains("bytes of data"))
        var flipped = bytes
        flipped[bytes.count - 100] ^= 1
        _ = try AtomicFile.write(flipped, to: toy.file("flipped"))
        #expect(refusal(try toy.trainer(), toy.file("flipped"), sha256: hash).contains("its SHA-256 is"))
        #expect(refusal(try toy.trainer(), toy.file("none")).contains("none"))
    }
}
