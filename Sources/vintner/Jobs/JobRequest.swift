import Data
import Graph
import JSON
import Jobs
import Tensor
import Training

/// A train job's body, checked and completed.
@dynamicMemberLookup struct JobRequest {
    /// Every other member, as in `request.threads`.
    var settings: JobSettings
    let dataset: DatasetInfo
    let model: ModelSpec
    /// The stored model that the weights come from; nil draws them.
    let base: ModelRecord?
    /// What is trained: the model's graph, with the adapters that are asked for.
    let graph: Graph
    /// The body with every default filled in; reading it again gives the same request.
    var resolved: JSONObject

    /// Reads a body.
    ///
    /// `cores` is what `"auto"` threads are, and the most that may be asked for; `models` are those that a
    /// job can start from. Throws every violation at once.
    static func read(
        _ body: JSONValue, catalogue: DatasetCatalogue, models: (any ModelSource)? = nil, cores: Int
    ) throws(InvalidInput) -> JobRequest {
        let log = ViolationLog()
        var reader = ObjectReader(body, as: JobFields.schema, at: "", log: log)
        _ = reader.read(JobFields.type)
        let datasetName = reader.read(JobFields.dataset)
        let dataset =
            log.isEmpty || body["dataset"]?.stringValue != nil
            ? find(datasetName, in: catalogue, log) : nil
        let (model, base) = readModel(&reader, dataset, models, log)
        var settings = JobSettings()
        settings.read(&reader, cores: cores)
        reader.finish()
        let graph = model.flatMap { adapted($0, settings.options, log) }
        if let dataset { settings.options.check(against: dataset, at: "/train", log) }
        if let dataset, let model {
            do { try dataset.check(TrainingTask.reading(model, settings.options)) } catch {
                log.add("/dataset", "too_short", error.description)
            }
        }
        try log.throwIfAny()
        guard let dataset, let model, let graph else {
            throw InvalidInput(pointer: "", code: "invalid_value", detail: "the job cannot be understood")
        }
        if base == nil { reader.resolve("model", as: model.json) }
        reader.resolve("threads", as: JSONValue(settings.threads))
        return JobRequest(
            settings: settings, dataset: dataset, model: model, base: base, graph: graph,
            resolved: reader.resolved)
    }

    /// How a whole batch is cut; a small dataset may have none as large as asked for.
    var parts: [Int] {
        let samples = dataset.sampleCount(TrainingTask.reading(model, settings.options))
        return settings.options.parts(of: min(settings.options.batchSize, max(samples, 1)))
    }

    subscript<Value>(dynamicMember member: WritableKeyPath<JobSettings, Value>) -> Value {
        get { settings[keyPath: member] }
        set { settings[keyPath: member] = newValue }
    }

    private static func find(
        _ name: String, in catalogue: DatasetCatalogue, _ log: ViolationLog
    ) -> DatasetInfo? {
        do { return try catalogue.info(name) } catch {
            log.add("/dataset", "unknown_dataset", error.description)
            return nil
        }
    }

    private static func readModel(
        _ reader: inout ObjectReader, _ dataset: DatasetInfo?, _ models: (any ModelSource)?,
        _ log: ViolationLog
    ) -> (ModelSpec?, ModelRecord?) {
        let value = reader.read(JobFields.model)
        guard reader.contains("model") else { return (nil, nil) }
        let data = dataset?.modelData ?? DataShape()
        guard value["id"] != nil else {
            return (ModelSpec.read(value, at: "/model", data: data, log: log), nil)
        }
        guard let base = readBase(value, models, log) else { return (nil, nil) }
        // What is wrong with a stored model is not a fault of a field that the client wrote.
        let own = ViolationLog()
        let model = ModelSpec.read(base.architecture, at: "", data: data, log: own)
        for violation in own.violations {
            log.add("/model/id", violation.code, "\(base.id) does not fit: \(violation.detail)")
        }
        return (model, base)
    }

    private static func readBase(
        _ value: JSONValue, _ models: (any ModelSource)?, _ log: ViolationLog
    ) -> ModelRecord? {
        var reader = ObjectReader(value, as: JobFields.storedModelSchema, at: "/model", log: log)
        let text = reader.read(JobFields.modelID)
        reader.finish()
        guard reader.raw("id") == .string(text) else { return nil }
        guard let id = ModelID(text) else {
            log.add("/model/id", "invalid_value", "expected a model id (mdl_...), found \"\(text)\"")
            return nil
        }
        do throws(JobError) {
            guard let models else { throw .modelNotFound(id) }
            return try models.model(id)
        } catch {
            log.add("/model/id", "unknown_model", error.description)
            return nil
        }
    }

    private static func adapted(
        _ model: ModelSpec, _ options: TrainOptions, _ log: ViolationLog
    ) -> Graph? {
        do throws(InvalidInput) {
            return try TrainingTask.graph(of: model, options, at: "/train/lora")
        } catch {
            for violation in error.violations {
                log.add(violation.pointer, violation.code, violation.detail)
            }
            return nil
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
                isTokens: true, vocabulary: info.vocabularySize,
                target: info.labelling == .tokens
                    ? .perToken(classes: info.classNames.count) : .classes(info.classNames.count))
        }
    }
}
