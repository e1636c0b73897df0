public import Kernels
public import Plan

/// Where the time of training steps went.
public struct StepProfile: Sendable {
    /// Steps whose calls were timed.
    public let steps: Int
    /// Median seconds of a step that was not timed inside, and of one that was.
    public let plainSeconds: Double
    public let timedSeconds: Double
    /// The calls, with their median times.
    public let plans: [TimedPlan]

    /// Assembles a profile.
    public init(steps: Int, plainSeconds: Double, timedSeconds: Double, plans: [TimedPlan]) {
        (self.steps, self.plainSeconds) = (steps, plainSeconds)
        (self.timedSeconds, self.plans) = (timedSeconds, plans)
    }

    /// The layers in the order in which they first run.
    public var layers: [LayerTime] { plans.layers }
}

/// Times the calls of some training steps; reads clocks around them and changes nothing that is computed.
///
/// Behind a warm-up it times every other step inside, and the steps between as a whole, so that what the
/// clocks cost shows.
public final class StepProfiler {
    /// Steps before, and pairs of steps that are timed.
    public let warmup: Int
    public let pairs: Int
    private let now: () -> UInt64
    private var plans: [ObjectIdentifier: Timed] = [:]
    /// The plans in the order in which they first ran.
    private var order: [ObjectIdentifier] = []
    private var timed: [UInt64] = []
    private var plain: [UInt64] = []
    private var skipped = 0
    private var began: UInt64?

    fileprivate struct Timed {
        let plan: PlanSummary
        /// Of the present step, its runs together.
        var nanoseconds: [UInt64]
        /// Over all steps.
        var runs = 0
        /// Of every step that was timed: one list a call.
        var samples: [[UInt64]]

        init(_ plan: PlanSummary) {
            self.plan = plan
            nanoseconds = [UInt64](repeating: 0, count: plan.steps.count)
            samples = [[UInt64]](repeating: [], count: plan.steps.count)
        }
    }

    /// A profiler for so many steps of each kind.
    ///
    /// `now` is a monotonic clock in nanoseconds.
    public init(warmup: Int, pairs: Int, now: @escaping () -> UInt64) {
        (self.warmup, self.pairs, self.now) = (max(warmup, 0), max(pairs, 1), now)
    }

    /// A profiler that is done within so many steps, or within 40 if there are more.
    public convenience init(stepsLeft: Int, now: @escaping () -> UInt64) {
        let warmup = min(20, stepsLeft / 3)
        self.init(warmup: warmup, pairs: min(10, (stepsLeft - warmup + 1) / 2), now: now)
    }

    private var isWarm: Bool { skipped >= warmup }
    private var isTiming: Bool { began != nil && timed.count <= plain.count }

    /// Whether there is nothing left to time.
    public var isDone: Bool { timed.count >= pairs && plain.count >= pairs }

    /// A step begins.
    public func begin() {
        if isWarm, !isDone { began = now() }
    }

    /// Runs a plan as a part of the step.
    public func run(_ plan: ExecutionPlan, _ state: StepState) throws(PlanError) -> LossResult {
        guard isTiming else { return try plan.run(state) }
        return try timing(plan) { nanoseconds throws(PlanError) in
            try plan.run(state, adding: &nanoseconds, now: now)
        }
    }

    /// Runs a plan as a part of the step, and `body` in front of its loss, whose time is nobody's.
    public func run(
        _ plan: ExecutionPlan, _ state: StepState, beforeLoss body: () throws(PlanError) -> Void
    ) throws(PlanError) -> LossResult {
        guard isTiming else { return try plan.run(state, beforeLoss: body) }
        return try timing(plan) { nanoseconds throws(PlanError) in
            try plan.run(state, adding: &nanoseconds, now: now, beforeLoss: body)
        }
    }

    private func timing(
        _ plan: ExecutionPlan, _ run: (inout [UInt64]) throws(PlanError) -> LossResult
    ) throws(PlanError) -> LossResult {
        let id = ObjectIdentifier(plan)
        if plans[id] == nil { order.append(id) }
        var entry = plans.removeValue(forKey: id) ?? Timed(plan.overview)
        defer { plans[id] = entry }
        entry.runs += 1
        return try run(&entry.nanoseconds)
    }

    /// A step is over.
    public func end() {
        guard let began else {
            skipped += 1
            return
        }
        let spent = now() - began
        if isTiming {
            timed.append(spent)
            for id in order { plans[id]?.keepStep() }
        } else {
            plain.append(spent)
        }
        self.began = nil
    }

    /// What was measured; nil when no step has been timed yet.
    public var profile: StepProfile? {
        guard !timed.isEmpty else { return nil }
        return StepProfile(
            steps: timed.count, plainSeconds: Self.median(plain.isEmpty ? timed : plain),
            timedSeconds: Self.median(timed),
            plans: order.compactMap { plans[$0] }.map { entry in
                TimedPlan(
                    entry.plan, seconds: entry.samples.map(Self.median),
                    runs: Double(entry.runs) / Double(timed.count))
            })
    }

    private static func median(_ nanoseconds: [UInt64]) -> Double {
        Double(nanoseconds.sorted()[nanoseconds.count / 2]) * 1e-9
    }
}

extension StepProfiler.Timed {
    /// Puts the present step's times to those of the others.
    fileprivate mutating func keepStep() {
        for index in samples.indices { samples[index].append(nanoseconds[index]) }
        nanoseconds = [UInt64](repeating: 0, count: nanoseconds.count)
    }
}
