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
import Training

@Suite("A student's layers come close to its teacher's") struct FeatureDistillationTests {
    /// What is compared and how the student is trained, so that every way is taken once.
    static let ways: [(DistillOptions, TrainOptions)] = (0..<6).map { index in
        var (distill, options) = (DistillOptions(), School.plain)
        let map = FeatureComparison(student: "relu", teacher: "layer1", adapter: .conv1x1, weight: 0.5)
        let vector = FeatureComparison(student: "flat", teacher: "layer6", weight: 0.2)
        switch index {
        case 0: distill.features = [map]
        case 1:
            distill.features = [
                .init(student: "conv", teacher: "layer2", loss: .attention, weight: 5),
                .init(student: "pool", teacher: "layer3", loss: .cosine, adapter: .linear), map,
            ]
            options.microBatchSize = 2
            options.optimizer.clipNorm = 0.5
        case 2:
            (distill.features, distill.alpha, options.precision) = ([vector, vector], 1, .bf16)
            options.optimizer.averageDecay = 0.9
        case 3:
            (distill.features, distill.cache) = ([map, vector], .memory)
            (options.augmentation, options.checkpointSegments) = (Toy.options.augmentation, 3)
            options.optimizer = OptimizerOptions(.adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-8))
        case 4:
            (distill.features, distill.loss) = ([map], .dkd)
            options.findsLearningRate = true
        default:
            distill.features = [vector]
            options.adapters = LowRankAdapters(rank: 2, targets: ["*"])
        }
        return (distill, options)
    }

    private static func student(dropout: Double = 0.2) throws -> ModelSpec {
        var conv = LayerKind.Conv2d(outChannels: 3, kernelSize: Pair(3, 3))
        conv.padding = Pair(1, 1)
        let layers: [(String, LayerKind)] = [
            ("conv", .conv2d(conv)), ("relu", .relu), ("pool", .maxPool2d(.init(kernelSize: Pair(2, 2)))),
            ("flat", .flatten), ("drop", .dropout(dropout)), ("hidden", .linear(.init(outFeatures: 5))),
            ("out", .linear(.init(outFeatures: 3))),
        ]
        return try ModelSpec(input: Shape([1, 6, 5]), layers: layers.map { LayerSpec($1, name: $0) })
    }

    private static func task(
        _ school: School, _ distill: DistillOptions, _ options: TrainOptions, dropout: Double = 0.2,
        teachers: [TeacherModel]? = nil, pruning: Pruning? = nil
    ) throws -> TrainingTask {
        TrainingTask(
            model: try student(dropout: dropout), options: options, dataset: school.toy.dataset, seed: 1,
            distillation: Distillation(
                distill, teachers: teachers ?? [school.teacher], cachePath: school.toy.file("cache")),
            pruning: pruning)
    }

    private static func trainer(_ school: School, _ index: Int) throws -> Trainer {
        try Trainer(task(school, ways[index].0, ways[index].1))
    }

    @Test("with a curve of the distance, which the loss has as it is", arguments: ways.indices)
    func curves(index: Int) throws {
        let school = try School()
        let pupil = Pupil(school.toy)
        let trainer = try Self.trainer(school, index)
        let digests = try trainer.teacherDigests
        #expect(try trainer.run(pupil) == nil)
        #expect(pupil.steps.count == 12)
        let distill = Self.ways[index].0
        for report in pupil.steps {
            let found = try #require(report.distillation)
            let distance = try #require(found.featureLoss)
            let weight = Double(distill.softWeight(epoch: report.epoch))
            let alpha = distill.alpha
            let sum = alpha * found.hardLoss + (1 - alpha) * weight * found.softLoss + distance
            // alpha and the warm-up's weight are float32.
            #expect(distance > 0 && abs(report.loss - sum) <= 1e-6 * sum)
        }
        #expect(try trainer.teacherDigests == digests)
        let wantsCache = distill.cache != .none
        #expect(pupil.notes.map(\.code) == (wantsCache ? ["teacher_cache_bypassed"] : []))
        #expect(pupil.notes.allSatisfy { $0.message.contains("layers of the teacher are compared too") })
    }

    @Test("the closer the longer it trains, adapters and all", arguments: FeatureComparison.Loss.allCases)
    func learns(loss: FeatureComparison.Loss) throws {
        let school = try School()
        var (distill, options) = (DistillOptions(), School.plain)
        distill.features = [
            .init(
                student: "relu", teacher: "layer2", loss: loss, adapter: loss == .attention ? nil : .conv1x1,
                weight: loss == .attention ? 20 : 1)
        ]
        (options.epochs, options.learningRate) = (60, 0.05)
        let pupil = Pupil(school.toy)
        _ = try Trainer(Self.task(school, distill, options)).run(pupil)
        let distances = pupil.steps.compactMap { $0.distillation?.featureLoss }
        let (first, last) = (distances.prefix(8).reduce(0, +), distances.suffix(8).reduce(0, +))
        #expect(last < 0.6 * first, "\(first) to \(last)")
    }

    @Test("paused anywhere and resumed, it ends with the same bits", arguments: ways.indices)
    func resumed(index: Int) throws {
        let school = try School()
        func outcome(_ trainer: Trainer, _ follower: Follower) throws -> ([[UInt32]], [Double?]) {
            (try school.values(of: trainer), follower.steps.map { $0.distillation?.featureLoss })
        }
        let whole = Follower(school.toy)
        let trainer = try Self.trainer(school, index)
        #expect(try trainer.run(whole) == nil)
        let expected = try outcome(trainer, whole)
        for poll in [2, whole.polls / 2, whole.polls - 4] {
            let interrupted = Follower(school.toy)
            interrupted.stopsAtPoll = poll
            #expect(try Self.trainer(school, index).run(interrupted) == .pause)
            interrupted.restart(stoppingAt: nil)
            let second = try Self.trainer(school, index)
            try second.restore(from: interrupted.last, sha256: interrupted.lastReceipt?.sha256.hex)
            #expect(try second.run(interrupted) == nil)
            let found = try outcome(second, interrupted)
            #expect(found.0 == expected.0 && found.1 == expected.1, "poll \(poll)")
        }
        var other = Self.ways[index]
        other.0.features[0].weight += 1
        let (stranger, last) = (
            try Trainer(Self.task(school, other.0, other.1)), school.toy.file("other")
        )
        _ = try trainer.save(to: last)
        #expect(throws: TrainingError.self) { try stranger.restore(from: last, sha256: nil) }
    }

    @Test("which is stored without the adapters, though a checkpoint has them", arguments: ways.indices)
    func stored(index: Int) throws {
        let school = try School()
        let trainer = try Self.trainer(school, index)
        _ = try trainer.run(Follower(school.toy))
        let (model, checkpoint) = (school.toy.file("student"), school.toy.file("state"))
        _ = try trainer.saveModel(to: model, description: school.toy.dataset.modelDescription)
        _ = try trainer.save(to: checkpoint)
        func names(_ path: String) throws -> Set<String> {
            Set(try SafetensorsReader(path).entries.map(\.name))
        }
        #expect(try names(model) == Set(Self.student().graph.parameters.map(\.name)))
        _ = try StoredModel(model)
        let hasAdapters = try names(checkpoint).contains { $0.hasPrefix("features[0].") }
        #expect(hasAdapters == (Self.ways[index].0.features[0].adapter != .none))
        guard Self.ways[index].1.adapters != nil else { return }
        _ = try trainer.saveAdapters(to: model, description: school.toy.dataset.modelDescription)
        #expect(try names(model).allSatisfy { $0.contains(".lora_") })
    }

    /// Their gradients differ by the order of their sums, some 1e-7 a step.
    @Test("alike by whole batches and by their parts", arguments: FeatureComparison.Loss.allCases)
    func parts(loss: FeatureComparison.Loss) throws {
        let school = try School()
        let values = try [nil, 2, 1].map { size in
            var (distill, options) = (DistillOptions(), School.plain)
            distill.features = [
                .init(
                    student: "relu", teacher: "layer1", loss: loss,
                    adapter: loss == .attention ? nil : .linear, weight: 2)
            ]
            options.microBatchSize = size
            let trainer = try Trainer(Self.task(school, distill, options, dropout: 0))
            let follower = Follower(school.toy)
            _ = try trainer.run(follower)
            return try trainer.program.graph.parameterIDs.flatMap { try trainer.program.read($0) }
                + follower.steps.map { Float($0.loss) }
        }
        for other in values.dropFirst() {
            #expect(zip(values[0], other).allSatisfy { abs($0 - $1) < 2e-5 })
        }
    }

    @Test("in the memory that was told before it started", arguments: ways.indices)
    func memory(index: Int) throws {
        let school = try School()
        let (distill, options) = Self.ways[index]
        let distillation = Distillation(distill, teachers: [school.teacher])
        let told = try distillation.byteCount(
            of: Self.student(), options, on: school.toy.dataset.info, engine: DNNEngine())
        let taught = try Self.trainer(school, index)
        let inputs = try #require(
            TrainingTask.inputByteCount(school.toy.dataset.info, Self.student(), options))
        let taken = taught.byteCount - taught.program.byteCount - inputs
        // Staging is told even where nothing is gathered.
        #expect(taken <= told && told <= taken + 1024, "\(told) for \(taken)")
        let graph = try distill.comparing(
            TrainingTask.graph(of: Self.student(), options), with: [school.teacher.stored.model.graph])
        let planned = try Program(
            graph,
            TrainingTask.programOptions(
                school.toy.dataset.info, Self.student(), options, distillation: distill), on: DNNEngine())
        #expect(planned.byteCount == taught.program.byteCount)
    }

    private static func refusal(_ task: TrainingTask) -> String {
        let error = #expect(throws: TrainingError.self) { try Trainer(task) }
        guard case .badFeatures(let reason) = error else { return "\(String(describing: error))" }
        return reason
    }

    @Test("unless they cannot: then it says why before anything is trained")
    func refused() throws {
        let school = try School()
        func reason(_ features: [FeatureComparison]) throws -> String {
            var distill = DistillOptions()
            distill.features = features
            return Self.refusal(try Self.task(school, distill, School.plain))
        }
        #expect(
            try reason([.init(student: "rleu", teacher: "layer2"), .init(student: "relu", teacher: "?")])
                .hasPrefix(
                    "the student has no layer \"rleu\"; did you mean \"relu\"?; "
                        + "the teacher has no layer \"?\""))
        #expect(try reason([.init(student: "relu", teacher: "layer3")]).contains("but their channels may"))
        #expect(
            try reason([.init(student: "relu", teacher: "layer2", loss: .cosine)]).contains(
                "without an adapter"))
        #expect(
            try reason([.init(student: "flat", teacher: "layer6", adapter: .conv1x1)]).contains("for images"))
        let other = try School.teacher("other", in: school.toy, seed: 5)
        let distill = Self.ways[0].0
        #expect(
            Self.refusal(
                try Self.task(school, distill, School.plain, teachers: [school.teacher, other]))
                == "features are compared with one teacher's, and there are 2")
        var prune = PruneOptions()
        prune.structure = .channel
        #expect(
            Self.refusal(
                try Self.task(
                    school, distill, School.plain,
                    pruning: Pruning(prune, isStored: false, now: { 0 })))
                == "the student's channels are to be removed, which they count on")
    }

    @Test("while weights are held at zero, the adapters' not")
    func masked() throws {
        let school = try School()
        var prune = PruneOptions()
        prune.targetSparsity = 0.5
        let task = try Self.task(
            school, Self.ways[0].0, School.plain, pruning: Pruning(prune, isStored: false, now: { 0 }))
        let trainer = try Trainer(task)
        _ = try trainer.run(Follower(school.toy))
        let graph = trainer.program.graph
        let isSparse = try graph.parameterIDs.map { try trainer.program.read($0).contains(0) }
        for (id, isSparse) in zip(graph.parameterIDs, isSparse) where graph.isFeatureAdapter(id) {
            #expect(!isSparse, "\(graph[id].name)")
        }
        #expect(isSparse.contains(true))
        _ = try trainer.withoutEmptyChannels()
    }
}

@Suite("The fields of distill.features") struct FeatureFieldsTests {
    private func read(_ text: String) throws -> (
        options: DistillOptions, resolved: JSONObject, violations: [String]
    ) {
        let log = ViolationLog()
        let schema = ObjectSchema("distill", "", fields: DistillFields.fields)
        var reader = ObjectReader(
            try JSONValue(parsing: Array(#"{"features": \#(text)}"#.utf8)), as: schema, at: "/distill",
            log: log)
        let options = DistillOptions.read(&reader)
        reader.finish()
        return (options, reader.resolved, log.violations.map { "\($0.pointer) \($0.code)" })
    }

    @Test("have their losses' weights and adapters, and say so")
    func defaults() throws {
        let text = #"""
            [{"student": "a", "teacher": "b"}, {"student": "a", "teacher": "b", "loss": "cosine"},
             {"student": "a", "teacher": "b", "loss": "attention", "weight": 5},
             {"student": "a", "teacher": "b", "loss": "cosine", "adapter": "conv1x1"}]
            """#
        let (options, resolved, violations) = try read(text)
        #expect(violations.isEmpty)
        #expect(
            options.features == [
                .init(student: "a", teacher: "b", loss: .mse, adapter: .linear, weight: 100),
                .init(
                    student: "a", teacher: "b", loss: .cosine, adapter: FeatureComparison.Adapter.none,
                    weight: 0.25),
                .init(
                    student: "a", teacher: "b", loss: .attention, adapter: FeatureComparison.Adapter.none,
                    weight: 5),
                .init(student: "a", teacher: "b", loss: .cosine, adapter: .conv1x1, weight: 0.25),
            ])
        let first: JSONValue = [
            "student": "a", "teacher": "b", "loss": "mse", "adapter": "linear", "weight": .number(100),
        ]
        #expect(resolved["features"]?.arrayValue?.first == first)
        let again = try read((resolved["features"] ?? .null).encoded())
        #expect(again.options == options && again.resolved == resolved)
        let none = try read("null")
        #expect(none.options.features.isEmpty && none.violations.isEmpty)
    }

    @Test("tell every violation at once")
    func violations() throws {
        let text = #"""
            [{"student": "a", "weight": 0}, {"student": "a", "teacher": "b", "loss": "l1", "adapter": "mlp"},
             {"student": 1, "teacher": "b", "layer": 2}, 3]
            """#
        #expect(
            try Set(read(text).violations) == [
                "/distill/features/0/teacher missing_field", "/distill/features/0/weight out_of_range",
                "/distill/features/1/loss invalid_value", "/distill/features/1/adapter invalid_value",
                "/distill/features/2/student wrong_type", "/distill/features/2/layer unknown_field",
                "/distill/features/3 wrong_type",
            ])
        #expect(try read("[]").violations == ["/distill/features out_of_range"])
        let many = Array(repeating: #"{"student": "a", "teacher": "b"}"#, count: 17).joined(separator: ",")
        #expect(try read("[\(many)]").violations == ["/distill/features out_of_range"])
    }
}
