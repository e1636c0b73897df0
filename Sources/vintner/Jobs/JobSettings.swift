import JSON
import Jobs
import Training

/// The members of a request that need neither dataset nor model.
struct JobSettings {
    /// What the job may use; nil is no limit.
    struct Limits: Sendable {
        var seconds: Double?
        var joules: Double?
        var memoryBytes: Int?
        var diskBytes: Int?
    }

    var name = ""
    var labels: [String: String] = [:]
    var priority = 0
    var threads = 1
    var seed: UInt64 = 0
    var maxAttempts = 3
    var dependencies: [JobID] = []
    /// The models that the job starts or learns from.
    var models: [NeededModel] = []
    var limits = Limits()
    var options = TrainOptions()
    var choosesBatchSize = false

    /// Reads the members of a `train` job.
    mutating func read(_ reader: inout ObjectReader, cores: Int) {
        readCommon(&reader, cores: cores)
        seed = UInt64(reader.read(JobFields.seed))
        let train = reader.readObject(JobFields.train, assumesEmpty: true) { TrainOptions.read(&$0) }
        if let train { (options, choosesBatchSize) = (train.options, train.choosesBatchSize) }
    }

    /// Reads the members that every job has.
    mutating func readCommon(_ reader: inout ObjectReader, cores: Int) {
        name = reader.read(JobFields.name)
        labels = reader.read(JobFields.labels)
        priority = reader.read(JobFields.priority)
        threads = reader.read(JobFields.threads).resolved(cores)
        if threads > cores {
            reader.log.add("/threads", "out_of_range", "the core budget is \(cores), found \(threads)")
        }
        maxAttempts = reader.read(JobFields.maxAttempts)
        for (index, text) in reader.read(JobFields.dependsOn).enumerated() {
            if let id = JobID(text) {
                if !dependencies.contains(id) { dependencies.append(id) }
            } else {
                let place = JSONPointer.element(index, of: "/depends_on")
                reader.log.add(place, "invalid_value", "expected a job id (job_...), found \"\(text)\"")
            }
        }
        _ = reader.readObject(JobFields.limits, assumesEmpty: true) { nested in
            limits.seconds = nested.read(JobFields.maxSeconds)
            limits.joules = nested.read(JobFields.maxJoules)
            limits.memoryBytes = nested.read(JobFields.maxMemory)
            limits.diskBytes = nested.read(JobFields.maxDisk)
        }
        readGate(&reader)
    }

    private func readGate(_ reader: inout ObjectReader) {
        let value = reader.read(JobFields.gate)
        // What a pruning or quantization may cost is read with it.
        let kind = reader.raw("type")?.stringValue.flatMap(JobFields.Kind.init)
        let isDrop = (kind == .prune || kind == .quantize) && value.objectValue != nil
        guard reader.contains("gate"), !value.isNull, !isDrop else { return }
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
}
