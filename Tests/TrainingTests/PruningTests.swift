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

/// A run that prunes the toy's model.
struct PrunedToy {
    let toy: Toy
    var options: TrainOptions = Toy.options
    let pruning: Pruning
    var start: StoredWeights?
    /// Another than the toy's.
    var model: ModelSpec?

    init(_ toy: Toy, _ text: String, isStored: Bool = false) throws {
        let log = ViolationLog()
        var reader = ObjectReader(
            try JSONValue(parsing: text), as: PruneFields.schema, at: "/prune", log: log)
        let options = PruneOptions.read(&reader)
        reader.finish()
        try log.throwIfAny()
        self.toy = toy
        pruning = Pruning(options, isStored: isStored, now: { 0 })
    }

    var task: TrainingTask {
        get throws {
            try TrainingTask(
                model: model ?? toy.model(), options: options, dataset: toy.dataset, seed: 1, start: start,
                pruning: pruning)
        }
    }

    /// Runs to the end, or until the follower stops it, through the removal of channels.
    func finish(_ first: Trainer, _ follower: Follower) throws -> (ending: StopReason?, trainer: Trainer) {
        var trainer = first
        while true {
            let ending = try trainer.run(follower)
            guard ending == nil, trainer.isReadyToShrink else { return (ending, trainer) }
            trainer = try trainer.shrunk().trainer()
        }
    }

    /// Checks what comes of a run that is stopped at a poll and resumed from its checkpoint.
    func expect(_ expected: [String], resumedAt poll: Int) throws {
        let interrupted = Follower(toy)
        interrupted.stopsAtPoll = poll
        #expect(try finish(Trainer(task), interrupted).ending == .pause, "poll \(poll)")
        interrupted.restart(stoppingAt: nil)
        let task = try task.resumed(from: interrupted.last)
        let trainer = try Trainer(task)
        try trainer.restore(from: interrupted.last, sha256: interrupted.lastReceipt?.sha256.hex)
        let (ending, resumed) = try finish(trainer, interrupted)
        #expect(ending == nil)
        #expect(try outcome(resumed, interrupted) == expected, "poll \(poll)")
    }

    /// What must not depend on interruptions.
    func outcome(_ trainer: Trainer, _ follower: Follower) throws -> [String] {
        let path = toy.file("model.safetensors")
        let hash = try trainer.saveModel(to: path, description: [:]).sha256.hex
        return [hash] + follower.steps.map { "\($0.step) \($0.loss) \($0.learningRate)" }
            + follower.epochs.map { "\($0.step) \($0.validation)" }
            + follower.prunings.map { "\($0.step) \($0.sparsity)" } + ["\(trainer.state)"]
    }
}

@Suite("A run that prunes") struct PruningTests {
    /// Every structure, criterion, schedule and way of going back, in runs of 12 steps and what follows.
    static let requests = [
        #"{"schedule": "cubic", "frequency": 3, "target_sparsity": 0.7, "finetune": {"epochs": 1}}"#,
        #"{"criterion": "snip", "target_sparsity": 0.6, "finetune": {"epochs": 0}}"#,
        #"{"criterion": "taylor", "schedule": "linear", "frequency": 4, "finetune": {"epochs": 1}}"#,
        #"{"criterion": "movement", "schedule": "exp", "frequency": 5, "structure": "block"}"#,
        #"{"criterion": "random", "scope": "layer", "include_bias": true, "finetune": {"epochs": 1}}"#,
        #"{"structure": "n:m", "n": 1, "m": 4, "exclude": ["layer0", "output"], "begin_step": 5}"#,
        #"{"schedule": "iterative", "rounds": 2, "finetune": {"epochs": 1, "lr_factor": 0.5}}"#,
        #"{"schedule": "iterative", "rounds": 2, "rewind": "init"}"#,
        #"{"schedule": "iterative", "rounds": 2, "rewind": "step:5", "norm": "l2"}"#,
        #"{"rewind": "lr"}"#,
        #"{"structure": "channel", "schedule": "linear", "frequency": 4, "finetune": {"epochs": 1}}"#,
        #"{"structure": "channel", "criterion": "taylor", "scope": "layer", "finetune": {"epochs": 1}}"#,
        #"{"structure": "channel", "criterion": "bn_scale", "begin_step": 5, "shrink": false}"#,
        #"{"structure": "channel", "criterion": "snip", "constraint": {"macs": "60%"}}"#,
        #"{"structure": "channel", "schedule": "cubic", "frequency": 3, "constraint": {"params": "50%"}}"#,
        #"{"structure": "channel", "schedule": "iterative", "rounds": 2, "rewind": "step:3"}"#,
    ]

    /// Momentum, averages, clipping and micro-batches take turns.
    private static func run(_ toy: Toy, _ index: Int) throws -> PrunedToy {
        var run = try PrunedToy(toy, requests[index])
        let adam = OptimizerOptions.Rule.adam(beta1: 0.9, beta2: 0.99, epsilon: 1e-8)
        if index % 3 == 1 { run.options.optimizer = OptimizerOptions(adam, weightDecay: 0.01) }
        if index % 2 == 0 { run.options.optimizer.averageDecay = 0.7 }
        if index % 4 == 3 { run.options.optimizer.clipNorm = 0.5 }
        if index % 5 == 4 { run.options.microBatchSize = 2 }
        return run
    }

    @Test("is the same to the last bit, wherever it is interrupted", arguments: requests.indices)
    func interrupted(index: Int) throws {
        let toy = try Toy()
        let run = try Self.run(toy, index)
        let follower = Follower(toy)
        let (ending, whole) = try run.finish(Trainer(run.task), follower)
        #expect(ending == nil && !follower.prunings.isEmpty)
        #expect(follower.prunings.filter(\.isLast).count == 1 && follower.prunings.last?.isLast == true)
        let expected = try run.outcome(whole, follower)
        let polls = follower.polls
        let some = polls <= 20 ? Array(1...polls) : [1, 4, 7, polls / 2, polls - 5, polls - 1, polls]
        for poll in some { try run.expect(expected, resumedAt: poll) }
    }

    @Test("looks at no test sample", arguments: requests.indices)
    func knowsNoTestSamples(index: Int) throws {
        let parameters = try [9, 40].map { count in
            let toy = try Toy(test: count)
            let run = try Self.run(toy, index)
            let trainer = try run.finish(Trainer(run.task), Follower(toy)).trainer
            return try trainer.program.graph.parameterIDs.map { try trainer.program.read($0) }
        }
        #expect(parameters[0] == parameters[1])
    }

    @Test("has the sparsity of its schedule, exactly, in the file too")
    func exactCounts() throws {
        let toy = try Toy()
        let run = try Self.run(toy, 0)
        let follower = Follower(toy)
        let trainer = try run.finish(Trainer(run.task), follower).trainer
        // Prunable: layer0 36 and layer6 7 * 24; layer9 makes the output.
        let whole = 36.0 + 168
        #expect(follower.prunings.map(\.step) == [0, 3, 6, 9, 12])
        for report in follower.prunings {
            let p = Double(report.step) / 12
            let asked = 0.7 * (1 - (1 - p) * (1 - p) * (1 - p))
            #expect(report.sparsity == (asked * whole).rounded(.toNearestOrEven) / whole)
        }
        let path = toy.file("pruned.safetensors")
        _ = try trainer.saveModel(to: path, description: [:])
        let reader = try SafetensorsReader(path)
        let zeros = try ["layer0.weight", "layer6.weight"].reduce(0) { sum, name in
            try sum + reader.floats(name).count { $0 == 0 }
        }
        #expect(zeros == Int((0.7 * whole).rounded()))
        #expect(try !reader.floats("layer9.weight").contains(0))
        #expect(try StoredModel(path).isMasked)
    }

    /// With nothing pruned, training that comes again is the training that was: weights, momentum, rates,
    /// batches, dropout.
    @Test("replays its training from where it goes back to", arguments: ["init", "step:5"])
    func replays(rewind: String) throws {
        let toy = try Toy()
        let plain = Follower(toy)
        let trainer = try toy.trainer()
        #expect(try trainer.run(plain) == nil)
        let expected = try trainer.saveModel(to: toy.file("plain.safetensors"), description: [:])
        let run = try PrunedToy(
            toy, #"{"schedule": "iterative", "rounds": 2, "target_sparsity": 0, "rewind": "\#(rewind)"}"#)
        let follower = Follower(toy)
        let again = try run.finish(Trainer(run.task), follower).trainer
        let length = rewind == "init" ? 12 : 7
        #expect(follower.steps.count == 12 + 2 * length)
        #expect(follower.steps.suffix(length).map(\.loss) == plain.steps.suffix(length).map(\.loss))
        let found = try again.saveModel(to: toy.file("again.safetensors"), description: [:])
        #expect(found.sha256.hex == expected.sha256.hex)
    }

    @Test("goes back to the first weights where they stay, and to zero where not")
    func initialWeights() throws {
        let toy = try Toy()
        var run = try PrunedToy(toy, #"{"rewind": "init", "target_sparsity": 0.5, "shrink": false}"#)
        run.options.epochs = 2
        let first = try Trainer(run.task)
        let graph = first.program.graph
        let before = try graph.parameterIDs.map { try first.read($0) }
        let follower = Follower(toy)
        // Paused right behind the pruning, which is behind the second evaluation.
        follower.stopsAtPruning = true
        #expect(try run.finish(first, follower).ending == .pause)
        #expect(follower.prunings.map(\.step) == [8])
        let weight = graph.parameterIDs.first { graph[$0].name == "layer6.weight" }
        let id = try #require(weight)
        let mask = try #require(try first.program.mask(of: id))
        #expect(try first.read(id) == zip(before[id.index], mask).map { $1 == 1 ? $0 : 0 })
        #expect(try first.read(id, .state(0)).allSatisfy { $0 == 0 })
        #expect(first.state.position == BatchPosition())
    }

    @Test("fine-tunes at its own rate, by the schedule from its start")
    func fineTuningRate() throws {
        let toy = try Toy()
        let run = try PrunedToy(toy, #"{"finetune": {"epochs": 2, "lr_factor": 0.1}}"#)
        let follower = Follower(toy)
        _ = try run.finish(Trainer(run.task), follower)
        #expect(follower.steps.count == 20)
        // A cosine from a tenth of 0.05, without the warm-up of two steps that training has.
        let cosine = LearningRateSchedule(base: 0.05 * 0.1, curve: .cosine(minRatio: 0), totalSteps: 8)
        #expect(follower.steps.suffix(8).map(\.learningRate) == (0..<8).map { cosine.rate(at: $0) })
    }

    @Test("without a step to train, only prunes")
    func noTraining() throws {
        let toy = try Toy()
        let plain = try toy.trainer()
        let path = toy.file("dense.safetensors")
        let sha256 = try plain.saveModel(to: path, description: [:]).sha256.hex
        var run = try PrunedToy(toy, #"{"finetune": {"epochs": 0}}"#, isStored: true)
        run.start = StoredWeights(path: path, sha256: sha256)
        run.options.epochs = 0
        let follower = Follower(toy)
        let (ending, trainer) = try run.finish(Trainer(run.task), follower)
        #expect(ending == nil && follower.steps.isEmpty && follower.prunings.map(\.step) == [0])
        #expect(trainer.state.pruning?.sparsity == 0.5)
        let zeros = try trainer.program.graph.parameterIDs.reduce(0) { sum, id in
            try sum + (trainer.program.mask(of: id) ?? []).count { $0 == 0 }
        }
        #expect(zeros == 102)
    }
}

@Suite("Channels that are pruned are removed") struct ShrinkingRunTests {
    @Test("what is left computes what the masked model did, and goes on training")
    func shrinks() throws {
        let toy = try Toy()
        let run = try PrunedToy(toy, PruningTests.requests[10])
        let follower = Follower(toy)
        let masked = try Trainer(run.task)
        #expect(try masked.run(follower) == nil)
        #expect(masked.isReadyToShrink && masked.state.step == 12)
        let trainer = try masked.shrunk().trainer()
        let equivalence = try #require(trainer.state.pruning?.equivalence)
        #expect(equivalence.holds && equivalence.samples == 256 && equivalence.tolerance < 1e-3)
        let (before, after) = (masked.program.graph, trainer.program.graph)
        #expect(CostModel(of: after).parameters < CostModel(of: before).parameters)
        // On the dataset too, to rounding: losses of size 1 over five samples.
        let found = try #require(try trainer.evaluate(.validation))
        let expected = try #require(try masked.evaluate(.validation))
        #expect(abs(found.loss - expected.loss) < 1e-5 && found.accuracy == expected.accuracy)
        // What the optimiser keeps was cut with the weights.
        let name = "layer6.weight"
        let momentum = try [(masked, before), (trainer, after)].map { trainer, graph in
            let id = try #require(graph.parameterIDs.first { graph[$0].name == name })
            return try trainer.read(id, .state(0)).filter { $0 != 0 }
        }
        #expect(momentum[0] == momentum[1] && !momentum[0].isEmpty)
        #expect(try run.finish(trainer, follower).ending == nil)
        #expect(trainer.state.step == 16)
    }

    @Test("a constraint is met, by no more than it takes")
    func constraint() throws {
        let toy = try Toy()
        for index in [13, 14] {
            let run = try PrunedToy(toy, PruningTests.requests[index])
            let trainer = try run.finish(Trainer(run.task), Follower(toy)).trainer
            let (before, after) = (
                CostModel(of: try toy.model().graph), CostModel(of: trainer.program.graph)
            )
            let parts = [
                Double(after.macsPerSample) / Double(before.macsPerSample),
                Double(after.parameters) / Double(before.parameters),
            ]
            #expect(index == 13 ? parts[0] <= 0.6 && parts[0] > 0.3 : parts[1] <= 0.5 && parts[1] > 0.25)
        }
    }

    @Test("a constraint that cannot be met is refused before a step is trained")
    func outOfReach() throws {
        let toy = try Toy()
        let run = try PrunedToy(toy, #"{"structure": "channel", "constraint": {"params": 10}}"#)
        let follower = Follower(toy)
        let trainer = try Trainer(run.task)
        let error = #expect(throws: TrainingError.self) { _ = try trainer.run(follower) }
        #expect("\(error.map { "\($0)" } ?? "")".contains("params of 10.0 cannot be met"))
        #expect(follower.steps.isEmpty)
    }

    @Test("a model that computes something else is told from one that does not")
    func proof() throws {
        let toy = try Toy()
        let graph = try toy.trainer().program.graph
        let values = graph.parameterIDs.map { id in
            Initializer.values(of: graph[id], index: id.index, rule: .default, seed: 3)
        }
        var other = values
        let same = try Equivalence.prove((graph, values), (graph, other), seed: 1)
        #expect(same.maxAbsDifference == 0 && same.tolerance > 0)
        let bias = try #require(graph.parameterIDs.first { graph[$0].name == "layer9.bias" })
        for change in [1e-3, .nan] as [Float] {
            other[bias.index][1] += change
            #expect(throws: TrainingError.self) {
                try Equivalence.prove((graph, values), (graph, other), seed: 1)
            }
        }
    }
}
