internal import Glibc

/// The learning rate of every step: a warm-up, then one of PyTorch's curves over the steps that are left.
public struct LearningRateSchedule: Sendable, Hashable {
    public enum Curve: Sendable, Hashable {
        case constant
        /// Multiplied by `gamma` every `stepSize` steps (StepLR).
        case step(stepSize: Int, gamma: Double)
        /// Multiplied by `gamma` over `stepSize` steps, a little at each (ExponentialLR).
        case exponential(stepSize: Int, gamma: Double)
        /// A straight line to `base * minRatio` at the end (LinearLR).
        case linear(minRatio: Double)
        /// Half a cosine to `base * minRatio` at the end (CosineAnnealingLR; Loshchilov and Hutter, 2017).
        case cosine(minRatio: Double)
        /// Up to the base rate and down again in two half cosines (OneCycleLR; Smith and Topin, 2018): from
        /// base / `startDivisor` over the part `rise` of the steps, then to the start's `endDivisor`-th.
        case oneCycle(rise: Double, startDivisor: Double, endDivisor: Double)
        /// The base rate, then a straight line to `base * minRatio` over the part `fall` of all steps (Hu et
        /// al., "MiniCPM", 2024).
        case warmupStableDecay(fall: Double, minRatio: Double)
    }

    public let base: Double
    public let curve: Curve
    public let warmupSteps: Int
    public let totalSteps: Int

    public init(base: Double, curve: Curve, warmupSteps: Int = 0, totalSteps: Int) {
        self.base = base
        self.curve = curve
        self.warmupSteps = warmupSteps
        self.totalSteps = totalSteps
    }

    /// The rate of step `step`, counted from 0.
    ///
    /// Step i of the warm-up has base * (i + 1) / (warmupSteps + 1), so that no step is wasted on a rate of
    /// 0.
    public func rate(at step: Int) -> Double {
        if step < warmupSteps { return base * Double(step + 1) / Double(warmupSteps + 1) }
        let elapsed = step - warmupSteps
        let span = max(totalSteps - warmupSteps, 1)
        let progress = min(Double(elapsed) / Double(span), 1)
        switch curve {
        case .constant: return base
        case .step(let stepSize, let gamma): return base * pow(gamma, Double(elapsed / max(stepSize, 1)))
        case .exponential(let stepSize, let gamma):
            return base * pow(gamma, Double(elapsed) / Double(max(stepSize, 1)))
        case .linear(let minRatio): return base * (1 - (1 - minRatio) * progress)
        case .cosine(let minRatio):
            return base * (minRatio + (1 - minRatio) * 0.5 * (1 + cos(Double.pi * progress)))
        case .oneCycle(let rise, let startDivisor, let endDivisor):
            let start = base / startDivisor
            return oneCycle(Double(elapsed), span: span, rise: rise, start: start, end: start / endDivisor)
        case .warmupStableDecay(let fall, let minRatio):
            let length = max(fall * Double(totalSteps), 1)
            let done = max(Double(step) - (Double(totalSteps) - length), 0)
            return base * (1 - (1 - minRatio) * min(done / length, 1))
        }
    }

    /// The rates are exact at step rise * span - 1, where the base is reached, and at the last step.
    private func oneCycle(_ step: Double, span: Int, rise: Double, start: Double, end: Double) -> Double {
        func halfCosine(_ from: Double, _ to: Double, _ part: Double) -> Double {
            to + (from - to) / 2 * (1 + cos(Double.pi * min(max(part, 0), 1)))
        }
        let (peak, last) = (max(rise * Double(span) - 1, 0), Double(span - 1))
        if step <= peak { return peak > 0 ? halfCosine(start, base, step / peak) : base }
        return halfCosine(base, end, (step - peak) / max(last - peak, 1e-9))
    }
}
