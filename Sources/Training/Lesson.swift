internal import Data
internal import Files
internal import Formats
internal import Graph
internal import Kernels
internal import Plan
internal import Tensor

/// What a run's teachers say to each batch: computed beside the step, or read from a cache.
///
/// The teachers are plans for evaluation in arenas of their own: nothing of them is ever written but
/// activations. Belongs to the training thread.
final class Lesson {
    let plan: LessonPlan
    /// The teachers, whose parameters stay as they were loaded.
    let teachers: [Program]
    private let batcher: Batcher
    private let filler: any BatchFiller
    private let distillation: Distillation
    private let identity: [UInt8]
    /// The teacher's values that are compared with the student's.
    private let features: [Graph.ValueID]
    /// Where several teachers' outputs are averaged, and how, by batch size.
    private let mean: Arena?
    private let averaging: [Int: [any PreparedKernel]]
    /// Where a batch's cached rows are gathered.
    private let staging: Arena?
    private var cache: TeacherCache?
    /// The samples of the epoch that was asked for last.
    private var epoch: (number: Int, samples: Batcher.Epoch)?

    /// Checks, compiles and loads the teachers.
    ///
    /// - Throws: `TrainingError.badTeacher` for one that the student cannot learn from.
    init(
        _ distillation: Distillation, _ task: TrainingTask, _ feed: BatchFeed, on engine: DNNEngine
    ) throws(TrainingError) {
        let (info, vocabulary) = (task.dataset.info, task.dataset.vocabulary)
        for teacher in distillation.teachers {
            if let reason = teacher.misfit(
                with: task.model.graph, on: info, normalization: task.normalization, vocabulary: vocabulary)
            {
                throw .badTeacher(path: teacher.stored.path, reason: reason)
            }
        }
        let plan = LessonPlan(
            task.model, task.options, info, distillation.options, hasDisk: distillation.cachePath != nil)
        var teachers: [Program] = []
        var features: [Graph.ValueID] = []
        for teacher in distillation.teachers {
            let graph = teacher.stored.model.graph
            features = distillation.options.kept(of: graph)
            let program = try planning { () throws(PlanError) in
                let program = try Program(graph, plan.programOptions(keeping: features), on: engine)
                try program.allocate()
                return program
            }
            try program.load(teacher.stored.path)
            guard program.evaluationPlan(batch: plan.batches[0])?.outputPlace != nil else {
                throw .badTeacher(path: teacher.stored.path, reason: "it computes nothing")
            }
            teachers.append(program)
        }
        (self.plan, self.teachers, self.distillation) = (plan, teachers, distillation)
        (batcher, filler, self.features) = (feed.batcher, feed.filler, features)
        (mean, averaging) = try Self.averaging(teachers, plan)
        staging = plan.cache == .none ? nil : try Self.arena(plan.stagingByteCount)
        let parts = distillation.teachers.map(\.sha256) + [info.sha256, plan.precision.rawValue]
        identity = Array(
            (parts + [plan.largest, ThreadTeam.count, plan.rowByteCount].map(String.init)).joined(
                separator: " "
            )
            .utf8)
    }

    private static func arena(_ byteCount: Int) throws(TrainingError) -> Arena {
        do { return try Arena(byteCount: byteCount) } catch { throw .plan(.noMemory(byteCount: byteCount)) }
    }

    /// Calls that leave the mean of the teachers' outputs in an arena of its own; none for a single one.
    private static func averaging(
        _ teachers: [Program], _ plan: LessonPlan
    ) throws(TrainingError) -> (Arena?, [Int: [any PreparedKernel]]) {
        guard teachers.count > 1 else { return (nil, [:]) }
        let mean = try arena(plan.stagingByteCount)
        var calls: [Int: [any PreparedKernel]] = [:]
        for batch in plan.batches {
            let outputs = teachers.compactMap { $0.evaluationPlan(batch: batch)?.outputPlace }
            let sum = Place(Slot(offset: 0, byteCount: plan.rowByteCount * batch), in: mean)
            let count = sum.slot.byteCount / plan.precision.byteCount
            var kernels: [any PreparedKernel] = []
            try planning { () throws(PlanError) in
                do throws(KernelError) {
                    for (index, output) in outputs.enumerated().dropFirst() {
                        let add = Elementwise.add(count: count, type: plan.precision)
                        for (operand, place) in [index == 1 ? outputs[0] : sum, output, sum].enumerated() {
                            try add.bind(operand, to: place.slot, in: place.arena)
                        }
                        kernels.append(add)
                    }
                    let scale = Elementwise.scale(
                        count: count, by: 1 / Float(teachers.count), type: plan.precision)
                    for operand in 0...1 { try scale.bind(operand, to: sum.slot, in: sum.arena) }
                    kernels.append(scale)
                } catch { throw .kernel(error) }
            }
            calls[batch] = kernels
        }
        return (mean, calls)
    }

    /// Bytes that are held beside the student's.
    var byteCount: Int {
        let cached = plan.cache == .memory ? plan.cacheByteCount : 0
        return teachers.reduce(0) { $0 + $1.byteCount } + (mean?.byteCount ?? 0) + (staging?.byteCount ?? 0)
            + cached
    }

    /// Fills the cache where there is to be one; false when the observer asked to stop before it was full.
    func prepare(_ observer: any TrainingObserver) throws(TrainingError) -> Bool {
        if let refusal = plan.refusal {
            observer.didNote(
                TrainingNote(
                    code: "teacher_cache_bypassed",
                    message: "The teacher runs at every step and is not cached: \(refusal)."))
        }
        guard plan.cache != .none, cache == nil else { return true }
        let samples = batcher.indices.sorted()
        let indices = samples.flatMap { sample in
            stride(from: 0, to: 32, by: 8).map { UInt8(truncatingIfNeeded: sample >> $0) }
        }
        let fingerprint = SHA256.digest(of: identity + indices)
        if plan.cache == .disk, let path = distillation.cachePath {
            cache = TeacherCache(
                file: path, of: samples, rowByteCount: plan.rowByteCount, fingerprint: fingerprint)
            if cache != nil { return true }
        }
        cache = try filledCache(samples, fingerprint, observer)
        return cache != nil
    }

    private func filledCache(
        _ samples: [UInt32], _ fingerprint: SHA256.Digest, _ observer: any TrainingObserver
    ) throws(TrainingError) -> TeacherCache? {
        var builder: TeacherCache.Builder
        if plan.cache == .disk, let path = distillation.cachePath {
            builder = try TeacherCache.Builder(
                file: path, of: samples, rowByteCount: plan.rowByteCount, fingerprint: fingerprint)
        } else {
            builder = try TeacherCache.Builder(inMemoryOf: samples, rowByteCount: plan.rowByteCount)
        }
        let stored = Batcher(
            indices: samples, batchSize: min(plan.largest, samples.count), order: .stored)
        let prefetcher: Prefetcher
        do { prefetcher = try Prefetcher(stored, filler: filler, epochs: 1) } catch { throw .data(error) }
        while let batch = prefetcher.next() {
            if observer.stopReason != nil { return nil }
            try builder.append(
                teach(Place(batch.inputSlot(0..<batch.count), in: batch.arena), count: batch.count).outputs)
        }
        return try builder.finish()
    }

    /// What the teachers say to a part of a batch; stays until the next call.
    func answers(
        for batch: borrowing Batch, _ part: Range<Int>
    ) throws(TrainingError) -> Answers {
        guard let cache, let staging else {
            return try teach(Place(batch.inputSlot(part), in: batch.arena), count: part.count)
        }
        let samples = self.samples(at: batch.position)
        let slot = Slot(offset: 0, byteCount: plan.rowByteCount * part.count)
        let first = samples.startIndex
        try cache.copy(samples[first + part.lowerBound..<first + part.upperBound], to: slot, in: staging)
        return Answers(outputs: Place(slot, in: staging))
    }

    private func samples(at position: BatchPosition) -> ArraySlice<UInt32> {
        if let epoch, epoch.number == position.epoch { return epoch.samples[position.batch] }
        let samples = batcher.epoch(position.epoch)
        epoch = (position.epoch, samples)
        return samples[position.batch]
    }

    private func teach(_ input: Place, count: Int) throws(TrainingError) -> Answers {
        var macs = 0
        var last: Place?
        var compared: [Place] = []
        for teacher in teachers {
            guard let plan = teacher.evaluationPlan(batch: count) else {
                preconditionFailure("no plan of the teacher takes \(count) samples")
            }
            try planning { () throws(PlanError) in
                try plan.bind(.input, to: input)
                _ = try plan.run(StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1))
            }
            macs += plan.macs
            last = plan.outputPlace
            compared = features.compactMap { plan.place(of: $0) }
        }
        if let mean, let calls = averaging[count] {
            try planning { () throws(PlanError) in
                do throws(KernelError) { for call in calls { try call.run() } } catch { throw .kernel(error) }
            }
            last = Place(Slot(offset: 0, byteCount: plan.rowByteCount * count), in: mean)
        }
        guard let last else { preconditionFailure("a teacher without an output") }
        return Answers(outputs: last, features: compared, macs: macs)
    }

    /// What the teachers say to a part of a batch, and what that took.
    struct Answers {
        let outputs: Place
        var features: [Place] = []
        var macs = 0

        /// Lets a student's plan read them.
        func bind(to plan: ExecutionPlan) throws(PlanError) {
            try plan.bind(.teacher, to: outputs)
            for (index, place) in features.enumerated() { try plan.bind(.feature(index), to: place) }
        }
    }
}

extension Program {
    /// Gives every parameter its stored value, but those of layers in bytes.
    func load(_ path: String, _ quantized: QuantizedModel? = nil) throws(TrainingError) {
        let reader = try formatting { () throws(FormatError) in try SafetensorsReader(path) }
        for id in graph.parameterIDs where quantized?.holds(id) != true {
            let parameter = graph[id]
            let values = try formatting { () throws(FormatError) in
                try reader.floats(parameter.name, shape: parameter.shape.dimensions)
            }
            try planning { () throws(PlanError) in try write(values, to: id) }
        }
    }
}

extension Trainer {
    /// The hash of each teacher's parameters as they lie in memory: what must not change.
    public var teacherDigests: [String] {
        get throws(TrainingError) {
            var digests: [String] = []
            for teacher in lesson?.teachers ?? [] {
                var hash = SHA256()
                for id in teacher.graph.parameterIDs {
                    let values = try planning { () throws(PlanError) in try teacher.read(id) }
                    hash.update(
                        values.flatMap { value in
                            stride(from: 0, to: 32, by: 8).map {
                                UInt8(truncatingIfNeeded: value.bitPattern >> $0)
                            }
                        })
                }
                digests.append(hash.digest().hex)
            }
            return digests
        }
    }
}
