import Files
import Formats
import Graph
import JSON
import Kernels
import Plan
import Tensor
import Testing
import Training

@Suite("A model that was pruned stays so") struct MaskedTrainingTests {
    private static var options: TrainOptions {
        var options = Toy.options
        options.optimizer.averageDecay = 0.5
        return options
    }

    /// A stored model with zeros that are held: the parameters of a run, half of some masked.
    private static func pruned(_ toy: Toy, zeroes: Bool = false) throws -> (StoredWeights, [String: [UInt8]])
    {
        let first = try toy.trainer(options)
        let plain = toy.file("plain.safetensors")
        let receipt = try first.saveModel(to: plain, description: [:])
        let start = StoredWeights(path: plain, sha256: receipt.sha256.hex, isMasked: true)
        let trainer = try toy.trainer(options, start: start)
        var masks: [String: [UInt8]] = [:]
        for id in trainer.program.graph.parameterIDs where trainer.program.graph[id].role == .weight {
            let parameter = trainer.program.graph[id]
            var random = CounterRandom(seed: 3, purpose: .test, step: UInt64(id.index))
            let mask = (0..<parameter.shape.elementCount).map { _ in UInt8(random.below(2)) }
            if zeroes {
                // A weight that stays and is zero is none that is held.
                var values = try trainer.program.read(id)
                values[try #require(mask.firstIndex(of: 1))] = 0
                for part in [ParameterStore.Part.value, .average] {
                    try trainer.program.write(values, to: id, part)
                }
            }
            try trainer.program.setMask(mask, of: id)
            masks[parameter.name] = mask
        }
        let path = toy.file("pruned.safetensors")
        let sha256 = try trainer.saveModel(to: path, description: [:]).sha256.hex
        return (StoredWeights(path: path, sha256: sha256, isMasked: try StoredModel(path).isMasked), masks)
    }

    private static func expectHeld(
        _ masks: [String: [UInt8]], in path: String, beside prefixes: [String] = [""]
    ) throws {
        let reader = try SafetensorsReader(path)
        for (name, mask) in masks {
            for prefix in prefixes {
                let values = try reader.floats(prefix + name)
                #expect(zip(values, mask).allSatisfy { $1 == 1 || $0.bitPattern == 0 }, "\(prefix)\(name)")
            }
        }
    }

    @Test("trained further, its file has the same zeros and says so", arguments: [false, true])
    func further(zeroes: Bool) throws {
        let toy = try Toy()
        let (start, masks) = try Self.pruned(toy, zeroes: zeroes)
        #expect(start.isMasked)
        let names = try SafetensorsReader(start.path).entries.map(\.name)
        #expect(names.contains("layer0.weight.mask") == zeroes)
        let trainer = try toy.trainer(Self.options, start: start)
        let follower = Follower(toy)
        follower.isCheckpointDue = true
        #expect(try trainer.run(follower) == nil)
        let path = toy.file("further.safetensors")
        _ = try trainer.saveModel(to: path, description: [:])
        try Self.expectHeld(masks, in: path)
        try Self.expectHeld(masks, in: follower.last, beside: ["", "state0.", "average."])
        #expect(try StoredModel(path).isMasked)
        // What stays has moved, from zero too.
        let (before, after) = (try SafetensorsReader(start.path), try SafetensorsReader(path))
        for (name, mask) in masks {
            let pairs = zip(zip(try before.floats(name), try after.floats(name)), mask)
            #expect(pairs.allSatisfy { $1 == 0 || $0.0 != $0.1 }, "\(name)")
        }
    }

    @Test("without being asked to hold them, zeros move; a model of its own has none")
    func unheld() throws {
        let toy = try Toy()
        let (start, masks) = try Self.pruned(toy)
        let free = StoredWeights(path: start.path, sha256: start.sha256)
        let trainer = try toy.trainer(Self.options, start: free)
        #expect(try trainer.run(Follower(toy)) == nil)
        let path = toy.file("free.safetensors")
        _ = try trainer.saveModel(to: path, description: [:])
        let reader = try SafetensorsReader(path)
        for (name, mask) in masks {
            #expect(zip(try reader.floats(name), mask).contains { $1 == 0 && $0 != 0 }, "\(name)")
        }
        #expect(try !StoredModel(path).isMasked)
    }

    @Test("paused at any step and resumed, it ends with the same bits")
    func resumed() throws {
        let toy = try Toy()
        let (start, masks) = try Self.pruned(toy, zeroes: true)
        let follower = Follower(toy)
        let whole = try toy.trainer(Self.options, start: start)
        #expect(try whole.run(follower) == nil)
        let expected = try whole.saveModel(to: toy.file("whole.safetensors"), description: [:])
        for poll in [1, 4, 7, follower.polls] {
            let interrupted = Follower(toy)
            interrupted.stopsAtPoll = poll
            #expect(try toy.trainer(Self.options, start: start).run(interrupted) == .pause)
            interrupted.restart(stoppingAt: nil)
            let trainer = try toy.trainer(Self.options, start: start)
            try trainer.restore(from: interrupted.last, sha256: nil)
            #expect(try trainer.run(interrupted) == nil)
            let path = toy.file("resumed.safetensors")
            #expect(try trainer.saveModel(to: path, description: [:]).sha256.hex == expected.sha256.hex)
            try Self.expectHeld(masks, in: path)
        }
    }
}
