import Compression
import Data
import Graph
import JSON
import Jobs
import Tensor
import Training

/// The body of a job that trains, checked and completed.
@dynamicMemberLookup struct JobRequest {
    /// Every other member, as in `request.threads`.
    var settings: JobSettings
    let dataset: DatasetInfo
    let model: ModelSpec
    /// The model that the weights come from; nil draws them.
    let origin: ModelLookup.Reference?
    /// What the model learns from besides the labels.
    let distill: DistillRequest?
    /// How the model is pruned.
    let prune: PruneRequest?
    /// How the model is trained for layers in bytes, and which.
    let byteTraining: ByteTrainingRequest?
    let bytes: ByteTraining?
    /// What is trained: the model's graph, with the adapters and features that are asked for, or with the
    /// normalisations folded that become part of layers in bytes.
    let graph: Graph
    /// The body with every default filled in; reading it again gives the same request.
    var resolved: JSONObject

    /// Reads a body.
    ///
    /// `cores` is what `"auto"` threads are, and the most that may be asked for; `models`, and what `jobs`
    /// make, are what a job can start from. Throws every violation at once.
    static func read(
        _ body: JSONValue, catalogue: DatasetCatalogue, models: (any ModelSource)? = nil,
        jobs: (any JobSource)? = nil, cores: Int
    ) throws(InvalidInput) -> JobRequest {
        let log = ViolationLog()
        let kind = body["type"]?.stringValue.flatMap(JobFields.Kind.init) ?? .train
        var reader = ObjectReader(body, as: kind.trainingSchema, at: "", log: log)
        _ = reader.read(JobFields.type)
        let datasetName = reader.read(JobFields.dataset)
        let dataset =
            log.isEmpty || body["dataset"]?.stringValue != nil
            ? find(datasetName, in: catalogue, log) : nil
        let lookup = ModelLookup(models: models, jobs: jobs)
        if kind == .quantize, !ModelLookup.isReference(body["model"] ?? .null) {
            log.add("/model", "invalid_value", "expected a stored model: {\"id\"} or {\"job\"}")
        }
        let (model, origin) = readModel(&reader, dataset, lookup, log)
        var settings = JobSettings()
        settings.read(&reader, cores: cores)
        let distill =
            switch kind {
            case .distill: DistillRequest.read(&reader, dataset, lookup, log)
            case .prune:
                DistillRequest.readPruned(&reader, model: body["model"], dataset, lookup, log)
            case .train, .evaluate, .quantize: nil as DistillRequest?
            }
        let prune =
            kind == .prune
            ? PruneRequest.read(&reader, &settings, isStored: origin != nil, log) : nil
        let byteTraining = kind == .quantize ? ByteTrainingRequest.read(&reader, &settings, log) : nil
        reader.finish()
        if let model { distill?.check(model, settings.options, prune?.options, log) }
        let bytes = model.flatMap { byteTraining?.training(of: $0, log) }
        let graph = bytes?.folded.graph ?? model.flatMap { trained($0, settings.options, distill, log) }
        if let graph { settings.options.cutBatch(for: [graph] + (distill?.peer.map { [$0.graph] } ?? [])) }
        if let dataset { settings.options.check(against: dataset, at: "/train", log) }
        if let dataset, let model {
            for student in [model, distill?.peer].compactMap(\.self) where log.isEmpty {
                settings.options.check(student, on: dataset, at: "/train", log)
            }
            do { try dataset.check(TrainingTask.reading(model, settings.options)) } catch {
                log.add("/dataset", "too_short", error.description)
            }
        }
        if let model {
            let steps = dataset.map { $0.stepCount(TrainingTask.reading(model, settings.options)) }
            prune?.check(model, settings.options, stepsPerEpoch: steps, seed: settings.seed, log)
        }
        try log.throwIfAny()
        guard let dataset, let model, let graph else {
            throw InvalidInput(pointer: "", code: "invalid_value", detail: "the job cannot be understood")
        }
        if origin == nil { reader.resolve("model", as: model.json) }
        reader.resolve("threads", as: JSONValue(settings.threads))
        for reference in [origin] + (distill?.teachers ?? []) { settings.depend(on: reference) }
        let request = JobRequest(
            settings: settings, dataset: dataset, model: model, origin: origin, distill: distill,
            prune: prune, byteTraining: byteTraining, bytes: bytes, graph: graph,
            resolved: reader.resolved)
        try request.checkKeptCheckpoints()
        return request
    }

    /// What the second of two students computes that learn from each other.
    var peer: ModelSpec? { distill.flatMap { $0.isMutual ? $0.peer ?? model : nil } }

    /// All that is trained.
    var trainedGraphs: [Graph] { [graph] + (peer.map { [$0.graph] } ?? []) }

    /// The stored model that the weights come from, once it is there.
    var base: ModelRecord? { origin?.record }

    /// Whether what a training leaves has the masks of the model that it starts from; adapters fill them.
    var keepsMasks: Bool { origin?.isMasked == true && settings.options.adapters == nil }

    /// How a whole batch is cut; a small dataset may have none as large as asked for.
    var parts: [Int] {
        let samples = dataset.sampleCount(TrainingTask.reading(model, settings.options))
        return settings.options.parts(of: min(settings.options.batchSize, max(samples, 1)))
    }

    var type: JobType {
        bytes != nil ? .quantize : prune != nil ? .prune : distill != nil ? .distill : .train
    }

    /// Steps of one of the job's trainings.
    var stepCount: Int {
        let perEpoch = dataset.stepCount(TrainingTask.reading(model, settings.options))
        return prune?.timeline(settings.options, stepsPerEpoch: perEpoch).totalSteps
            ?? settings.options.totalSteps(stepsPerEpoch: perEpoch)
    }

    subscript<Value>(dynamicMember member: WritableKeyPath<JobSettings, Value>) -> Value {
        get { settings[keyPath: member] }
        set { settings[keyPath: member] = newValue }
    }

    static func find(
        _ name: String, in catalogue: DatasetCatalogue, _ log: ViolationLog
    ) -> DatasetInfo? {
        do { return try catalogue.info(name) } catch {
            log.add("/dataset", "unknown_dataset", error.description)
            return nil
        }
    }

    private static func readModel(
        _ reader: inout ObjectReader, _ dataset: DatasetInfo?, _ lookup: ModelLookup, _ log: ViolationLog
    ) -> (ModelSpec?, ModelLookup.Reference?) {
        let value = reader.read(JobFields.model)
        guard reader.contains("model") else { return (nil, nil) }
        guard ModelLookup.isReference(value) else {
            guard let dataset else { return (readAlone(value, log), nil) }
            return (ModelSpec.read(value, at: "/model", data: dataset.modelData, log: log), nil)
        }
        guard let reference = lookup.find(value, at: "/model", log) else { return (nil, nil) }
        reference.refuseQuantized(at: "/model", log)
        return (reference.spec(for: dataset, at: "/model", log), reference)
    }

    /// Checks a description without its dataset: what that would have told is not missing.
    private static func readAlone(_ value: JSONValue, _ log: ViolationLog) -> ModelSpec? {
        let own = ViolationLog()
        let model = ModelSpec.read(value, at: "/model", data: DataShape(), log: own)
        for violation in own.violations {
            let name = violation.pointer.split(separator: "/").last.map(String.init) ?? ""
            let isTold = violation.code == "missing_field" && DataShape.fields.contains(name)
            if !isTold { log.add(violation.pointer, violation.code, violation.detail) }
        }
        return model
    }

    private static func trained(
        _ model: ModelSpec, _ options: TrainOptions, _ distill: DistillRequest?, _ log: ViolationLog
    ) -> Graph? {
        do throws(InvalidInput) {
            let graph = try TrainingTask.graph(of: model, options, at: "/train/lora")
            guard let distill else { return graph }
            return try distill.options.comparing(
                graph, with: distill.models.map(\.graph), at: "/distill/features")
        } catch {
            for violation in error.violations {
                log.add(violation.pointer, violation.code, violation.detail)
            }
            return nil
        }
    }
}

extension ModelLookup.Reference {
    /// Logs a violation where the model is known to be one in bytes: it answers, but cannot be trained.
    func refuseQuantized(at pointer: String, _ log: ViolationLog) {
        guard let record, record.isQuantized else { return }
        let parent = record.lineage["parent"]?.stringValue.map { "; name what it was made of, \($0)" } ?? ""
        log.add(
            pointer + (job == nil ? "/id" : "/job"), "quantized_model",
            "\(record.id) is quantized: it answers, but cannot be trained or changed\(parent)")
    }

    /// The model that is named, as it reads a dataset; nil after a violation.
    func spec(for dataset: DatasetInfo?, at pointer: String, _ log: ViolationLog) -> ModelSpec? {
        // What is wrong with a stored model is not a fault of a field that the client wrote.
        let own = ViolationLog()
        let model = ModelSpec.read(
            architecture, at: "", data: dataset?.modelData ?? DataShape(), log: own)
        let name = record.map { "\($0.id)" } ?? job.map { "the model of \($0)" } ?? "the model"
        for violation in own.violations {
            let place = pointer + (job == nil ? "/id" : "/job")
            log.add(place, violation.code, "\(name) does not fit: \(violation.detail)")
        }
        return own.isEmpty ? model : nil
    }
}

extension ModelRecord {
    /// The member of a lineage that tells which layers are bytes.
    static let quantizationKey = "quantization"

    /// Whether layers of it are stored as bytes.
    var isQuantized: Bool { lineage[Self.quantizationKey]?.isNull == false }
}

extension JobSettings {
    /// Lets the job wait for the one that makes a model, and need the model.
    mutating func depend(on reference: ModelLookup.Reference?) {
        guard let reference else { return }
        let model = NeededModel(pointer: reference.pointer, id: reference.record?.id, job: reference.job)
        if !models.contains(where: { ($0.id, $0.job) == (model.id, model.job) }) { models.append(model) }
        guard let job = reference.job, !dependencies.contains(job) else { return }
        dependencies.append(job)
    }
}

extension JobFields.Kind {
    /// The members of a job that trains.
    fileprivate var trainingSchema: ObjectSchema {
        switch self {
        case .prune: JobFields.pruneSchema
        case .distill: JobFields.distillSchema
        case .quantize: QuantizeRequest.schema
        case .train, .evaluate: JobFields.schema
        }
    }
}

extension DatasetInfo {
    /// What a model has to know of the dataset.
    var modelData: DataShape {
        switch kind {
        case .images(let info):
            .images(
                try? Shape([info.shape.channels, info.shape.height, info.shape.width]),
                classes: info.classNames.count)
        case .text(let info): .text(vocabulary: info.vocabularySize)
        case .sequences(let info):
            DataShape(
                isTokens: true, vocabulary: info.vocabularySize, padding: Int(Vocabulary.padding),
                target: info.labelling == .tokens
                    ? .perToken(classes: info.classNames.count) : .classes(info.classNames.count))
        }
    }
}
