import JSON
import Jobs

/// JSON as the database keeps it.
enum JSONText {
    /// Parses what we stored ourselves; anything else means that the file was damaged.
    static func value(_ text: String) throws(JobError) -> JSONValue {
        do { return try JSONValue(parsing: Array(text.utf8)) } catch {
            throw .storeBroken(cause: "stored JSON cannot be read: \(error)")
        }
    }

    static func labels(_ text: String) throws(JobError) -> [String: String] {
        var labels: [String: String] = [:]
        for (key, value) in try value(text).objectValue?.members ?? [] { labels[key] = value.stringValue }
        return labels
    }

    static func text(_ labels: [String: String]) -> String {
        var object = JSONObject()
        for key in labels.keys.sorted() { object[key] = labels[key].map { .string($0) } }
        return JSONValue.object(object).encoded()
    }

    static func text(_ progress: JobProgress) -> String {
        JSONValue.object([
            "fraction": .number(progress.fraction), "epoch": .integer(Int64(progress.epoch)),
            "epochs": .integer(Int64(progress.epochs)), "step": .integer(Int64(progress.step)),
            "steps": .integer(Int64(progress.steps)), "samples_per_second": number(progress.samplesPerSecond),
            "eta_seconds": number(progress.etaSeconds),
        ]).encoded()
    }

    static func progress(_ text: String) throws(JobError) -> JobProgress {
        let value = try value(text)
        return JobProgress(
            fraction: value["fraction"]?.doubleValue ?? 0, epoch: value["epoch"]?.intValue ?? 0,
            epochs: value["epochs"]?.intValue ?? 0, step: value["step"]?.intValue ?? 0,
            steps: value["steps"]?.intValue ?? 0, samplesPerSecond: value["samples_per_second"]?.doubleValue,
            etaSeconds: value["eta_seconds"]?.doubleValue)
    }

    static func text(_ resources: JobResources) -> String {
        JSONValue.object([
            "cpu_seconds": .number(resources.cpuSeconds), "wall_seconds": .number(resources.wallSeconds),
            "peak_memory_bytes": .integer(resources.peakMemoryBytes), "joules": .number(resources.joules),
            "energy_method": .string(resources.energyMethod), "more": .object(resources.more),
        ]).encoded()
    }

    static func resources(_ text: String) throws(JobError) -> JobResources {
        let value = try value(text)
        return JobResources(
            cpuSeconds: value["cpu_seconds"]?.doubleValue ?? 0,
            wallSeconds: value["wall_seconds"]?.doubleValue ?? 0,
            peakMemoryBytes: Int64(value["peak_memory_bytes"]?.intValue ?? 0),
            joules: value["joules"]?.doubleValue ?? 0,
            energyMethod: value["energy_method"]?.stringValue ?? "model",
            more: value["more"]?.objectValue ?? [:])
    }

    static func text(_ failure: JobFailure) -> String {
        JSONValue.object([
            "code": .string(failure.code), "message": .string(failure.message),
            "pointer": failure.pointer.map { .string($0) } ?? .null,
            "step": failure.step.map { .integer(Int64($0)) } ?? .null,
            "is_retryable": .bool(failure.isRetryable), "report": failure.report ?? .null,
        ]).encoded()
    }

    static func failure(_ text: String) throws(JobError) -> JobFailure {
        let value = try value(text)
        return JobFailure(
            code: value["code"]?.stringValue ?? "unknown", message: value["message"]?.stringValue ?? "",
            pointer: value["pointer"]?.stringValue, step: value["step"]?.intValue,
            isRetryable: value["is_retryable"]?.boolValue ?? false,
            report: value["report"].flatMap { $0.isNull ? JSONValue?.none : $0 })
    }

    private static func number(_ value: Double?) -> JSONValue { value.map { .number($0) } ?? .null }
}
