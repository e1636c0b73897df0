import JSON
import Jobs

/// A job as clients see it.
struct JobResource {
    let job: Job

    /// The version as a validator.
    var etag: String { "\"\(job.version)\"" }

    var json: JSONValue {
        [
            "id": .string(job.id.rawValue), "object": "job", "type": .string(job.type.rawValue),
            "name": .string(job.name), "labels": labels, "priority": JSONValue(job.priority),
            "state": .string(job.state.rawValue), "is_terminal": .bool(job.state.isTerminal),
            "reason": Self.json(job.reason), "waiting_for": waitingFor,
            "queue_position": JSONValue(job.queuePosition), "created_at": .number(job.createdAt.seconds),
            "started_at": JSONValue(job.startedAt?.seconds),
            "finished_at": JSONValue(job.finishedAt?.seconds),
            "attempt": JSONValue(job.attempt), "max_attempts": JSONValue(job.maxAttempts),
            "progress": Self.json(job.progress), "summary": summary, "resources": resources,
            "spec": job.spec, "estimate": job.estimate, "result": result, "error": error,
            "depends_on": .array(job.dependencies.map { .string($0.rawValue) }),
            "transitions": .array(job.transitions.map(Self.json)), "version": JSONValue(job.version),
        ]
    }

    /// Progress as clients see it.
    static func json(_ progress: JobProgress) -> JSONValue {
        [
            "fraction": .number(progress.fraction), "epoch": JSONValue(progress.epoch),
            "epochs": JSONValue(progress.epochs), "step": JSONValue(progress.step),
            "steps": JSONValue(progress.steps), "samples_per_second": JSONValue(progress.samplesPerSecond),
            "eta_seconds": JSONValue(progress.etaSeconds),
        ]
    }

    private static func json(_ reason: JobReason?) -> JSONValue {
        guard let reason else { return .null }
        return ["code": .string(reason.code), "message": .string(reason.message)]
    }

    private static func json(_ transition: JobTransition) -> JSONValue {
        [
            "state": .string(transition.state.rawValue), "at": .number(transition.at.seconds),
            "reason": json(transition.reason),
        ]
    }

    private var labels: JSONValue {
        .object(JSONObject(job.labels.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))
    }

    private var waitingFor: JSONValue {
        guard let waiting = job.waitingFor else { return .null }
        return [
            "code": .string(waiting.code), "message": .string(waiting.message),
            "jobs": .array(waiting.jobs.map { .string($0.rawValue) }),
        ]
    }

    private var summary: JSONValue {
        .object(
            JSONObject(
                job.summary.map { series in
                    let extremes: JSONValue = [
                        "last": .number(series.last), "min": .number(series.min), "max": .number(series.max),
                        "best_step": JSONValue(series.bestStep), "count": JSONValue(series.count),
                    ]
                    return (series.name, extremes)
                }))
    }

    private var resources: JSONValue {
        var object: JSONObject = [
            "cpu_seconds": .number(job.resources.cpuSeconds),
            "wall_seconds": .number(job.resources.wallSeconds),
            "peak_memory_bytes": JSONValue(job.resources.peakMemoryBytes),
            "joules": .number(job.resources.joules),
            "energy_method": .string(job.resources.energyMethod),
        ]
        for (key, value) in job.resources.more.members { _ = object.insert(key, value) }
        return .object(object)
    }

    private var result: JSONValue {
        guard let result = job.result else { return .null }
        return ["model_id": JSONValue(result.modelID?.rawValue), "report": result.report]
    }

    private var error: JSONValue {
        guard let error = job.error else { return .null }
        var members: JSONObject = [
            "code": .string(error.code), "message": .string(error.message),
            "pointer": JSONValue(error.pointer),
            "step": JSONValue(error.step),
        ]
        members["report"] = error.report
        return .object(members)
    }
}
