public import Data
public import Graph
internal import JSON
public import Kernels
public import Plan
internal import Tensor

/// A stored model that another learns from.
public struct TeacherModel: Sendable {
    public let stored: StoredModel
    /// The file's hash.
    public let sha256: String

    /// Reads a file's description; throws as `StoredModel` does.
    public init(_ path: String, sha256: String) throws(TrainingError) {
        stored = try StoredModel(path, sha256: sha256)
        self.sha256 = sha256
    }

    /// Why a student cannot learn from it; nil where it can.
    ///
    /// Both must see the same numbers and mean the same by their outputs: input, normalisation or vocabulary,
    /// number of classes and their order.
    ///
    /// - Parameters:
    ///   - student: What is trained.
    ///   - dataset: What it is trained on.
    ///   - normalization: What the student's pixels are normalised by, where not by the dataset's own.
    ///   - vocabulary: The dataset's; nil where it has none.
    /// - Returns: What is wrong, for people.
    public func misfit(
        with student: Graph, on dataset: DatasetInfo, normalization: PixelNormalization? = nil,
        vocabulary: Vocabulary?
    ) -> String? {
        if stored.isQuantized { return "it is quantized; the model that it was made of can teach" }
        if let reason = Distillation.misfit(of: stored.model.graph, with: student) { return reason }
        do throws(TrainingError) {
            try stored.check(fits: dataset, vocabulary: vocabulary, asks: .sameClasses)
        } catch {
            if case .misfit(let reason) = error { return reason }
            return error.description
        }
        if case .language = stored.use { return nil }
        guard stored.classNames.count == dataset.classNames.count else {
            return "it names \(stored.classNames.count) classes, the dataset \(dataset.classNames.count)"
        }
        guard let own = stored.normalization, let images = dataset.images else { return nil }
        let given =
            normalization
            ?? PixelNormalization(mean: images.mean, standardDeviation: images.standardDeviation)
        guard Self.isSame(own.mean, given.mean),
            Self.isSame(own.standardDeviation, given.standardDeviation)
        else {
            return "its input is normalised by mean \(own.mean) and deviation \(own.standardDeviation), the "
                + "student's by \(given.mean) and \(given.standardDeviation)"
        }
        return nil
    }

    private static func isSame(_ left: [Double], _ right: [Double]) -> Bool {
        left.count == right.count && zip(left, right).allSatisfy { abs($0 - $1) <= 1e-6 }
    }
}

/// What a run learns from besides its labels: one teacher, several whose logits are averaged, or another
/// student that learns from it in turn.
public struct Distillation: Sendable {
    public var options: DistillOptions
    /// None where there is a peer.
    public let teachers: [TeacherModel]
    /// What the other student computes; nil where teachers teach.
    public let peer: ModelSpec?
    /// Where a cache on disk lies; nil bypasses it.
    public let cachePath: String?

    /// Learning from teachers.
    ///
    /// - Precondition: There is at least one.
    public init(_ options: DistillOptions, teachers: [TeacherModel], cachePath: String? = nil) {
        precondition(!teachers.isEmpty, "a distillation without a teacher")
        (self.options, self.teachers, self.cachePath, peer) = (options, teachers, cachePath, nil)
    }

    /// Learning from a student that is trained at the same time, from values of its own.
    ///
    /// - Precondition: No features are compared: the peer's layers are not there yet when they would be.
    public init(_ options: DistillOptions, peer: ModelSpec) {
        precondition(options.features.isEmpty, "features of a peer")
        (self.options, self.peer, teachers, cachePath) = (options, peer, [], nil)
    }

    /// Why a student cannot learn from a network, whatever its weights; nil where it can.
    public static func misfit(of teacher: Graph, with student: Graph) -> String? {
        guard teacher.inputShape == student.inputShape,
            teacher[teacher.input].element == student[student.input].element
        else { return "its input is \(teacher.inputShape), the student's \(student.inputShape)" }
        guard teacher.outputShape == student.outputShape else {
            return "its output is \(teacher.outputShape), the student's \(student.outputShape)"
        }
        if case .softmax = teacher.producer(of: teacher.output)?.operation {
            return "it ends in a softmax, and the outputs before that are needed"
        }
        return nil
    }

    /// Bytes that the teachers and the cache take beside the student's, without allocating them.
    ///
    /// Throws `PlanError.tooLarge` where they cannot be counted.
    public func byteCount(
        of model: ModelSpec, _ training: TrainOptions, on info: DatasetInfo, engine: DNNEngine
    ) throws(PlanError) -> Int {
        try Self.byteCount(
            options, teachers: teachers.map(\.stored.model.graph), hasDisk: cachePath != nil, of: model,
            training, on: info, engine: engine)
    }

    /// The same for teachers that may not be stored yet.
    ///
    /// - Parameters:
    ///   - options: How the student learns from them.
    ///   - teachers: The teachers.
    ///   - hasDisk: Whether there is a place for a cache on disk.
    ///   - model: The student.
    ///   - training: How it is trained.
    ///   - info: What it is trained on.
    ///   - engine: Its thread team decides the plans.
    /// - Returns: The most that is held at once.
    /// - Throws: `PlanError.tooLarge` where it cannot be counted.
    public static func byteCount(
        _ options: DistillOptions, teachers: [Graph], hasDisk: Bool, of model: ModelSpec,
        _ training: TrainOptions, on info: DatasetInfo, engine: DNNEngine
    ) throws(PlanError) -> Int {
        let plan = LessonPlan(model, training, info, options, hasDisk: hasDisk)
        var total = plan.stagingByteCount
        func add(_ bytes: Int) throws(PlanError) {
            let (sum, overflow) = total.addingReportingOverflow(bytes)
            guard !overflow else { throw .tooLarge }
            total = sum
        }
        for teacher in teachers {
            let program = try Program(
                teacher, plan.programOptions(keeping: options.kept(of: teacher)), on: engine)
            try add(program.byteCount)
            try add(program.constantByteCount)
        }
        if teachers.count > 1 { try add(plan.stagingByteCount) }
        if plan.cache == .memory { try add(plan.cacheByteCount) }
        return total
    }
}

/// What a run's teachers compute and where it is kept, decided before anything is allocated.
struct LessonPlan {
    /// Samples of the batches that the teachers see.
    let batches: [Int]
    /// Samples of the largest.
    let largest: Int
    /// Training samples.
    let sampleCount: Int
    /// Bytes of the teachers' outputs for one sample.
    let rowByteCount: Int
    let precision: ElementType
    /// What is really done.
    let cache: DistillOptions.CacheName
    /// Why there is no cache though one was asked for.
    let refusal: String?

    init(
        _ model: ModelSpec, _ training: TrainOptions, _ info: DatasetInfo, _ options: DistillOptions,
        hasDisk: Bool
    ) {
        let reading = TrainingTask.reading(model, training)
        (precision, largest) = (training.precision.element, training.largestPart)
        sampleCount = info.sampleCount(reading)
        rowByteCount = model.graph.outputShape.elementCount * precision.byteCount
        let (asked, limit) = (options.cache, options.cacheByteCountMax)
        let (bytes, overflow) = rowByteCount.multipliedReportingOverflow(by: sampleCount)
        var refusal: String?
        if !options.features.isEmpty {
            refusal = "layers of the teacher are compared too, and only its outputs are kept"
        } else if case .text = info.kind {
            refusal = "windows of running text are drawn anew at every step"
        } else if info.images != nil, training.augmentation != .none {
            refusal = "the training images are changed at random"
        } else if overflow || bytes > limit {
            refusal = "it would take \(overflow ? Int.max : bytes) bytes, and may take \(limit)"
        } else if asked == .disk, !hasDisk {
            refusal = "it has no place on disk"
        }
        cache = refusal == nil ? asked : .none
        self.refusal = asked == .none ? nil : refusal
        let sizes = info.batchSizes(reading).training.flatMap { training.parts(of: $0) }
        // The cache is filled by batches of its own, in the samples' order.
        let filling = cache == .none ? [] : [min(largest, sampleCount), sampleCount % largest]
        batches = Array(Set(sizes + filling)).filter { $0 > 0 }.sorted(by: >)
    }

    /// Bytes of the outputs for as many samples as a step may see.
    var stagingByteCount: Int { rowByteCount * largest }

    /// - Precondition: There is a cache.
    var cacheByteCount: Int { rowByteCount * sampleCount }

    /// How a teacher is compiled: evaluations alone, without a loss, behind which some values can be read.
    func programOptions(keeping kept: [Graph.ValueID]) -> Program.Options {
        var options = Program.Options(
            loss: .crossEntropy(labelSmoothing: 0), optimizer: OptimizerOptions(), trainingBatches: [],
            evaluationBatches: batches)
        options.lowering.precision = precision
        options.lowering.kept = Set(kept)
        options.evaluatesLoss = false
        return options
    }
}
