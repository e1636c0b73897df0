internal import Glibc

/// How much is pruned at which step.
///
/// Sparsities are of the original network throughout: what is pruned already counts.
public struct SparsitySchedule: Sendable, Hashable {
    /// The way from the first sparsity to the last, p going from 0 to 1 between the first and the last step.
    public enum Curve: Sendable, Hashable {
        /// All at the first step.
        case oneshot
        /// s₁ + (s₀ - s₁)(1 - p).
        case linear
        /// s₁ + (s₀ - s₁)(1 - p)^power: fast first (Zhu and Gupta, 2017, whose power is 3).
        case cubic(power: Double)
        /// 1 - (1 - s₀)((1 - s₁)/(1 - s₀))^p: the same part of what is left at each update.
        case exponential
        /// The same, in rounds between which the network is trained to its end.
        case iterative
    }

    public let curve: Curve
    public let initial: Double
    public let target: Double
    public let beginStep: Int
    public let endStep: Int
    /// Steps between two updates.
    public let frequency: Int
    public let rounds: Int

    /// Makes a schedule; one that would end before it begins ends where it begins.
    public init(
        _ curve: Curve, from initial: Double = 0, to target: Double, beginStep: Int = 0, endStep: Int,
        frequency: Int = 1, rounds: Int = 1
    ) {
        precondition(frequency >= 1 && rounds >= 1, "a schedule without updates")
        self.curve = curve
        self.initial = initial
        self.target = target
        self.beginStep = beginStep
        self.endStep = max(beginStep, endStep)
        self.frequency = frequency
        self.rounds = rounds
    }

    /// The sparsity that holds at a step, behind its update if it has one.
    ///
    /// Below `beginStep` nothing is pruned; from `endStep` on it is `target`.
    public func sparsity(at step: Int) -> Double {
        guard step >= beginStep else { return 0 }
        if case .oneshot = curve { return target }
        if case .iterative = curve { return sparsity(afterRound: round(at: step)) }
        return sparsity(progress: progress(at: lastUpdate(upTo: step)))
    }

    /// The sparsity after a number of rounds: each takes the same part of what is left.
    public func sparsity(afterRound round: Int) -> Double {
        guard round > 0 else { return 0 }
        return round >= rounds ? target : remaining(progress: Double(round) / Double(rounds))
    }

    /// The rounds that have begun at a step, from 0 to `rounds`.
    public func round(at step: Int) -> Int {
        guard step >= beginStep else { return 0 }
        guard step < endStep else { return rounds }
        // The greatest r of which round r begins, at (r - 1)/rounds of the way, by then.
        var (low, high) = (1, rounds)
        while low < high {
            let middle = (low + high + 1) / 2
            if firstStep(ofRound: middle) <= step { low = middle } else { high = middle - 1 }
        }
        return low
    }

    /// The step at which a round, counted from 1, prunes and then begins to train.
    public func firstStep(ofRound round: Int) -> Int {
        let way = (endStep - beginStep).multipliedFullWidth(by: round - 1)
        return beginStep + rounds.dividingFullWidth(way).quotient
    }

    /// Whether the masks change at a step.
    public func isUpdateStep(_ step: Int) -> Bool {
        guard step >= beginStep, step <= endStep else { return false }
        switch curve {
        case .oneshot: return step == beginStep
        case .iterative: return round(at: step) != round(at: step - 1)
        case .linear, .cubic, .exponential:
            return step == endStep || (step - beginStep) % frequency == 0
        }
    }

    private func lastUpdate(upTo step: Int) -> Int {
        step >= endStep ? endStep : step - (step - beginStep) % frequency
    }

    private func progress(at step: Int) -> Double {
        endStep == beginStep ? 1 : Double(step - beginStep) / Double(endStep - beginStep)
    }

    private func sparsity(progress p: Double) -> Double {
        // The end is the target itself, not what rounding leaves of it.
        if p >= 1 { return target }
        if p <= 0 { return initial }
        return switch curve {
        case .oneshot: target
        case .linear: target + (initial - target) * (1 - p)
        case .cubic(let power): target + (initial - target) * pow(1 - p, power)
        case .exponential, .iterative: remaining(progress: p)
        }
    }

    private func remaining(progress p: Double) -> Double {
        1 - (1 - initial) * pow((1 - target) / (1 - initial), p)
    }
}
