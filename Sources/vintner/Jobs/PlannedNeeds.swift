import Data
import JSON
import Jobs
import Plan
import Training

/// What lately planned trainings take, so that a sweep over seeds or learning rates is planned once.
final class PlannedNeeds: Sendable {
    typealias Need = (byteCount: Int, plans: [PlanSummary])

    private static let countMax = 32
    /// Longer descriptions, and plans of more calls, are of networks that are not worth their memory here.
    private static let keyByteCountMax = 65_536, stepCountMax = 2_000
    /// What no plan depends on.
    private static let idle = ["name", "labels", "priority", "seed", "gate", "depends_on", "max_attempts"]
    // Nothing that is stored changes what a request needs: there is but one generation.
    private let known = ReadCache<String, Need>(countMax: countMax)

    /// What `request` takes; `plan` finds out unless a request like it was planned before.
    func of<Failure>(_ request: JobRequest, _ plan: () throws(Failure) -> Need) throws(Failure) -> Need {
        guard let key = Self.key(of: request) else { return try plan() }
        if let need = known.value(of: key, at: 0) { return need }
        let need = try plan()
        if need.plans.reduce(0, { $0 + $1.steps.count }) <= Self.stepCountMax {
            known.keep(need, of: key, at: 0)
        }
        return need
    }

    /// All that a plan depends on; nil where that is more than the request says, as of models that are stored
    /// or yet to come.
    private static func key(of request: JobRequest) -> String? {
        guard request.type == .train, request.origin == nil, request.dependencies.isEmpty else { return nil }
        var spec = request.resolved
        for member in idle { spec[member] = nil }
        if var train = spec["train"]?.objectValue, var optimizer = train["optimizer"]?.objectValue,
            optimizer["lr"]?.doubleValue != nil
        {
            optimizer["lr"] = nil
            train["optimizer"] = .object(optimizer)
            spec["train"] = .object(train)
        }
        let options = request.options
        // A dataset may be replaced by another of its name, and batches and segments are tried out.
        spec["dataset"] = [
            .string(request.dataset.id), .string(request.dataset.sha256), JSONValue(options.batchSize),
            JSONValue(options.largestPart), JSONValue(options.checkpointSegments),
        ]
        let key = JSONValue.object(spec).encoded()
        return key.utf8.count <= keyByteCountMax ? key : nil
    }
}
