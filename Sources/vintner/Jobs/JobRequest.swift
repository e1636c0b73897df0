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
    /// The body with every default filled in; reading it again gives the same request.
    var resolved: JSONObject

    /// Reads a body.
    ///
    /// `cores` is what `"auto"` threads are, and the most that may be asked for. Throws every violation
    /// at once.
    static func read(
        _ body: JSONValue, catalogue: DatasetCatalogue, cores: Int
    ) throws(InvalidInput) -> JobRequest {
        let log = ViolationLog()
        var reader = ObjectReader(body, as: JobFields.schema, at: "", log: log)
        _ = reader.read(JobFields.type)
        let datasetName = reader.read(JobFields.dataset)
        let dataset =
            log.isEmpty || body["dataset"]?.stringValue != nil
            ? find(datasetName, in: catalogue, log) : nil
        let model = readModel(&reader, dataset, log)
        var settings = JobSettings()
        settings.read(&reader, cores: cores)
        reader.finish()
        if let dataset, let model {
            do { try dataset.check(TrainingTask.reading(model, settings.options)) } catch {
                log.add("/dataset", "too_short", error.description)
            }
        }
        try log.throwIfAny()
        guard let dataset, let model else {
            throw InvalidInput(pointer: "", code: "invalid_value", detail: "the job cannot be understood")
        }
        reader.resolve("model", as: model.json)
        reader.resolve("threads", as: JSONValue(settings.threads))
        return JobRequest(settings: settings, dataset: dataset, model: model, resolved: reader.resolved)
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
        _ reader: inout ObjectReader, _ dataset: DatasetInfo?, _ log: ViolationLog
    ) -> ModelSpec? {
        let value = reader.read(JobFields.model)
        guard reader.contains("model") else { return nil }
        return ModelSpec.read(value, at: "/model", data: dataset?.modelData ?? DataShape(), log: log)
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
