internal import Glibc
internal import Tensor

/// The distribution Beta(alpha, alpha) on [0, 1]: near both ends for a small alpha, around ½ for a large one.
struct SymmetricBeta {
    let alpha: Double

    /// Draws one number; the generator's position afterwards depends on what it drew.
    func draw(_ random: inout CounterRandom) -> Double {
        // X / (X + Y) for two Gamma(alpha) numbers, by their logarithms: for a small alpha both may be 0.
        let (first, second) = (logGamma(&random), logGamma(&random))
        return 1 / (1 + exp(second - first))
    }

    /// The logarithm of a Gamma(alpha, 1) number (Marsaglia and Tsang, "A simple method for generating gamma
    /// variables", 2000).
    private func logGamma(_ random: inout CounterRandom) -> Double {
        // Gamma(a) = Gamma(a + 1) · U^(1 / a); their method needs a shape of at least 1.
        let boost = alpha < 1 ? log(Self.uniform(&random)) / alpha : 0
        let d = (alpha < 1 ? alpha + 1 : alpha) - 1.0 / 3
        let c = 1 / (9 * d).squareRoot()
        while true {
            let radius = (-2 * log(Self.uniform(&random))).squareRoot()
            let x = radius * cos(2 * Double.pi * Self.uniform(&random))
            let root = 1 + c * x
            guard root > 0 else { continue }
            let v = root * root * root
            if log(Self.uniform(&random)) < 0.5 * x * x + d - d * v + d * log(v) { return log(d * v) + boost }
        }
    }

    /// Uniform in (0, 1), so that its logarithm is finite.
    private static func uniform(_ random: inout CounterRandom) -> Double {
        (Double(random.next()) + 0.5) * 0x1p-32
    }
}
