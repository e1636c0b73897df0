import JSON
public import Jobs

/// How a job turned out, gate by gate.
public struct Verdict {
    /// The verdict in a word; also the code of the refusal.
    enum Outcome: String, CaseIterable {
        case passed
        case pending
        case gateFailed = "gate_failed"
        case jobFailed = "job_failed"
        case jobCancelled = "job_cancelled"
    }

    /// One condition and what came of it.
    struct Gate {
        let metric: String
        let min: Double?
        let max: Double?
        /// What was reached; `nil` when it was not measured.
        let value: Double?
        /// The model that was left where a limit on the drop decided: `pruned`, `quantized`, `dense`, `none`.
        var kept: String?

        /// Whether it holds; what was not measured, or is not a number, does not.
        var holds: Bool {
            guard let value, !value.isNaN else { return false }
            // Whoever chose the model knew about rounding.
            if let kept { return kept != "dense" && kept != "none" }
            return min.map { value >= $0 } ?? true && max.map { value <= $0 } ?? true
        }

        /// Whether the job did what it was told to do where the gate does not hold.
        var isMadeUpFor: Bool { kept == "dense" }

        /// The condition as text.
        var condition: String {
            let low = min.map { "\(metric) >= \($0)" }
            let high = max.map { "\(metric) <= \($0)" }
            return [low, high].compactMap(\.self).joined(separator: " and ")
        }
    }

    let job: Job
    let gates: [Gate]
    let outcome: Outcome

    /// Judges a job as it stands.
    public init(_ job: Job) {
        self.job = job
        gates = Self.gates(of: job)
        switch job.state {
        case .succeeded: outcome = gates.allSatisfy { $0.holds || $0.isMadeUpFor } ? .passed : .gateFailed
        case .failed: outcome = job.error?.code == "gate_failed" ? .gateFailed : .jobFailed
        case .cancelled: outcome = .jobCancelled
        case .queued, .running, .pausing, .paused, .cancelling: outcome = .pending
        }
    }

    /// A metric's value is the report's, else the last point of the series.
    private static func gates(of job: Job) -> [Gate] {
        if let limit = job.spec["gate"]?["max_drop"]?.doubleValue {
            let found = (job.result?.report ?? job.error?.report)?["gate"]
            return [
                Gate(
                    metric: "drop", min: nil, max: limit, value: found?["drop"]?.doubleValue,
                    kept: found?["kept"]?.stringValue)
            ]
        }
        return (job.spec["gate"]?.arrayValue ?? []).compactMap { gate in
            guard let metric = gate["metric"]?.stringValue else { return nil }
            let reported = job.result?.report[metric]?.doubleValue
            let last = job.summary.first { $0.name == metric }?.last
            return Gate(
                metric: metric, min: gate["min"]?.doubleValue, max: gate["max"]?.doubleValue,
                value: reported ?? last)
        }
    }

    /// The verdict in a word, such as `gate_failed`.
    public var code: String { outcome.rawValue }

    /// The verdict in a sentence.
    public var sentence: String {
        switch outcome {
        case .passed where !gates.allSatisfy(\.holds):
            "\(job.id) succeeded; the model lost too much and is kept as it was: \(misses)."
        case .passed: "\(job.id) succeeded and every gate holds."
        case .pending: "\(job.id) is \(job.state.rawValue); there is no verdict yet."
        case .gateFailed where job.state == .failed:
            "\(job.id) missed its gate: \(job.error?.message ?? "no reason was recorded")"
        case .gateFailed: "\(job.id) missed a gate: \(misses)."
        case .jobFailed: "\(job.id) failed: \(job.error?.message ?? "no reason was recorded")"
        case .jobCancelled: "\(job.id) was cancelled: \(job.reason?.message ?? "no reason was recorded")"
        }
    }

    private var misses: String {
        gates.filter { !$0.holds }.map { gate in
            "\(gate.condition), reached \(gate.value.map { "\($0)" } ?? "nothing")"
        }.joined(separator: "; ")
    }

    /// The verdict as clients see it.
    var json: JSONValue {
        let passed: JSONValue = outcome == .pending ? .null : .bool(outcome == .passed)
        let error: JSONValue =
            job.error.map { ["code": .string($0.code), "message": .string($0.message)] } ?? .null
        return [
            "object": "verdict", "job_id": .string(job.id.rawValue), "state": .string(job.state.rawValue),
            "code": .string(outcome.rawValue), "passed": passed, "message": .string(sentence),
            "gates": .array(gates.map(\.json)), "error": error,
        ]
    }
}

extension Verdict.Gate {
    /// The condition as clients see it.
    fileprivate var json: JSONValue {
        var members: JSONObject = [
            "metric": .string(metric), "min": JSONValue(min), "max": JSONValue(max),
            "value": JSONValue(value), "passed": .bool(holds),
        ]
        members["kept"] = kept.map { .string($0) }
        return .object(members)
    }
}
