internal import Glibc
public import Graph
internal import Tensor

/// Draws the parameters that training starts from.
public enum Initializer {
    /// The values of parameter `index` of a graph, in PyTorch's order.
    ///
    /// A function of the seed and the parameter's place alone. Biases are uniform in ±1/sqrt(fan in), as in
    /// PyTorch, whatever the weights' rule; scales and running variances start at 1, shifts and running means
    /// at 0.
    public static func values(
        of parameter: Graph.Parameter, index: Int, rule: Initialization, seed: UInt64
    ) -> [Float] {
        let count = parameter.shape.elementCount
        switch parameter.role {
        case .scale, .runningVariance: return [Float](repeating: 1, count: count)
        case .shift, .runningMean: return [Float](repeating: 0, count: count)
        case .weight, .bias, .embedding: break
        }
        var random = CounterRandom(seed: seed, purpose: .initialization, step: UInt64(index))
        if let deviation = parameter.initialDeviation {
            return deviation == 0
                ? [Float](repeating: 0, count: count) : normal(count, deviation, &random)
        }
        // PyTorch's embeddings start from the standard normal distribution.
        if parameter.role == .embedding { return normal(count, 1, &random) }
        let (fanIn, fanOut) = (Double(max(parameter.fanIn, 1)), Double(max(parameter.fanOut, 1)))
        if parameter.role == .bias { return uniform(count, 1 / fanIn.squareRoot(), &random) }
        switch rule {
        case .default: return uniform(count, 1 / fanIn.squareRoot(), &random)
        case .heUniform: return uniform(count, (6 / fanIn).squareRoot(), &random)
        case .xavierUniform: return uniform(count, (6 / (fanIn + fanOut)).squareRoot(), &random)
        case .heNormal: return normal(count, (2 / fanIn).squareRoot(), &random)
        case .xavierNormal: return normal(count, (2 / (fanIn + fanOut)).squareRoot(), &random)
        }
    }

    private static func uniform(_ count: Int, _ bound: Double, _ random: inout CounterRandom) -> [Float] {
        let bound = Float(bound)
        return (0..<count).map { _ in (2 * random.uniform() - 1) * bound }
    }

    /// Box-Muller: two uniform numbers give one normal one (the sine partner is not used).
    static func normal(_ count: Int, _ deviation: Double, _ random: inout CounterRandom) -> [Float] {
        (0..<count).map { _ in
            // 1 - u lies in (0, 1], so that the logarithm is finite.
            let radius = (-2 * log(1 - Double(random.uniform()))).squareRoot()
            return Float(deviation * radius * cos(2 * Double.pi * Double(random.uniform())))
        }
    }
}
