internal import Glibc
internal import Tensor

/// Draws tokens from a model's logits.
///
/// The n-th draw is a function of the seed, n and the logits, so that the same request gives the same text.
public struct Sampler: Sendable {
    /// What the logits are divided by; 0 takes the most likely token always.
    public let temperature: Double
    /// Only so many of the most likely tokens may be drawn; nil for all of them.
    public let topK: Int?
    /// Decides every draw.
    public let seed: UInt64
    private var drawn: UInt64 = 0

    /// Starts at the first draw.
    public init(temperature: Double = 1, topK: Int? = nil, seed: UInt64 = 0) {
        precondition(temperature >= 0 && topK ?? 1 > 0, "temperature \(temperature), top \(topK ?? 0)")
        (self.temperature, self.topK, self.seed) = (temperature, topK, seed)
    }

    /// Draws the next token; nil when a logit is not a number, or all are infinite.
    public mutating func next(_ logits: [Float]) -> Int? {
        guard let probabilities = probabilities(logits) else { return nil }
        var random = CounterRandom(seed: seed, purpose: .sampling, step: drawn)
        drawn += 1
        // 53 bits: with the 24 of a float, tokens rarer than 6e-8 would never come.
        let bits = UInt64(random.next() >> 5) << 26 | UInt64(random.next() >> 6)
        let point = Double(bits) * 0x1p-53
        var sum = 0.0
        for (token, probability) in probabilities.enumerated() where probability > 0 {
            sum += probability
            if point < sum { return token }
        }
        // Rounding left the sum short of the point.
        return probabilities.lastIndex { $0 > 0 }
    }

    /// The softmax of logits over the temperature, among the top k; of equal logits the first ones count.
    ///
    /// - Returns: One probability a token, in double precision; nil when a logit is not a number, or all are
    ///   infinite.
    public func probabilities(_ logits: [Float]) -> [Double]? {
        guard let most = logits.max(), most.isFinite, !logits.contains(where: \.isNaN) else { return nil }
        var probabilities = [Double](repeating: 0, count: logits.count)
        if temperature == 0 {
            if let first = logits.firstIndex(of: most) { probabilities[first] = 1 }
            return probabilities
        }
        var candidates = Array(logits.indices)
        if let topK, topK < logits.count {
            candidates.sort { (logits[$0], $1) > (logits[$1], $0) }
            candidates = candidates.prefix(topK).sorted()
        }
        var total = 0.0
        for token in candidates {
            // A low temperature takes the exponent to minus infinity, whose exponential is 0.
            let weight = exp((Double(logits[token]) - Double(most)) / temperature)
            probabilities[token] = weight
            total += weight
        }
        for token in candidates { probabilities[token] /= total }
        return probabilities
    }
}
