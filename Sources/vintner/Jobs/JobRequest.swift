import Data
import Graph
import JSON
import Jobs
import Tensor
import Training

/// A train job's body, checked and completed.
struct JobRequest {
    /// What the job may use; nil is no limit.
    struct Limits: Sendable {
        var seconds: Double?
        var joules: Double?
        var memoryBytes: Int?
    }

    var name = ""
    var labels: [String: String] = [:]
    var priority = 0
    var threads = 1
    var seed: UInt64 = 0
    var maxAttempts = 3
    var dependencies: [JobID] = []
    var limits = Limits()
    var options = TrainOptions()
    var choosesBatchSize = false
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
        var values = Values()
        values.read(&reader, cores: cores)
        reader.finish()
        try log.throwIfAny()
        guard let dataset, let model else {
            throw InvalidInput(pointer: "", code: "invalid_value", detail: "the job cannot be understood")
        }
        reader.resolve("model", as: model.json)
        reader.resolve("threads", as: JSONValue(values.threads))
        var request = JobRequest(dataset: dataset, model: model, resolved: reader.resolved)
        values.move(into: &request)
        return request
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
        let input = dataset.flatMap { info in
            try? Shape([info.shape.channels, info.shape.height, info.shape.width])
        }
        return ModelSpec.read(
            value, at: "/model", datasetInput: input, classes: dataset?.classCount, log: log)
    }
}

/// The members of a request that need neither dataset nor model.
private struct Values {
    var name = ""
    var labels: [String: String] = [:]
    var priority = 0
    var threads = 1
    var seed: UInt64 = 0
    var maxAttempts = 3
    var dependencies: [JobID] = []
    var limits = JobRequest.Limits()
    var options = TrainOptions()
    var choosesBatchSize = false

    mutating func read(_ reader: inout ObjectReader, cores: Int) {
        name = reader.read(JobFields.name)
        labels = reader.read(JobFields.labels)
        priority = reader.read(JobFields.priority)
        threads = reader.read(JobFields.threads).resolved(cores)
        if threads > cores {
            reader.log.add("/threads", "out_of_range", "the core budget is \(cores), found \(threads)")
        }
        seed = UInt64(reader.read(JobFields.seed))
        maxAttempts = reader.read(JobFields.maxAttempts)
        for (index, text) in reader.read(JobFields.dependsOn).enumerated() {
            if let id = JobID(text) {
                dependencies.append(id)
            } else {
                let place = JSONPointer.element(index, of: "/depends_on")
                reader.log.add(place, "invalid_value", "expected a job id (job_...), found \"\(text)\"")
            }
        }
        let train = reader.readObject(JobFields.train, assumesEmpty: true) { TrainOptions.read(&$0) }
        if let train { (options, choosesBatchSize) = (train.options, train.choosesBatchSize) }
        _ = reader.readObject(JobFields.limits, assumesEmpty: true) { nested in
            limits.seconds = nested.read(JobFields.maxSeconds)
            limits.joules = nested.read(JobFields.maxJoules)
            limits.memoryBytes = nested.read(JobFields.maxMemory)
        }
        readGate(&reader)
    }

    private func readGate(_ reader: inout ObjectReader) {
        let value = reader.read(JobFields.gate)
        guard reader.contains("gate"), !value.isNull else { return }
        guard let gates = value.arrayValue, gates.count <= 32 else {
            reader.log.add("/gate", "wrong_type", "expected an array of at most 32 conditions")
            return
        }
        var resolved: [JSONValue] = []
        for (index, gate) in gates.enumerated() {
            let place = JSONPointer.element(index, of: "/gate")
            var nested = ObjectReader(gate, as: JobFields.gateSchema, at: place, log: reader.log)
            let metric = nested.read(JobFields.gateMetric)
            let (low, high) = (nested.read(JobFields.gateMin), nested.read(JobFields.gateMax))
            nested.finish()
            if low == nil, high == nil {
                reader.log.add(place, "missing_field", "a condition needs \"min\" or \"max\"")
            }
            if nested.raw("metric") == .string(metric), !JobFields.gateMetrics.contains(metric) {
                reader.log.add(
                    nested.pointer(to: "metric"), "unknown_metric",
                    Spelling.complaint(unknown: "metric", metric, among: JobFields.gateMetrics))
            }
            if let low, let high, low > high {
                reader.log.add(
                    place, "invalid_value", "no value is at least \(low) and at most \(high)")
            }
            resolved.append(.object(nested.resolved))
        }
        reader.resolve("gate", as: .array(resolved))
    }

    func move(into request: inout JobRequest) {
        (request.name, request.labels, request.priority) = (name, labels, priority)
        (request.threads, request.seed, request.maxAttempts) = (threads, seed, maxAttempts)
        (request.dependencies, request.limits) = (dependencies, limits)
        (request.options, request.choosesBatchSize) = (options, choosesBatchSize)
    }
}
