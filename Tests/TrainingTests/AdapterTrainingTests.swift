import Files
import Formats
import Graph
import JSON
import Kernels
import Plan
import Tensor
import Testing
import Training

@Suite("Training adapters") struct AdapterTrainingTests {
    private static func options(
        _ adapters: LowRankAdapters = LowRankAdapters(rank: 2, alpha: 6, targets: ["layer6", "layer9"])
    ) -> TrainOptions {
        var options = Toy.options
        options.adapters = adapters
        options.optimizer.averageDecay = 0.5
        return options
    }

    private func trainer(
        _ toy: Toy, _ options: TrainOptions = options(), start: StoredWeights? = nil
    ) throws -> Trainer {
        try Trainer(
            TrainingTask(model: toy.model(), options: options, dataset: toy.dataset, seed: 1, start: start))
    }

    private static func values(of trainer: Trainer, _ part: ParameterStore.Part = .value) throws
        -> [String: [UInt32]]
    {
        let graph = trainer.program.graph
        return Dictionary(
            uniqueKeysWithValues: try graph.parameterIDs.map {
                (graph[$0].name, try trainer.program.read($0, part).map(\.bitPattern))
            })
    }

    @Test("changes the adapters alone: what is frozen keeps its bits, and so do its averages")
    func frozen() throws {
        let toy = try Toy()
        let trainer = try trainer(toy)
        let graph = trainer.program.graph
        let before = try Self.values(of: trainer)
        #expect(try trainer.run(Follower(toy)) == nil)
        for part in [ParameterStore.Part.value, .average] {
            let after = try Self.values(of: trainer, part)
            for parameter in graph.parameters where parameter.role.isLearned {
                let isSame = after[parameter.name] == before[parameter.name]
                #expect(isSame != parameter.isTrained, "\(parameter.name)")
            }
        }
        #expect(
            graph.parameters.filter(\.isTrained).map(\.name) == [
                "layer6.lora_A.weight", "layer6.lora_B.weight", "layer9.lora_A.weight",
                "layer9.lora_B.weight",
            ])
    }

    @Test("keeps optimiser states of the adapters alone in a checkpoint")
    func checkpoint() throws {
        let toy = try Toy()
        let trainer = try trainer(toy)
        _ = try trainer.save(to: toy.file("checkpoint"))
        let stored = try SafetensorsReader(toy.file("checkpoint")).entries.map(\.name)
        let states = stored.filter { $0.hasPrefix("state0.") }
        #expect(states.count == 4 && states.allSatisfy { $0.contains(".lora_") })
    }

    @Test("starts where the base model is: B is zero, A uniform in ±1/sqrt(in) whatever the model's rule")
    func initialization() throws {
        let toy = try Toy()
        let plain = try toy.trainer()
        let adapted = try trainer(toy)
        #expect(try plain.evaluate(.test) == adapted.evaluate(.test))
        let graph = adapted.program.graph
        for adapter in graph.adapters {
            #expect(try adapted.program.read(adapter.up).allSatisfy { $0 == 0 })
            let bound = 1 / Float(graph[adapter.down].shape[1]).squareRoot()
            let down = try adapted.program.read(adapter.down)
            #expect(down.allSatisfy { abs($0) <= bound } && down.contains { abs($0) > bound / 2 })
        }
    }

    @Test("stores the base architecture with the adapters merged, which computes the same")
    func merged() throws {
        let toy = try Toy()
        let trainer = try trainer(toy)
        _ = try trainer.run(Follower(toy))
        let path = toy.file("merged")
        let receipt = try trainer.saveModel(to: path, description: [:])
        let model = try toy.model()
        let reader = try SafetensorsReader(path)
        #expect(Set(reader.entries.map(\.name)) == Set(model.graph.parameters.map(\.name)))
        let start = StoredWeights(path: path, sha256: receipt.sha256.hex)
        var plain = Toy.options
        plain.adapters = nil
        let alone = try self.trainer(toy, plain, start: start)
        let (one, other) = (
            try #require(try trainer.evaluate(.test)), try #require(try alone.evaluate(.test))
        )
        // Sums of at most 36 terms through two layers, each off by at most 4 √36 ε of terms below 10; the
        // loss moves at most twice as far as the outputs do: 2 · 2 · 4 · 6 · 10 ε.
        let bound: Double = 960 * 0x1p-23
        #expect(abs(one.loss - other.loss) <= bound)
        #expect(one.accuracy == other.accuracy)
        let untrained = try #require(try toy.trainer().evaluate(.test))
        #expect(abs(one.loss - untrained.loss) > 1e-3, "the adapters have learned something")
    }

    @Test("stores the adapters alone too")
    func adaptersAlone() throws {
        let toy = try Toy()
        let trainer = try trainer(toy)
        _ = try trainer.run(Follower(toy))
        _ = try trainer.saveAdapters(to: toy.file("adapters"), description: ["lora": ["rank": 2]])
        let reader = try SafetensorsReader(toy.file("adapters"))
        let graph = trainer.program.graph
        #expect(reader.entries.count == 4 && reader.metadata["vintner.lora"] == #"{"rank":2}"#)
        #expect(reader.entries.allSatisfy { $0.name.hasPrefix("base_model.model.layer") }, "as PEFT does")
        for adapter in graph.adapters {
            let up = graph[adapter.up]
            let stored = try reader.floats("base_model.model.\(up.name)", shape: up.shape.dimensions)
            #expect(try stored == trainer.program.read(adapter.up, .average))
        }
    }

    @Test("paused at any step and resumed, it ends with the same bits")
    func resumed() throws {
        let toy = try Toy()
        let whole = try trainer(toy)
        let follower = Follower(toy)
        _ = try whole.run(follower)
        let expected = try Self.values(of: whole)
        for poll in stride(from: 1, through: follower.polls, by: 4) {
            let interrupted = Follower(toy)
            interrupted.stopsAtPoll = poll
            #expect(try trainer(toy).run(interrupted) == .pause)
            interrupted.restart(stoppingAt: nil)
            let second = try trainer(toy)
            try second.restore(from: interrupted.last, sha256: interrupted.lastReceipt?.sha256.hex)
            #expect(try second.run(interrupted) == nil)
            #expect(try Self.values(of: second) == expected, "poll \(poll)")
        }
        var other = Self.options()
        other.adapters?.alpha = 5
        let stranger = try trainer(toy, other)
        let last = toy.file("last")
        _ = try whole.save(to: last)
        #expect(throws: TrainingError.self) { try stranger.restore(from: last, sha256: nil) }
    }

    @Test("fine-tunes from a stored model's weights, and refuses damaged ones")
    func storedWeights() throws {
        let toy = try Toy()
        let first = try toy.trainer()
        _ = try first.run(Follower(toy))
        let path = toy.file("base")
        let receipt = try first.saveModel(to: path, description: [:])
        let start = StoredWeights(path: path, sha256: receipt.sha256.hex)
        let second = try trainer(toy, start: start)
        #expect(try first.evaluate(.test) == second.evaluate(.test))
        #expect(throws: TrainingError.self) {
            try trainer(toy, start: StoredWeights(path: path, sha256: String(repeating: "0", count: 64)))
        }
        #expect(throws: TrainingError.self) {
            try trainer(toy, start: StoredWeights(path: path + "x", sha256: receipt.sha256.hex))
        }
    }
}
