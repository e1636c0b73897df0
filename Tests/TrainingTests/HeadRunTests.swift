import Compression
import Files
import Graph
import JSON
import Kernels
import Plan
import Tensor
import Testing

@testable import Training

@Suite("Heads that are pruned are removed") struct HeadRunTests {
    /// Six tokens of five numbers, attended by four heads and again by three; dropout draws by their number.
    private static func model() throws -> ModelSpec {
        let log = ViolationLog()
        let text = """
            {"input": [1, 6, 5], "layers": [
             {"type": "reshape", "shape": [6, 5]}, {"type": "linear", "name": "tokens", "out_features": 8},
             {"type": "positional_embedding"},
             {"type": "transformer_block", "name": "one", "heads": 4, "dropout": 0.1, "rotary": 100},
             {"type": "transformer_block", "name": "two", "heads": 3, "head_dim": 4, "causal": true,
              "pre_norm": false},
             {"type": "global_avg_pool"}, {"type": "linear", "name": "head", "out_features": 3}]}
            """
        let spec = ModelSpec.read(try JSONValue(parsing: text), at: "", data: DataShape(), log: log)
        try log.throwIfAny()
        return try #require(spec)
    }

    static let requests = [
        #"{"structure": "channel", "schedule": "linear", "frequency": 4, "scope": "layer"}"#,
        #"{"structure": "channel", "criterion": "taylor", "scope": "layer", "exclude": ["*.mlp", "output"]}"#,
        """
        {"structure": "channel", "criterion": "movement", "schedule": "cubic", "frequency": 3,
        "exclude": ["*.mlp", "output"]}
        """,
        #"{"structure": "channel", "criterion": "snip", "scope": "layer", "constraint": {"macs": "70%"}}"#,
    ]

    private static func run(_ toy: Toy, _ index: Int) throws -> PrunedToy {
        var run = try PrunedToy(toy, requests[index])
        run.model = try model()
        run.options.epochs = 2
        if index % 2 == 0 {
            run.options.optimizer = OptimizerOptions(
                .adam(beta1: 0.9, beta2: 0.99, epsilon: 1e-8), weightDecay: 0.01)
            run.options.optimizer.averageDecay = 0.7
        }
        return run
    }

    private func heads(_ model: ModelSpec) -> [[Int?]] {
        model.layers.compactMap { layer in
            guard case .transformerBlock(let block) = layer.kind else { return nil }
            return [block.attention.heads, block.attention.headWidth]
        }
    }

    private func parameter(_ name: String, _ trainer: Trainer) throws -> Graph.ParameterID {
        let graph = trainer.program.graph
        return try #require(graph.parameterIDs.first { graph[$0].name == name })
    }

    @Test("to the last bit the same, wherever the run is interrupted", arguments: requests.indices)
    func interrupted(index: Int) throws {
        let toy = try Toy()
        let run = try Self.run(toy, index)
        let follower = Follower(toy)
        let (ending, whole) = try run.finish(Trainer(run.task), follower)
        #expect(ending == nil && whole.task.isShrunk)
        let left = heads(whole.task.model)
        #expect((left[0][0] ?? 4) < 4 || (left[1][0] ?? 3) < 3, "\(left)")
        let expected = try run.outcome(whole, follower)
        let polls = follower.polls
        for poll in [2, polls / 2, polls - 5, polls - 1] { try run.expect(expected, resumedAt: poll) }
    }

    @Test("with their moments, from a model that computes what the masked one does")
    func cut() throws {
        let toy = try Toy()
        let run = try Self.run(toy, 0)
        let masked = try Trainer(run.task)
        #expect(try masked.run(Follower(toy)) == nil)
        #expect(masked.isReadyToShrink)
        let names = ["one.attn.in_proj_weight", "one.attn.in_proj_bias", "one.attn.out_proj.weight"]
        for name in names {
            for part in [ParameterStore.Part.value, .state(0), .state(1), .average] {
                let values = try masked.read(try parameter(name, masked), part)
                #expect(values.count { $0 == 0 } >= values.count / 2, "\(name)")
            }
        }
        let trainer = try masked.shrunk().trainer()
        #expect(try #require(trainer.state.pruning?.equivalence).holds)
        // Halves, 1.5 of three rounded to the even number.
        #expect(heads(trainer.task.model) == [[2, 2], [1, 4]])
        for name in names {
            for part in [ParameterStore.Part.value, .state(0), .state(1), .average] {
                let (before, after) = try (
                    masked.read(parameter(name, masked), part), trainer.read(parameter(name, trainer), part)
                )
                #expect(before.filter { $0 != 0 } == after.filter { $0 != 0 }, "\(name)")
                #expect(after.count { $0 != 0 } > after.count / 2, "\(name)")
            }
        }
        // On the dataset to rounding: losses of size 1 over five samples.
        let found = try #require(try trainer.evaluate(.validation))
        let expected = try #require(try masked.evaluate(.validation))
        #expect(abs(found.loss - expected.loss) < 1e-5 && found.accuracy == expected.accuracy)
    }

    @Test("and what is stored is trained further, also in bfloat16 and with adapters")
    func further() throws {
        let toy = try Toy()
        let run = try Self.run(toy, 1)
        let whole = try run.finish(Trainer(run.task), Follower(toy)).trainer
        let path = toy.file("pruned.safetensors")
        let sha256 = try whole.saveModel(to: path, description: [:]).sha256.hex
        let stored = try StoredModel(path)
        #expect(stored.model == whole.task.model && heads(stored.model) == heads(whole.task.model))
        let start = StoredWeights(path: path, sha256: sha256, isMasked: stored.isMasked)
        for isAdapted in [false, true] {
            var options = Toy.options
            options.precision = .bf16
            if isAdapted { options.adapters = LowRankAdapters(rank: 1, targets: ["*_proj"]) }
            let follower = Follower(toy)
            let trainer = try toy.trainer(options, model: stored.model, start: start)
            #expect(try trainer.run(follower) == nil)
            #expect(follower.steps.count == 12 && follower.steps.allSatisfy { $0.loss.isFinite })
        }
    }
}
