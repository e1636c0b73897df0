internal import Glibc

/// Student's paired t-test: whether one way of training is better than another, over runs that differ in
/// nothing but their seeds.
///
/// Student, "The probable error of a mean", Biometrika 6 (1908); the t distribution by the incomplete beta
/// function's continued fraction (Abramowitz and Stegun 26.5.8 and 26.7.1).
public struct PairedTest: Sendable, Equatable {
    /// What the runs say.
    public enum Verdict: String, Sendable { case better, noBetter = "no better", inconclusive }

    /// The mean of the differences, of the first way less the second.
    public let meanGain: Double
    /// The probability of a mean difference at least as large, either way, if there were none; nil for fewer
    /// than two pairs.
    public let pValue: Double?
    public let verdict: Verdict

    /// The test's name, for reports.
    public static let name = "paired t-test, two-sided"
    /// The largest p-value that counts.
    public static let significance = 0.05

    /// Compares pairs of results, of which more is better.
    ///
    /// `better` is a gain at the 5 % level, `no better` is no gain at all on the average or a loss,
    /// everything else is `inconclusive`, as is a single pair.
    ///
    /// - Precondition: There are as many of the one as of the other, and at least one.
    public init(_ first: [Double], against second: [Double]) {
        precondition(first.count == second.count && !first.isEmpty, "runs without their pairs")
        let gains = zip(first, second).map { $0 - $1 }
        let count = Double(gains.count)
        let mean = gains.reduce(0, +) / count
        meanGain = mean
        guard gains.count > 1 else {
            (pValue, verdict) = (nil, .inconclusive)
            return
        }
        let squares = gains.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        let error = (squares / (count - 1) / count).squareRoot()
        // Rounding alone makes equal gains differ by some 1e-16.
        let isConstant = error <= 1e-12 * abs(mean)
        let probability =
            mean == 0 ? 1 : isConstant ? 0 : Self.twoSided(t: mean / error, degrees: count - 1)
        pValue = probability
        verdict = mean <= 0 ? .noBetter : probability < Self.significance ? .better : .inconclusive
    }

    /// P(|T| >= |t|) of Student's t distribution.
    static func twoSided(t: Double, degrees: Double) -> Double {
        incompleteBeta(degrees / (degrees + t * t), degrees / 2, 0.5)
    }

    /// The regularised incomplete beta function I_x(a, b).
    static func incompleteBeta(_ x: Double, _ a: Double, _ b: Double) -> Double {
        guard x > 0 else { return 0 }
        guard x < 1 else { return 1 }
        // The fraction converges fast below the mean, and the function mirrors itself above.
        guard x < (a + 1) / (a + b + 2) else { return 1 - incompleteBeta(1 - x, b, a) }
        let front = exp(a * log(x) + b * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b)) / a
        return front * fraction(x, a, b)
    }

    /// The continued fraction, by Lentz's method (Thompson and Barnett 1986).
    private static func fraction(_ x: Double, _ a: Double, _ b: Double) -> Double {
        func guarded(_ value: Double) -> Double { abs(value) < 1e-300 ? 1e-300 : value }
        var c = 1.0
        var d = 1 / guarded(1 - (a + b) * x / (a + 1))
        var result = d
        for step in 1...500 {
            let m = Double(step)
            let even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
            d = 1 / guarded(1 + even * d)
            c = guarded(1 + even / c)
            result *= c * d
            let odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
            d = 1 / guarded(1 + odd * d)
            c = guarded(1 + odd / c)
            result *= c * d
            if abs(c * d - 1) < 1e-15 { break }
        }
        return result
    }
}
