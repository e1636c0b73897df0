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

/// A trained teacher beside a toy's data.
struct School {
    let toy: Toy
    let teacher: TeacherModel

    /// Trains the teacher for a few steps and stores it.
    init(_ name: String = "teacher", in toy: Toy? = nil, seed: UInt64 = 9) throws {
        self.toy = try toy ?? Toy()
        teacher = try Self.teacher(name, in: self.toy, seed: seed)
    }

    static func teacher(_ name: String, in toy: Toy, seed: UInt64 = 9) throws -> TeacherModel {
        let trainer = try toy.trainer(Toy.options, seed: seed)
        _ = try trainer.run(Follower(toy))
        let path = toy.file("\(name).safetensors")
        let receipt = try trainer.saveModel(to: path, description: toy.dataset.modelDescription)
        return try TeacherModel(path, sha256: receipt.sha256.hex)
    }

    /// A student with fewer units than its teacher.
    func student() throws -> ModelSpec {
        let kinds: [LayerKind] = [
            .flatten, .linear(.init(outFeatures: 5)), .relu, .dropout(0.2), .linear(.init(outFeatures: 3)),
        ]
        return try ModelSpec(
            input: Shape([1, 6, 5]), layers: kinds.enumerated().map { LayerSpec($1, name: "s\($0)") })
    }

    /// The same student without dropout, which draws the same first values.
    static func plainStudent() throws -> ModelSpec {
        let kinds: [LayerKind] = [
            .flatten, .linear(.init(outFeatures: 5)), .relu, .linear(.init(outFeatures: 3)),
        ]
        return try ModelSpec(
            input: Shape([1, 6, 5]), layers: kinds.enumerated().map { LayerSpec($1, name: "s\($0)") })
    }

    /// Without what changes images at random.
    static var plain: TrainOptions {
        var options = Toy.options
        options.augmentation = .none
        return options
    }

    func trainer(
        _ distill: DistillOptions = DistillOptions(), _ options: TrainOptions = plain,
        teachers: [TeacherModel]? = nil, cache: String? = "cache"
    ) throws -> Trainer {
        try Trainer(
            TrainingTask(
                model: student(), options: options, dataset: toy.dataset, seed: 1,
                distillation: Distillation(
                    distill, teachers: teachers ?? [teacher], cachePath: cache.map(toy.file))))
    }

    func values(of trainer: Trainer) throws -> [[UInt32]] {
        try trainer.program.graph.parameterIDs.map { try trainer.program.read($0).map(\.bitPattern) }
    }
}

/// Keeps what a run reports of its teacher.
final class Pupil: TrainingObserver {
    private let inner: Follower
    private(set) var notes: [TrainingNote] = []

    init(_ toy: Toy) { inner = Follower(toy) }

    var steps: [StepReport] { inner.steps }
    var epochs: [EpochReport] { inner.epochs }
    var stopReason: StopReason? { inner.stopReason }
    var isCheckpointDue: Bool { false }
    func didFindLearningRate(_ report: LearningRateReport) { inner.didFindLearningRate(report) }
    func didStep(_ report: StepReport) { inner.didStep(report) }
    func didNote(_ note: TrainingNote) { notes.append(note) }
    func willEvaluate(step: Int) {}
    func didFinishEpoch(_ report: EpochReport) { inner.didFinishEpoch(report) }
    func storeCheckpoint(of trainer: Trainer, isBest: Bool) throws(TrainingError) {
        try inner.storeCheckpoint(of: trainer, isBest: isBest)
    }
}

@Suite("A student learns from its teacher") struct DistillationTests {
    /// Every way in which outputs reach the student, and every loss.
    static let ways: [(DistillOptions, TrainOptions)] = DistillOptions.LossName.allCases.enumerated().map {
        index, loss in
        var (distill, options) = (DistillOptions(), School.plain)
        distill.loss = loss
        distill.cache = [.none, .memory, .disk][index % 3]
        if index % 2 == 1 { options.microBatchSize = 2 }
        if index == 3 { options.augmentation = Toy.options.augmentation }
        if index == 4 { options.precision = .bf16 }
        if index == 5 { options.findsLearningRate = true }
        return (distill, options)
    }

    @Test("with curves of both losses and of their agreement", arguments: ways.indices)
    func curves(index: Int) throws {
        let school = try School()
        let (distill, options) = Self.ways[index]
        let pupil = Pupil(school.toy)
        #expect(try school.trainer(distill, options).run(pupil) == nil)
        #expect(pupil.steps.count == 12)
        for report in pupil.steps {
            let found = try #require(report.distillation)
            #expect(found.hardLoss > 0 && found.softLoss > 0 && (0...1).contains(found.agreement))
            let weight = Double(distill.softWeight(epoch: report.epoch))
            let sum = 0.1 * found.hardLoss + 0.9 * weight * found.softLoss
            // alpha and the warm-up's weight are float32.
            #expect(abs(report.loss - sum) <= 1e-6 * sum)
        }
        let alone = Pupil(school.toy)
        #expect(try school.toy.trainer(options).run(alone) == nil)
        #expect(alone.steps.allSatisfy { $0.distillation == nil })
    }

    @Test("which stays as it was, to the last byte")
    func teacherIsUntouched() throws {
        let school = try School()
        let before = try readFile(school.teacher.stored.path, limit: 1 << 20)
        let trainer = try school.trainer()
        let untrained = try school.values(of: trainer)
        let parameters = try trainer.teacherDigests
        _ = try trainer.run(Follower(school.toy))
        #expect(try trainer.teacherDigests == parameters && parameters.count == 1)
        #expect(try readFile(school.teacher.stored.path, limit: 1 << 20) == before)
        #expect(try school.values(of: trainer) != untrained, "the student has learned something")
    }

    @Test("whose dropout is silent, while the student's own is not")
    func dropout() throws {
        let school = try School()
        let deaf = try School.plainStudent()
        func losses(_ model: ModelSpec) throws -> [Double] {
            var options = School.plain
            options.steps = 1
            var distill = DistillOptions()
            distill.alpha = 0
            let follower = Follower(school.toy)
            _ = try Trainer(
                TrainingTask(
                    model: model, options: options, dataset: school.toy.dataset, seed: 1,
                    distillation: Distillation(distill, teachers: [school.teacher]))
            ).run(follower)
            return follower.steps.map(\.loss)
        }
        #expect(try losses(school.student()) != losses(deaf))
        // The teacher has dropout as well, and says what it says in an evaluation.
        let teacher = try InferenceModel(school.teacher.stored, batches: [1])
        let layers = teacher.program.graph.nodes.map(\.operation)
        #expect(layers.contains { if case .dropout = $0 { true } else { false } })
        let calls = try #require(teacher.program.evaluationPlan(batch: 1)).summary
        #expect(!calls.isEmpty && !calls.contains { $0.contains("dropout") })
    }

    /// A gradient whose hard part is summed in another order moves a weight by some 1e-7 a step.
    @Test("to whom a weight of 1 does not listen, and a weight of 0 listens alone")
    func weights() throws {
        let school = try School()
        var distill = DistillOptions()
        distill.alpha = 1
        let deaf = try school.trainer(distill)
        _ = try deaf.run(Follower(school.toy))
        let alone = try Trainer(
            TrainingTask(
                model: school.student(), options: School.plain, dataset: school.toy.dataset, seed: 1))
        _ = try alone.run(Follower(school.toy))
        for id in alone.program.graph.parameterIDs {
            let (one, other) = (try deaf.program.read(id), try alone.program.read(id))
            #expect(zip(one, other).allSatisfy { abs($0 - $1) < 1e-5 })
        }
        distill.alpha = 0
        var options = School.plain
        options.epochs = 60
        let pupil = Pupil(school.toy)
        _ = try school.trainer(distill, options).run(pupil)
        let reports = pupil.steps.compactMap(\.distillation)
        let (first, last) = (reports.prefix(8), reports.suffix(8))
        #expect(last.reduce(0) { $0 + $1.softLoss } < 0.5 * first.reduce(0) { $0 + $1.softLoss })
    }

    /// The same sums in batches of other sizes, in layouts that depend on them.
    @Test("from memory, from disk and at every step alike")
    func caches() throws {
        let school = try School()
        var losses: [[Double]] = []
        for cache in [DistillOptions.CacheName.none, .memory, .disk] {
            var distill = DistillOptions()
            distill.cache = cache
            let pupil = Pupil(school.toy)
            #expect(try school.trainer(distill).run(pupil) == nil)
            #expect(pupil.notes.isEmpty)
            losses.append(pupil.steps.map(\.loss))
        }
        #expect(losses[1] == losses[2])
        #expect(zip(losses[0], losses[1]).allSatisfy { abs($0 - $1) < 1e-5 })
        #expect(try Folder.names(in: school.toy.path).contains("cache"))
    }

    @Test("that is cached on disk once, and again where the file is damaged")
    func diskCache() throws {
        let school = try School()
        var distill = DistillOptions()
        distill.cache = .disk
        func run() throws -> [[UInt32]] {
            let trainer = try school.trainer(distill)
            _ = try trainer.run(Follower(school.toy))
            return try school.values(of: trainer)
        }
        let expected = try run()
        let path = school.toy.file("cache")
        let written = try #require(Folder.status(of: path)).modifiedNanoseconds
        #expect(try run() == expected)
        #expect(Folder.status(of: path)?.modifiedNanoseconds == written, "it was read")
        let bytes = try readFile(path, limit: 1 << 20)
        // 18 samples of 3 outputs between two hashes.
        #expect(bytes.count == 32 + 18 * 3 * 4 + 32)
        for place in [0, 40, bytes.count - 1] {
            var damaged = bytes
            damaged[place] ^= 1
            _ = try AtomicFile.write(damaged, to: path)
            #expect(try run() == expected)
            #expect(try readFile(path, limit: 1 << 20) == bytes)
        }
    }

    @Test("without a cache where images change, where it has no room or no place, and says so")
    func bypassed() throws {
        let school = try School()
        var (distill, options) = (DistillOptions(), School.plain)
        distill.cache = .memory
        func note(_ place: String? = "cache") throws -> String {
            let pupil = Pupil(school.toy)
            options.steps = 1
            _ = try school.trainer(distill, options, cache: place).run(pupil)
            #expect(pupil.notes.map(\.code) == ["teacher_cache_bypassed"])
            return pupil.notes.first?.message ?? ""
        }
        distill.cacheByteCountMax = 215
        #expect(try note().contains("it would take 216 bytes, and may take 215"))
        distill.cacheByteCountMax = 216
        (distill.cache, options.augmentation) = (.disk, Augmentation(cropPadding: 1))
        #expect(try note().contains("the training images are changed at random"))
        options.augmentation = .none
        #expect(try note(nil).contains("it has no place on disk"))
    }

    @Test("paused anywhere and resumed, it ends with the same bits", arguments: ways.indices)
    func resumed(index: Int) throws {
        let school = try School()
        let (distill, options) = Self.ways[index]
        func outcome(_ trainer: Trainer, _ follower: Follower) throws -> ([[UInt32]], [Double]) {
            (try school.values(of: trainer), follower.steps.map(\.loss))
        }
        let whole = Follower(school.toy)
        let trainer = try school.trainer(distill, options)
        #expect(try trainer.run(whole) == nil)
        let expected = try outcome(trainer, whole)
        for poll in [1, 2, whole.polls / 2, whole.polls - 4, whole.polls] {
            let interrupted = Follower(school.toy)
            interrupted.stopsAtPoll = poll
            if distill.cache == .disk { try? Folder.removeFile(school.toy.file("cache")) }
            #expect(try school.trainer(distill, options).run(interrupted) == .pause, "poll \(poll)")
            interrupted.restart(stoppingAt: nil)
            let second = try school.trainer(distill, options)
            try second.restore(from: interrupted.last, sha256: interrupted.lastReceipt?.sha256.hex)
            #expect(try second.run(interrupted) == nil)
            let found = try outcome(second, interrupted)
            #expect(found.0 == expected.0 && found.1 == expected.1, "poll \(poll)")
        }
        var other = distill
        other.temperature = 5
        let (stranger, last) = (try school.trainer(other, options), school.toy.file("other"))
        _ = try trainer.save(to: last)
        #expect(throws: TrainingError.self) { try stranger.restore(from: last, sha256: nil) }
    }

    /// Both are summed and divided in float32.
    @Test("from several, whose logits are averaged")
    func several() throws {
        let school = try School()
        let other = try School.teacher("other", in: school.toy, seed: 5)
        func losses(_ teachers: [TeacherModel], _ distill: DistillOptions = DistillOptions()) throws
            -> [Double]
        {
            let follower = Follower(school.toy)
            _ = try school.trainer(distill, teachers: teachers).run(follower)
            return follower.steps.map(\.loss)
        }
        let (one, two) = (try losses([school.teacher]), try losses([other]))
        let same = try losses([school.teacher, school.teacher, school.teacher])
        #expect(zip(one, same).allSatisfy { abs($0 - $1) < 1e-5 })
        // The squared distance to the mean is below the mean of the squared distances.
        var squared = DistillOptions()
        (squared.loss, squared.alpha) = (.mseLogits, 0)
        let first = try [[school.teacher], [other], [school.teacher, other]].map {
            try losses($0, squared)[0]
        }
        #expect(one != two && first[2] < (first[0] + first[1]) / 2)
    }

    @Test("in the memory that was told before it started", arguments: ways.indices)
    func memory(index: Int) throws {
        let school = try School()
        let (distill, options) = Self.ways[index]
        let other = try School.teacher("other", in: school.toy, seed: 5)
        for teachers in [[school.teacher], [school.teacher, other]] {
            let distillation = Distillation(distill, teachers: teachers, cachePath: school.toy.file("cache"))
            let told = try distillation.byteCount(
                of: school.student(), options, on: school.toy.dataset.info, engine: DNNEngine())
            let alone = try Trainer(
                TrainingTask(
                    model: school.student(), options: options, dataset: school.toy.dataset, seed: 1))
            let taught = try school.trainer(distill, options, teachers: teachers)
            let taken = taught.byteCount - alone.byteCount
            // Staging is told even where nothing is gathered; the student's loss has a few scratch rows more.
            #expect(taken <= told + 1024 && told <= taken + 1024, "\(told) for \(taken)")
        }
    }

    @Test("of text token by token")
    func languageModel() throws {
        let toy = try TextToy.periodic()
        var options = TextToy.options
        options.epochs = 2
        let first = try toy.languageModel(options)
        _ = try first.run(Follower(in: toy.path))
        let path = "\(toy.path)/teacher"
        let receipt = try first.saveModel(to: path, description: toy.dataset.modelDescription)
        let teacher = try TeacherModel(path, sha256: receipt.sha256.hex)
        var distill = DistillOptions()
        distill.cache = .memory
        let task = TrainingTask(
            model: first.task.model, options: options, dataset: toy.dataset, seed: 5,
            distillation: Distillation(distill, teachers: [teacher]))
        let follower = Follower(in: toy.path)
        let trainer = try Trainer(task)
        _ = try trainer.run(follower)
        let reports = follower.steps.compactMap(\.distillation)
        #expect(reports.count == follower.steps.count)
        // Of 4 windows of 6 tokens.
        #expect(reports.allSatisfy { abs(($0.agreement * 24).rounded() - $0.agreement * 24) < 1e-9 })
        func agreement(_ reports: ArraySlice<DistillationReport>) -> Double {
            reports.reduce(0) { $0 + $1.agreement }
        }
        #expect(agreement(reports.suffix(5)) > agreement(reports.prefix(5)))
    }
}
