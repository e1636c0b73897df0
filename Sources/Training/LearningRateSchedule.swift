internal import Glibc

/// The learning rate of every step: a warm-up, then one of PyTorch's curves over the steps that are left.
public struct LearningRateSchedule: Sendable, Hashable {
    public enum Curve: Sendable, Hashable {
        case constant
        /// Multiplied by `gamma` every `stepSize` steps (StepLR).
        case step(stepSize: Int, gamma: Double)
        /// A straight line to `base * minRatio` at the end (LinearLR).
        case linear(minRatio: Double)
        /// Half a cosine to `base * minRatio` at the end (CosineAnnealingLR; Loshchilov and Hutter, 2017).
        case cosine(minRatio: Double)
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
        case .linear(let minRatio): return base * (1 - (1 - minRatio) * progress)
        case .cosine(let minRatio):
            return base * (minRatio + (1 - minRatio) * 0.5 * (1 + cos(Double.pi * progress)))
        }
    }
}
