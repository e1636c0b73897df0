import Jobs
import Training

/// Ends an attempt that uses more than its job may.
struct LimitWatch {
    private let limits: JobSettings.Limits
    private let time: any TimeSource
    private var last: UInt64 = 0

    init(_ limits: JobSettings.Limits, _ time: any TimeSource) { (self.limits, self.time) = (limits, time) }

    /// Looks at the totals, once a second at most.
    mutating func failure(_ sampler: inout ResourceSampler) -> JobFailure? {
        guard limits.seconds != nil || limits.joules != nil else { return nil }
        let now = time.monotonicNanoseconds()
        guard now - last >= 1_000_000_000 else { return nil }
        last = now
        let totals = sampler.measuredTotals()
        if let most = limits.joules, totals.joules > most {
            return JobFailure(
                code: "limit_exceeded", message: "The job used more than its \(most) joules.",
                pointer: "/limits/max_joules")
        }
        if let most = limits.seconds, totals.wallSeconds > most {
            return JobFailure(
                code: "limit_exceeded", message: "The job ran longer than its \(most) seconds.",
                pointer: "/limits/max_seconds")
        }
        return nil
    }
}

extension JobSignal {
    /// What a running job makes of it.
    var stopReason: StopReason? {
        switch self {
        case .none: nil
        case .drain: .drain
        case .pause: .pause
        case .cancel: .cancel
        }
    }
}
