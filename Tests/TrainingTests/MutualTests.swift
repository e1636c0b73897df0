import Data
import Files
import Graph
import JSON
import Kernels
import Plan
import Tensor
import Testing

@testable import Training

@Suite("Two students learn from each other") struct MutualTests {
    /// Without dropout or batch normalisation: a student says the same in training as in an evaluation.
    private static func network(_ hidden: Int) throws -> ModelSpec {
        let kinds: [LayerKind] = [
            .flatten, .linear(.init(outFeatures: hidden)), .activation(.tanh),
            .linear(.init(outFeatures: 3)),
        ]
        return try ModelSpec(
            input: Shape([1, 6, 5]), layers: kinds.enumerated().map { LayerSpec($1, name: "s\($0)") })
    }

    private static func trainer(
        _ toy: Toy, _ distill: DistillOptions, _ options: TrainOptions, model: ModelSpec? = nil,
        peer: ModelSpec? = nil
    ) throws -> Trainer {
        let model = try model ?? network(5)
        return try Trainer(
            TrainingTask(
                model: model, options: options, dataset: toy.dataset, seed: 1,
                distillation: Distillation(distill, peer: peer ?? model)))
    }

    private static func values(_ program: Program) throws -> [[Float]] {
        try program.graph.parameterIDs.map { try program.read($0) }
    }

    /// Every loss; micro-batches, mixed samples, bfloat16, a found rate, averages, every part of a model.
    static let ways: [(DistillOptions, TrainOptions)] = DistillOptions.LossName.allCases.enumerated().map {
        index, loss in
        var (distill, options) = (DistillOptions(), School.plain)
        (distill.loss, distill.alpha, distill.temperature) = (loss, 0.5, 1)
        if index == 1 { options.microBatchSize = 2 }
        if index == 2 { options.augmentation = Augmentation(mixupAlpha: 0.4) }
        if index == 3 { options.optimizer.clipNorm = 0.5 }
        if index == 4 { (options.precision, options.optimizer.averageDecay) = (.bf16, 0.7) }
        if index == 5 { options.findsLearningRate = true }
        return (distill, options)
    }

    /// A teacher's outputs come from a plan for inference, with products of other kernels and layouts; a step
    /// of 0.05 moves a weight by less than 1, so float32 leaves 1e-6.
    @Test("of whom each makes the step that the other's values, stored and as a teacher, would make it make")
    func firstStep() throws {
        let toy = try Toy()
        var (distill, options) = (DistillOptions(), School.plain)
        (distill.alpha, distill.temperature, options.steps) = (0.3, 2.5, 1)
        let (wide, narrow) = (try Self.network(7), try Self.network(5))
        /// Stores what a seed draws of a network.
        func stored(_ model: ModelSpec, _ values: [[Float]], _ name: String) throws -> TeacherModel {
            let path = toy.file(name)
            let receipt = try ModelFile.write(
                path, model.graph.parameters, masks: [],
                metadata: Trainer.metadata(of: model, toy.dataset.modelDescription)
            ) { values[$0] }
            return try TeacherModel(path, sha256: receipt.sha256.hex)
        }
        func taught(_ model: ModelSpec, by teacher: TeacherModel, from seed: UInt64) throws -> [[Float]] {
            // The samples are shuffled by the task's seed: both must see the same.
            let path = toy.file("start")
            let drawn = model.graph.parameters.enumerated().map { index, parameter in
                Initializer.values(of: parameter, index: index, rule: model.initialization, seed: seed)
            }
            let start = try stored(model, drawn, "start")
            let trainer = try Trainer(
                TrainingTask(
                    model: model, options: options, dataset: toy.dataset, seed: 1,
                    start: StoredWeights(path: path, sha256: start.sha256),
                    distillation: Distillation(distill, teachers: [teacher])))
            _ = try trainer.run(Follower(toy))
            return try Self.values(trainer.program)
        }
        let mutual = try Self.trainer(toy, distill, options, model: wide, peer: narrow)
        let peer = try #require(mutual.peer)
        let before = (try Self.values(mutual.program), try Self.values(peer.program))
        let first = try stored(wide, before.0, "first")
        let second = try stored(narrow, before.1, "second")
        #expect(try mutual.run(Follower(toy)) == nil)
        for (program, expected) in [
            (mutual.program, try taught(wide, by: second, from: 1)),
            (peer.program, try taught(narrow, by: first, from: Peer.seed(beside: 1))),
        ] {
            let found = try Self.values(program)
            #expect(found.map(\.count) == expected.map(\.count))
            for (one, other) in zip(found, expected) {
                #expect(zip(one, other).allSatisfy { abs($0 - $1) <= 1e-6 })
            }
        }
        #expect(try Self.values(mutual.program) != before.0 && Self.values(peer.program) != before.1)
    }

    @Test("start from different values, and come to agree", arguments: ways.indices)
    func agreement(index: Int) throws {
        let toy = try Toy()
        var (distill, options) = Self.ways[index]
        (options.epochs, distill.alpha) = (30, 0.2)
        let trainer = try Self.trainer(toy, distill, options)
        let peer = try #require(trainer.peer)
        #expect(try Self.values(trainer.program) != Self.values(peer.program))
        /// What separates the two in the last epochs.
        func distance(_ pupil: Pupil, _ trainer: Trainer) throws -> Double {
            #expect(try trainer.run(pupil) == nil)
            let reports = pupil.steps.compactMap(\.distillation)
            #expect(reports.count == pupil.steps.count)
            return reports.suffix(12).reduce(0) { $0 + $1.softLoss }
        }
        let pupil = Pupil(toy)
        let together = try distance(pupil, trainer)
        let (own, other) = (try trainer.evaluate(.test), try trainer.evaluatePeer(.test))
        #expect(own?.samples == 9 && other?.samples == 9 && own != other)
        #expect(pupil.epochs.allSatisfy { $0.peer != nil && $0.peer != $0.validation })
        // Of `ce` the other's entropy is a part, which grows where both teach each other.
        guard distill.loss != .ce else { return }
        distill.alpha = 1
        #expect(try together < distance(Pupil(toy), Self.trainer(toy, distill, options)))
    }

    @Test("with a weight of 1 for the labels they are two strangers, each as if alone")
    func strangers() throws {
        let toy = try Toy()
        var (distill, options) = (DistillOptions(), School.plain)
        (distill.alpha, options.epochs) = (1, 2)
        let mutual = try Self.trainer(toy, distill, options)
        _ = try mutual.run(Follower(toy))
        let alone = try Trainer(
            TrainingTask(model: Self.network(5), options: options, dataset: toy.dataset, seed: 1))
        _ = try alone.run(Follower(toy))
        // The hard part is summed in another order, as with a teacher.
        for (one, other) in zip(try Self.values(mutual.program), try Self.values(alone.program)) {
            #expect(zip(one, other).allSatisfy { abs($0 - $1) < 1e-5 })
        }
    }

    /// All that must not depend on interruptions, to the last bit, of both students.
    private struct Outcome: Equatable {
        let values: [[Float]]
        let losses: [Double]
        let evaluations: [EvaluationResult?]

        init(_ trainer: Trainer, _ follower: Follower) throws {
            let peer = try #require(trainer.peer)
            values = try MutualTests.values(trainer.program) + MutualTests.values(peer.program)
            losses = follower.steps.flatMap {
                [$0.loss, $0.distillation?.softLoss ?? 0, $0.distillation?.agreement ?? 0]
            }
            evaluations = follower.epochs.flatMap { [$0.validation, $0.peer] }
        }
    }

    @Test("paused anywhere and resumed, both end with the same bits", arguments: ways.indices)
    func resumed(index: Int) throws {
        let toy = try Toy()
        let (distill, options) = Self.ways[index]
        // Dropout and batch normalisation: what is drawn and what is averaged must go on as well.
        func make() throws -> Trainer { try Self.trainer(toy, distill, options, model: toy.model()) }
        let whole = Follower(toy)
        let trainer = try make()
        #expect(try trainer.run(whole) == nil)
        let expected = try Outcome(trainer, whole)
        let areNumbers = expected.values.joined().allSatisfy { $0.isFinite }
        #expect(areNumbers)
        // The last polls lie within the evaluations of both.
        for poll in [1, 2, whole.polls / 2, whole.polls - 2, whole.polls - 1, whole.polls] {
            let interrupted = Follower(toy)
            interrupted.stopsAtPoll = poll
            #expect(try make().run(interrupted) == .pause, "poll \(poll)")
            interrupted.restart(stoppingAt: nil)
            let second = try make()
            try second.restore(from: interrupted.last, sha256: interrupted.lastReceipt?.sha256.hex)
            #expect(try second.run(interrupted) == nil)
            #expect(try Outcome(second, interrupted) == expected, "poll \(poll)")
        }
    }

    @Test("a checkpoint is theirs alone; cancelled, they leave one; the best one has both")
    func checkpoints() throws {
        let toy = try Toy()
        let (distill, options) = Self.ways[0]
        let follower = Follower(toy)
        (follower.reason, follower.stopsAtPoll) = (.cancel, 3)
        #expect(try Self.trainer(toy, distill, options).run(follower) == .cancel)
        #expect(follower.checkpoints == 1)
        let trainer = try Self.trainer(toy, distill, options)
        let whole = Follower(toy)
        _ = try trainer.run(whole)
        _ = try trainer.save(to: whole.last)
        let stranger = try Self.trainer(toy, distill, options, peer: Self.network(7))
        #expect(throws: TrainingError.self) { try stranger.restore(from: whole.last, sha256: nil) }
        let best = try #require(whole.epochs.last { $0.isBest })
        try trainer.restoreParameters(from: whole.best, sha256: nil)
        #expect(try trainer.evaluate(.validation) == best.validation)
        #expect(try trainer.evaluatePeer(.validation) == best.peer)
        // The model is the first student's alone.
        let path = toy.file("model")
        _ = try trainer.saveModel(to: path, description: toy.dataset.modelDescription)
        #expect(try StoredModel(path).model == trainer.task.model)
    }

    @Test("in the memory that was told before they started", arguments: ways.indices)
    func memory(index: Int) throws {
        let toy = try Toy()
        let (distill, options) = Self.ways[index]
        let peer = try Self.network(7)
        let mutual = try Self.trainer(toy, distill, options, peer: peer)
        let engine = try DNNEngine()
        let told = try Distillation.program(
            of: peer, distill, options, on: toy.dataset.info, engine: engine
        ).byteCount
        let own = try Program(
            Self.network(5).graph,
            TrainingTask.programOptions(
                toy.dataset.info, Self.network(5), options, distillation: distill), on: engine
        ).byteCount
        let inputs = TrainingTask.inputByteCount(toy.dataset.info, try Self.network(5), options) ?? 0
        let outputs = Distillation.stagingByteCount(of: peer, options)
        // An arena is whole cache lines.
        #expect((0..<64).contains(mutual.byteCount - inputs - own - told - outputs))
    }

    @Test("of whom one that does not fit the other is refused")
    func misfit() throws {
        let toy = try Toy()
        let other = try ModelSpec(
            input: Shape([1, 6, 5]),
            layers: [LayerSpec(.flatten, name: "f"), LayerSpec(.linear(.init(outFeatures: 4)), name: "l")])
        let error = #expect(throws: TrainingError.self) {
            try Self.trainer(toy, DistillOptions(), School.plain, peer: other)
        }
        #expect(error?.description == "The peer cannot be used: its output is 4, the student's 3.")
    }
}
