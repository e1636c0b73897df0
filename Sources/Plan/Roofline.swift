/// What a machine can do at the most, as measured (Williams, Waterman and Patterson, "Roofline", 2009).
public struct Roofline: Sendable, Equatable {
    /// How fast memory is for a working set of a size.
    public struct Bandwidth: Sendable, Equatable {
        public var byteCount: Int
        public var bytesPerSecond: Double

        /// Pairs a size with a rate.
        public init(byteCount: Int, bytesPerSecond: Double) {
            (self.byteCount, self.bytesPerSecond) = (byteCount, bytesPerSecond)
        }
    }

    /// Of a large product; two for each multiply-accumulate.
    public var flopsPerSecond: Double
    /// By rising size: caches first, memory last.
    public var bandwidths: [Bandwidth]
    /// What a call on the whole team costs that does next to nothing.
    public var secondsPerCall: Double

    /// States what was measured.
    public init(flopsPerSecond: Double, bandwidths: [Bandwidth], secondsPerCall: Double) {
        (self.flopsPerSecond, self.bandwidths) = (flopsPerSecond, bandwidths)
        self.secondsPerCall = secondsPerCall
    }

    /// The rate of the largest working set: of memory, not of a cache.
    public var memoryBytesPerSecond: Double { bandwidths.last?.bytesPerSecond ?? .infinity }

    /// The rate for a working set: that of the next larger one that was measured.
    public func bytesPerSecond(_ byteCount: Int) -> Double {
        bandwidths.first { $0.byteCount >= byteCount }?.bytesPerSecond ?? memoryBytesPerSecond
    }

    /// The shortest time that a call can take: it computes and moves operands at once, both at full speed.
    public func seconds(_ step: PlanSummary.Step) -> Double {
        let computing = 2 * Double(step.macs) / max(flopsPerSecond, 1)
        let moving = Double(step.byteCount) / max(bytesPerSecond(step.byteCount), 1)
        return secondsPerCall + max(computing, moving)
    }
}

/// What one layer takes in a training step.
public struct LayerTime: Sendable, Equatable {
    public var name: String
    /// Seconds of each pass.
    public var forward = 0.0
    public var backward = 0.0
    public var update = 0.0
    /// Multiply-accumulates of all passes.
    public var macs = 0
    /// Bytes that all passes read and write.
    public var byteCount = 0

    /// Nothing yet.
    public init(name: String) { self.name = name }

    /// Of all passes.
    public var seconds: Double { forward + backward + update }

    /// Adds a call that took so many seconds.
    mutating func add(_ step: PlanSummary.Step, seconds: Double, runs: Double) {
        switch step.pass {
        case .forward: forward += seconds
        case .backward: backward += seconds
        case .update: update += seconds
        }
        macs += Int((Double(step.macs) * runs).rounded())
        byteCount += Int((Double(step.byteCount) * runs).rounded())
    }
}

/// A plan's calls, how long each takes in a training step, and how often the plan runs in one.
public struct TimedPlan: Sendable, Equatable {
    public var plan: PlanSummary
    /// Seconds of each call over all runs of a training step.
    public var seconds: [Double]
    /// Runs in a training step: more than one where it is done in parts.
    public var runs: Double

    /// Times that were measured.
    public init(_ plan: PlanSummary, seconds: [Double], runs: Double) {
        precondition(seconds.count == plan.steps.count, "\(seconds.count) times")
        (self.plan, self.seconds, self.runs) = (plan, seconds, runs)
    }

    /// The shortest times that a machine allows.
    public init(_ plan: PlanSummary, under roof: Roofline, runs: Int = 1) {
        self.init(plan, seconds: plan.steps.map { roof.seconds($0) * Double(runs) }, runs: Double(runs))
    }

    /// Seconds of all calls.
    public var total: Double { seconds.reduce(0, +) }
}

extension [TimedPlan] {
    /// The layers in the order in which they first run.
    public var layers: [LayerTime] {
        var layers: [LayerTime] = []
        var places: [String: Int] = [:]
        for timed in self {
            for (step, seconds) in zip(timed.plan.steps, timed.seconds) {
                let place = places[step.layer] ?? layers.count
                if place == layers.count {
                    layers.append(LayerTime(name: step.layer))
                    places[step.layer] = place
                }
                layers[place].add(step, seconds: seconds, runs: timed.runs)
            }
        }
        return layers
    }
}
